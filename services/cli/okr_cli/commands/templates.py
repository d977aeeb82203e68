"""`template list|preview|apply|save`: objectives to begin with, instead of a blank page."""

import re
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

import typer

from okr.goals.v1.practice_pb2 import (
    ApplyTemplateRequest,
    KeyResultDraft,
    ListTemplatesRequest,
    PreviewTemplateRequest,
    SaveTemplateRequest,
    Template,
    TemplateNumbers,
)
from okr.insights.v1.insights_pb2 import GetBoardRequest
from okr_cli import entries, lookups, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.commands.practising import COLUMNS as FINDING_COLUMNS
from okr_cli.commands.practising import finding_document, finding_rows
from okr_cli.failures import RefusedError, SetupError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

LIST_COLUMNS = (
    Column("id"),
    Column("objective", flexible=True, least=24),
    Column("industry", drop=1),
    Column("function", drop=2),
)
KEY_RESULT_COLUMNS = (
    Column("", align="right"),
    Column("key result", flexible=True, least=24),
    Column("start", align="right"),
    Column("commit", align="right"),
    Column("target", align="right"),
    Column("unit"),
)
FIELDS = ("start", "commit", "target", "low", "high", "tolerance")
_NUMBER = re.compile(rf"([0-9]{{1,2}})\.({'|'.join(FIELDS)})=(.+)")

TemplateId = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="Its id, as in CN1; `okr template list` shows them.")
]
Department = Annotated[str, typer.Option("--department", metavar="NAME", help="Whose objective it becomes.")]
Owner = Annotated[
    str | None, typer.Option("--owner", metavar="HANDLE", help="Who owns it; you when left out.", show_default=False)
]
Accountable = Annotated[
    str | None,
    typer.Option(
        "--accountable",
        metavar="HANDLE",
        help="Who answers for its key results; the owner when left out.",
        show_default=False,
    ),
]
Title = Annotated[
    str, typer.Option("--title", metavar="TEXT", help="Your own words for the objective.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="N.FIELD=VALUE",
        help="Your own number for key result N, as in 1.target=80; start, commit, target, low, high, tolerance.",
        show_default=False,
    ),
]


def declare(app: typer.Typer) -> None:
    group = typer.Typer(help="Objectives to begin with, by industry and function.", no_args_is_help=True)
    command(group, "list")(list_templates)
    command(group, "preview")(preview)
    command(group, "apply")(apply)
    command(group, "save")(save)
    app.add_typer(group, name="template")


async def list_templates(
    session: Session,
    search: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]", help="Words that all have to be in it.")
    ] = None,
    industry: Annotated[str, typer.Option("--industry", metavar="NAME", show_default=False)] = "",
    function: Annotated[str, typer.Option("--function", metavar="NAME", show_default=False)] = "",
) -> None:
    """Show the templates there are: the library, then your organisation's own."""
    request = ListTemplatesRequest(search=" ".join(search or []), industry=industry, function=function)
    async with session.client() as client:
        found = (await client.ask(client.practice.ListTemplates, request)).templates
    if session.output.as_json:
        session.output.document({"templates": [_document(each) for each in found]})
    elif not found:
        session.output.say("No template has all of these words; `okr template list` shows all.")
    else:
        rows = [Row([Cell(each.template_id, "bold"), each.objective, each.industry, each.function]) for each in found]
        session.output.table(LIST_COLUMNS, rows)


async def preview(
    session: Session,
    template: TemplateId,
    department: Department,
    numbers: Set = None,
    title: Title = "",
    owner: Owner = None,
    accountable: Accountable = None,
) -> None:
    """Show what a template would make with your numbers, and what good practice says of it."""
    async with session.client() as client:
        unit_id, cycle_id, owner_id, accountable_id = await _surroundings(
            session, client, department, owner, accountable
        )
        request = PreviewTemplateRequest(
            template_id=template,
            cycle_id=cycle_id,
            unit_id=unit_id,
            owner_id=owner_id,
            accountable_id=accountable_id,
            numbers=_numbers(numbers),
            title=title,
        )
        answer = await client.ask(client.practice.PreviewTemplate, request)
    draft = answer.draft
    if session.output.as_json:
        session.output.document(
            {
                "objective": draft.title,
                "key_results": [_key_result_document(each) for each in draft.key_results],
                "findings": [finding_document(each) for each in answer.findings],
            }
        )
        return
    session.output.say(draft.title, style="bold")
    session.output.table(KEY_RESULT_COLUMNS, _rows(draft.key_results))
    if answer.findings:
        session.output.say()
        titles = {each.key_result_id: each.title for each in draft.key_results}
        session.output.table(FINDING_COLUMNS, finding_rows(answer.findings, titles))


