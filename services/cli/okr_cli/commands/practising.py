"""`lint`: what good practice says of objectives, and going on in spite of it with a reason."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

import typer

from okr.goals.v1.practice_pb2 import (
    LintFinding,
    LintObjectiveRequest,
    LintObjectiveResponse,
    LintSeverity,
    ListPracticesRequest,
    OverrideLintRequest,
    Practice,
)
from okr.insights.v1.insights_pb2 import BoardObjective, GetBoardRequest
from okr_cli import lookups
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.output import Output
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

AT_ONCE = 8
"""How many objectives are asked about at the same time."""

SEVERITIES = {
    LintSeverity.LINT_SEVERITY_UNSPECIFIED: ("", ""),
    LintSeverity.LINT_SEVERITY_ERROR: ("error", "magenta"),
    LintSeverity.LINT_SEVERITY_WARNING: ("warning", "yellow"),
    LintSeverity.LINT_SEVERITY_HINT: ("hint", "cyan"),
}

COLUMNS = (Column("rule"), Column("weight"), Column("of", flexible=True), Column("finding", flexible=True, least=30))
RULE_COLUMNS = (
    Column("rule"),
    Column("why", flexible=True, least=30),
    Column("weak", flexible=True, drop=1),
    Column("strong", flexible=True, drop=1),
)

Objective = Annotated[
    str | None,
    typer.Argument(metavar="[OBJECTIVE]", help="Words of its title, or its id. All of the board when left out."),
]


def declare(app: typer.Typer) -> None:
    command(app, "lint")(lint)


async def lint(
    session: Session,
    objective: Objective = None,
    override: Annotated[
        str | None,
        typer.Option("--override", metavar="RULE", help="Go on in spite of this rule, as in O5.", show_default=False),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, where a rule is overridden.", show_default=False)
    ] = "",
    key_result: Annotated[
        str | None,
        typer.Option("--key-result", metavar="KR", help="Which one the finding is about.", show_default=False),
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Show all rules, with their reasons.")] = False,
) -> None:
    """Show what good practice says of objectives. Nothing is changed.

    An error keeps an objective from being published; a warning or a hint is advice.
    """
    async with session.client() as client:
        if rules:
            _show_rules(
                session.output, (await client.ask(client.practice.ListPractices, ListPracticesRequest())).practices
            )
            return
        if override is not None:
            await _override(session, client, objective, override, reason, key_result)
            return
        if objective is None:
            board = await lookups.board_of(client, GetBoardRequest())
            looked_at = list(board.objectives)
        else:
            looked_at = [(await lookups.objective(client, objective))[0]]
        counsels = await _ask(client, looked_at)
        _show(session.output, looked_at, counsels)


async def _ask(client: Client, objectives: Sequence[BoardObjective]) -> list[LintObjectiveResponse]:
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(each: BoardObjective) -> LintObjectiveResponse:
        async with room:
            return await client.ask(client.practice.LintObjective, LintObjectiveRequest(objective_id=each.objective_id))

    return list(await asyncio.gather(*(ask(each) for each in objectives)))


def _show(output: Output, objectives: Sequence[BoardObjective], counsels: Sequence[LintObjectiveResponse]) -> None:
    if output.as_json:
        output.document(
            {
                "objectives": [
                    {
                        "id": each.objective_id,
                        "title": each.title,
                        "findings": [finding_document(finding) for finding in counsel.findings],
                        "overridden": [finding_document(finding) for finding in counsel.overridden],
                    }
                    for each, counsel in zip(objectives, counsels, strict=True)
                ]
            }
        )
        return
    rows: list[Row] = []
    for each, counsel in zip(objectives, counsels, strict=True):
        titles = {each.objective_id: "", **{key.key_result_id: key.title for key in each.key_results}}
        if counsel.findings:
            rows.append(Row([Cell(each.title, "bold"), "", "", ""], heading=True))
            rows += finding_rows(counsel.findings, titles)
    if not rows:
        output.say("Good practice has nothing to say against it.", style="green")
        return
    output.table(COLUMNS, rows)
    output.say()
    output.say("Why there is a rule, with a weak and a strong example: okr lint --rules", style="dim")


def finding_rows(findings: Sequence[LintFinding], titles: dict[str, str]) -> list[Row]:
    rows = []
    for finding in findings:
        word, style = SEVERITIES[finding.severity]
        subject = titles.get(finding.subject_id, "")
        rows.append(Row([finding.practice.rule, Cell(word, style), subject, finding.message]))
    return rows


def finding_document(finding: LintFinding) -> dict[str, Any]:
    return {
        "rule": finding.practice.rule,
        "severity": SEVERITIES[finding.severity][0],
        "subject_id": finding.subject_id,
        "message": finding.message,
        "why": finding.practice.why,
        "binding": finding.practice.binding,
        "rule_version": finding.rule_version,
    }


def _show_rules(output: Output, practices: Sequence[Practice]) -> None:
    if output.as_json:
        output.document(
            {
                "rules": [
                    {
                        "rule": each.rule,
                        "why": each.why,
                        "weak_example": each.weak_example,
                        "strong_example": each.strong_example,
                        "binding": each.binding,
                    }
                    for each in practices
                ]
            }
        )
        return
    rows = [
        Row([f"{each.rule}{'!' if each.binding else ''}", each.why, each.weak_example, each.strong_example])
        for each in practices
    ]
    output.table(RULE_COLUMNS, rows)
    output.say()
    output.say("! cannot be overridden.", style="dim")


async def _override(
    session: Session, client: Client, objective: str | None, rule: str, reason: str, key_result: str | None
) -> None:
    if objective is None:
        raise SetupError("say which OBJECTIVE the finding is about", reason="OBJECTIVE_MISSING")
    if not reason.strip():
        raise SetupError("going on in spite of a rule has a reason: --reason TEXT", reason="REASON_MISSING")
    found, _ = await lookups.objective(client, objective)
    request = OverrideLintRequest(
        request_id=str(uuid4()), objective_id=found.objective_id, rule=rule.upper(), reason=reason
    )
    if key_result is not None:
        known = [(each.key_result_id, each.title) for each in found.key_results]
        request.subject_id = lookups.chosen(known, key_result, "key result")
    answer = await client.tell(client.practice.OverrideLint, request)
    if session.output.as_json:
        session.output.document({"objective_id": found.objective_id, "position": answer.receipt.position})
    else:
        session.output.say(f"Noted: {found.title} goes on in spite of {rule.upper()}.", style="green")
