"""`grade` and `carry-over`: what key results came to, and what goes on in the next cycle."""

from typing import Annotated, Any
from uuid import uuid4

import typer

from okr.goals.v1.cycles_pb2 import (
    CarryOverRequest,
    GetCycleSummaryRequest,
    GetCycleSummaryResponse,
    GradedKeyResult,
    GradeKeyResultRequest,
    ListGradesRequest,
)
from okr.goals.v1.goals_pb2 import Cycle, CycleState, GradeZone, KeyResultType, ListObjectivesRequest, Objective
from okr_cli import entries, lookups, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.commands import cycling
from okr_cli.failures import RefusedError, SetupError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

GRADES_PER_PAGE = 100
ZONES = {
    GradeZone.GRADE_ZONE_BELOW_COMMIT: ("below commit", ""),
    GradeZone.GRADE_ZONE_COMMIT: ("commit", "green"),
    GradeZone.GRADE_ZONE_TARGET: ("target", "green"),
    GradeZone.GRADE_ZONE_STRETCH: ("stretch", "cyan"),
}
"""Never red: what was learned is worth as much as what was reached."""
COLUMNS = (
    Column("key result", flexible=True, least=20),
    Column("ended at", align="right"),
    Column("rules say", align="right"),
    Column("grade", align="right"),
    Column("zone"),
    Column("why", flexible=True, least=30, drop=2),
    Column("id", drop=1),
)

GradedIn = Annotated[
    str | None,
    typer.Option("--cycle", metavar="CYCLE", help="Which cycle; the one in grading when left out.", show_default=False),
]


def declare(app: typer.Typer) -> None:
    command(app, "grade")(grade)
    command(app, "carry-over")(carry_over)


async def grade(
    session: Session,
    key_result: Annotated[
        str | None,
        typer.Argument(metavar="[KR]", help="Words of its title, or its id. All of the cycle when left out."),
    ] = None,
    final: Annotated[
        str | None,
        typer.Option("--final", metavar="S", help="The grade, 0 to 1, where it is not the rules'.", show_default=False),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why it is another one.", show_default=False)
    ] = "",
    evidence: Annotated[
        str, typer.Option("--evidence", metavar="TEXT", help="Where the result can be seen.", show_default=False)
    ] = "",
    early: Annotated[bool, typer.Option("--early", help="Its objective ends before the cycle does.")] = False,
    cycle: GradedIn = None,
) -> None:
    """Show what is to be graded and what the rules say, or give one key result its grade.

    The rules compute a score from the last value of the cycle. Without --final it is the grade; another grade needs
    a reason. Grades are about key results, never about people.
    """
    if key_result is None and (final or reason or evidence or early):
        raise SetupError("say which KR the grade is for", reason="KEY_RESULT_MISSING")
    async with session.client() as client:
        found = await _in_grading(client, cycle, early)
        known = [
            each
            async for page in client.pages(client.cycles.ListGrades, _grades_of(found))
            for each in page.key_results
        ]
        if key_result is None:
            request = GetCycleSummaryRequest(cycle_id=found.cycle_id)
            _show(session, found, known, await client.ask(client.cycles.GetCycleSummary, request))
            return
        wanted = lookups.chosen([(each.key_result_id, each.title) for each in known], key_result.strip(), "key result")
        request_ = GradeKeyResultRequest(
            key_result_id=wanted,
            final=entries.share(final) if final else "",
            reason=reason,
            evidence=evidence,
            closing_early=early,
        )
        answer = await client.tell(client.cycles.GradeKeyResult, request_)
    title = next(each.title for each in known if each.key_result_id == wanted)
    if session.output.as_json:
        session.output.document(
            {
                "key_result_id": wanted,
                "computed": answer.grade.computed,
                "final": answer.grade.final,
                "zone": ZONES.get(answer.grade.zone, ("", ""))[0],
                "rule_version": answer.grade.rule_version,
                "position": answer.receipt.position,
            }
        )
        return
    zone = ZONES.get(answer.grade.zone, ("", ""))[0]
    other = "" if answer.grade.final == answer.grade.computed else f" (the rules say {_score(answer.grade.computed)})"
    session.output.say(f"{title}: {_score(answer.grade.final)}, {zone}{other}.", style="green")