async def apply(
    session: Session,
    template: TemplateId,
    department: Department,
    numbers: Set = None,
    title: Title = "",
    owner: Owner = None,
    accountable: Accountable = None,
) -> None:
    """Draft an objective from a template, with all its key results, in the cycle the board shows."""
    request = ApplyTemplateRequest(
        request_id=str(uuid4()), objective_id=str(uuid4()), template_id=template, numbers=_numbers(numbers), title=title
    )
    async with session.client() as client:
        unit_id, cycle_id, owner_id, accountable_id = await _surroundings(
            session, client, department, owner, accountable
        )
        request.unit_id, request.cycle_id = unit_id, cycle_id
        request.owner_id, request.accountable_id = owner_id, accountable_id
        answer = await client.tell(client.practice.ApplyTemplate, request)
    if session.output.as_json:
        session.output.document(
            {
                "objective_id": request.objective_id,
                "key_result_ids": list(answer.key_result_ids),
                "position": answer.receipt.position,
            }
        )
    else:
        count = len(answer.key_result_ids)
        session.output.say(f"Drafted with {count} key results. `okr lint` says what to look at.", style="green")


async def save(
    session: Session,
    objective: Annotated[str, typer.Argument(metavar="OBJECTIVE", help="Words of its title, or its id.")],
    industry: Annotated[str, typer.Option("--industry", metavar="NAME")],
    function: Annotated[str, typer.Option("--function", metavar="NAME")],
) -> None:
    """Make a template of your own from an objective. It keeps no dates."""
    request = SaveTemplateRequest(
        request_id=str(uuid4()), template_id=str(uuid4()), industry=industry, function=function
    )
    async with session.client() as client:
        found, _ = await lookups.objective(client, objective)
        request.objective_id = found.objective_id
        answer = await client.tell(client.practice.SaveTemplate, request)
    if session.output.as_json:
        session.output.document({"template_id": request.template_id, "position": answer.receipt.position})
    else:
        session.output.say(f"Saved as {request.template_id}: {found.title}.", style="green")


async def _surroundings(
    session: Session, client: Client, department: str, owner: str | None, accountable: str | None
) -> tuple[str, str, str, str]:
    """Unit, cycle, owner and accountable champion by their ids."""
    unit_id = await lookups.department(client, department)
    board = await client.ask(client.insights.GetBoard, GetBoardRequest())
    if not board.cycle_id:
        raise RefusedError("there is no cycle yet; an import or DraftCycle makes one", reason="CYCLE_NOT_FOUND")
    owner_id = await lookups.person(client, owner or session.handle)
    accountable_id = await lookups.person(client, accountable) if accountable else owner_id
    return unit_id, board.cycle_id, owner_id, accountable_id


def _numbers(said: Sequence[str] | None) -> list[TemplateNumbers]:
    """`1.target=80` and the like, gathered by key result."""
    found: dict[int, TemplateNumbers] = {}
    for each in said or []:
        match = _NUMBER.fullmatch(each.strip())
        if match is None:
            raise SetupError(
                f"{each!r} sets no number; write N.FIELD=VALUE with one of {', '.join(FIELDS)}, as in 1.target=80",
                reason="NOT_A_NUMBER",
            )
        place, field, value = match.groups()
        numbers = found.setdefault(int(place), TemplateNumbers(key_result=int(place)))
        setattr(numbers, field, entries.value(value))
    return list(found.values())


def _rows(key_results: Sequence[KeyResultDraft]) -> list[Row]:
    rows = []
    for place, each in enumerate(key_results, start=1):
        kept = words.within(each.measurement.low, each.measurement.high) if each.measurement.tolerance else ""
        marks = (
            ["", "", kept]
            if kept
            else [words.number(mark) if mark else "" for mark in (each.start, each.commit, each.target)]
        )
        rows.append(Row([str(place), each.title, *marks, each.unit]))
    return rows


def _document(each: Template) -> dict[str, Any]:
    return {
        "id": each.template_id,
        "industry": each.industry,
        "function": each.function,
        "objective": each.objective,
        "serves": each.serves,
        "own": each.own,
        "key_results": [_key_result_document(key_result) for key_result in each.key_results],
    }


def _key_result_document(each: KeyResultDraft) -> dict[str, Any]:
    details = each.measurement
    return {
        "title": each.title,
        "unit": each.unit,
        "start": each.start or None,
        "commit": each.commit or None,
        "target": each.target or None,
        "range": {"low": details.low or None, "high": details.high or None} if details.tolerance else None,
        "guard_rail": details.guard_rail,
    }