async def carry_over(
    session: Session,
    key_result: Annotated[
        str, typer.Argument(metavar="KR", help="The one to go on with: words of its title, or its id.")
    ],
    into: Annotated[
        str, typer.Option("--into", metavar="OBJECTIVE", help="An objective of another cycle: its words, or its id.")
    ],
    target: Annotated[
        str | None, typer.Option("--target", metavar="N", help="The former one when left out.", show_default=False)
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            "--commit", metavar="N", help="The former one where it still lies ahead, else proposed.", show_default=False
        ),
    ] = None,
) -> None:
    """Go on with a key result in another cycle: a new one that starts where the former one stands.

    Its progress begins at 0, because it counts what the new cycle adds. The former one keeps its grade.
    """
    async with session.client() as client:
        objectives = [
            each
            async for page in client.pages(client.goals.ListObjectives, ListObjectivesRequest())
            for each in page.objectives
        ]
        cycles = {each.cycle_id: each for each in await cycling.cycles(client)}
        objective = _open_objective(objectives, cycles, into)
        known = [
            (each.key_result_id, f"{each.title} ({cycles[each.cycle_id].name})")
            for other in objectives
            if other.cycle_id != objective.cycle_id
            for each in other.key_results
        ]
        former = lookups.chosen(known, key_result.strip(), "key result")
        request = CarryOverRequest(
            key_result_id=former,
            new_key_result_id=str(uuid4()),
            objective_id=objective.objective_id,
            target=entries.value(target) if target else "",
            commit=entries.value(commit) if commit else "",
        )
        answer = await client.tell(client.cycles.CarryOver, request)
    made = answer.key_result
    if session.output.as_json:
        session.output.document(
            {
                "key_result_id": made.key_result_id,
                "continued_from": made.continued_from,
                "objective_id": made.objective_id,
                "start": made.start,
                "commit": made.commit,
                "target": made.target,
                "position": answer.receipt.position,
            }
        )
        return
    session.output.say(
        f"{made.title} goes on in {objective.title}: from {words.number(made.start)}, commit "
        f"{words.number(made.commit)}, target {words.measure(made.target, made.unit)}.",
        style="green",
    )


async def _in_grading(client: Client, said: str | None, early: bool) -> Cycle:
    """The cycle that is meant: the one that is named, else the latest in grading, or active where one ends early."""
    if said is not None:
        return await cycling.meant(client, said)
    wanted = [CycleState.CYCLE_STATE_ACTIVE] if early else [CycleState.CYCLE_STATE_GRADING]
    for state in [*wanted, CycleState.CYCLE_STATE_ACTIVE]:
        for each in await cycling.cycles(client):
            if each.state == state:
                return each
    raise RefusedError("no cycle is in grading, and none is active; name one with --cycle", reason="NO_CYCLE")


def _grades_of(cycle: Cycle) -> ListGradesRequest:
    request = ListGradesRequest(cycle_id=cycle.cycle_id)
    request.page.size = GRADES_PER_PAGE
    return request


def _open_objective(objectives: list[Objective], cycles: dict[str, Cycle], said: str) -> Objective:
    """The objective that is meant, of a cycle that something can still be added to."""
    taking = {
        CycleState.CYCLE_STATE_DRAFT,
        CycleState.CYCLE_STATE_PUBLISHED,
        CycleState.CYCLE_STATE_ACTIVE,
    }
    known = [each for each in objectives if cycles[each.cycle_id].state in taking]
    wanted = lookups.chosen([(each.objective_id, each.title) for each in known], said.strip(), "objective")
    return next(each for each in known if each.objective_id == wanted)


def _show(session: Session, cycle: Cycle, known: list[GradedKeyResult], summary: GetCycleSummaryResponse) -> None:
    if session.output.as_json:
        document = cycling.summary_document(summary)
        session.output.document({**document, "grades": [_document(each) for each in known]})
        return
    state = cycling.STATES.get(cycle.state, ("", ""))[0]
    session.output.say(f"{cycle.name} ({state}, rules {cycle.rule_version or 'of today'})", style="bold")
    if not known:
        session.output.say("Nothing to grade: no objective was active.")
        return
    session.output.say()
    shown = lookups.short_ids([each.key_result_id for each in known])
    rows = [
        Row(
            [
                each.title,
                _ended_at(each),
                _score(each.computed),
                Cell(_score(each.grade.final), "bold") if each.HasField("grade") else Cell("to give", "yellow"),
                Cell(*ZONES.get(each.zone, ("", ""))),
                each.explanation
                if not each.grade.reason
                else f"{each.explanation} Given otherwise: {each.grade.reason}",
                shown[each.key_result_id],
            ]
        )
        for each in known
    ]
    session.output.table(COLUMNS, rows)
    session.output.say()
    for line in cycling.summary_lines(summary):
        session.output.say(line)
    if summary.graded < summary.key_results:
        session.output.say(
            'As the rules say: okr grade KR. Otherwise: okr grade KR --final 0.6 --reason "…"', style="dim"
        )
    elif cycle.state == CycleState.CYCLE_STATE_GRADING:
        session.output.say(f"All is graded: okr cycle close {cycle.name!r}", style="dim")


def _ended_at(each: GradedKeyResult) -> str:
    if not each.value:
        return "nothing"
    shares = (KeyResultType.KEY_RESULT_TYPE_MAINTAIN, KeyResultType.KEY_RESULT_TYPE_MILESTONE)
    return words.percent(each.value) if each.type in shares else words.measure(each.value, each.unit)


def _score(score: str) -> str:
    return words.number(score)


def _document(each: GradedKeyResult) -> dict[str, Any]:
    grade = each.grade if each.HasField("grade") else None
    return {
        "key_result_id": each.key_result_id,
        "title": each.title,
        "value": each.value or None,
        "computed": each.computed,
        "zone": ZONES.get(each.zone, ("", ""))[0],
        "explanation": each.explanation,
        "rule_version": each.rule_version,
        "grade": None
        if grade is None
        else {"computed": grade.computed, "final": grade.final, "reason": grade.reason, "evidence": grade.evidence},
    }
