"""`due` and `cadence`: who is to check in on what by when, and how often that is."""

from datetime import date
from typing import Annotated, Any
from uuid import uuid4

import typer

from okr.checkins.v1 import rhythm_pb2
from okr.checkins.v1.rhythm_pb2 import (
    ChooseCadenceRequest,
    Duty,
    DutyState,
    GetCadenceRequest,
    GetCadenceResponse,
    ListDutiesRequest,
    Weekday,
)
from okr.goals.v1.goals_pb2 import Cycle, ListCyclesRequest
from okr.insights.v1.insights_pb2 import GetBoardRequest
from okr_cli import lookups, views, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.failures import RefusedError, SetupError
from okr_cli.lookups import short_ids
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

COLUMNS = (
    Column("key result", flexible=True, least=28),
    Column("by when", flexible=True, least=24),
    Column("who", drop=2),
    Column("last value", align="right", drop=1),
    Column("on time", align="right", drop=3),
    Column("id", drop=4),
)
URGENCY = (
    DutyState.DUTY_STATE_OVERDUE,
    DutyState.DUTY_STATE_STALE,
    DutyState.DUTY_STATE_MISSED,
    DutyState.DUTY_STATE_DUE,
    DutyState.DUTY_STATE_UPCOMING,
    DutyState.DUTY_STATE_SCHEDULED,
    DutyState.DUTY_STATE_LATE,
    DutyState.DUTY_STATE_ON_TIME,
)
WEEKDAYS = tuple(name.removeprefix("WEEKDAY_").lower() for name in Weekday.keys()[1:])
STEPS = {"week": 7, "weekly": 7, "two weeks": 14, "biweekly": 14, "bi-weekly": 14, "month": 28, "monthly": 28}
TO_BE_CONFIRMED = ("WEEKLY_IS_EXCESSIVE", "MONTHLY_IS_TOO_RARE")


def declare(app: typer.Typer) -> None:
    command(app, "due")(due)
    command(app, "cadence")(cadence)


async def due(
    session: Session,
    person: Annotated[
        str | None, typer.Option("--person", metavar="HANDLE", help="What they are to check in.", show_default=False)
    ] = None,
    department: Annotated[
        str | None,
        typer.Option("--department", metavar="NAME", help="Only this one and all below it.", show_default=False),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Of everybody.")] = False,
) -> None:
    """Show what you are to check in, and by when.

    "last value" is how long ago it was true; "on time" how many of those that were due were made on time.
    """
    if sum((person is not None, department is not None, everybody)) > 1:
        raise SetupError("choose one of --person, --department and --all", reason="TOO_MANY_OPTIONS")
    request = ListDutiesRequest()
    async with session.client() as client:
        if person is not None:
            request.person_id = await lookups.person(client, person)
        elif department is not None:
            request.unit_id = await lookups.department(client, department)
        elif everybody:
            request.everybody = True
        found: list[Duty] = []
        as_of = ""
        async for page in client.pages(client.rhythm.ListDuties, request):
            found += page.duties
            as_of = page.as_of
        names = await lookups.people(client, {each.holder_id for each in found})
    found.sort(key=lambda each: (URGENCY.index(each.state), each.due_on, each.key_result_title))
    if session.output.as_json:
        session.output.document({"as_of": as_of, "duties": [_document(each, names) for each in found]})
    elif not found:
        session.output.say("Nothing to check in.")
    else:
        session.output.table(COLUMNS, _rows(found, as_of, names))


async def cadence(
    session: Session,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="STEP", help="week, two weeks, month, or so many days.", show_default=False),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option("--day", metavar="WEEKDAY", help="On which weekday, as in tuesday.", show_default=False),
    ] = None,
    cycle: Annotated[
        str | None,
        typer.Option("--cycle", metavar="NAME", help="Which cycle; the running one when left out.", show_default=False),
    ] = None,
    all_cycles: Annotated[
        bool, typer.Option("--all-cycles", help="The weekday of all cycles that have no rhythm of their own.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Even if it is weekly or monthly.")] = False,
) -> None:
    """Show how often key results are checked in, or choose another rhythm. What was due before stays due."""
    if all_cycles and (every is not None or day is None):
        raise SetupError("all cycles share a weekday alone: give --day, and no --every", reason="STEP_NEEDS_A_CYCLE")
    request = ChooseCadenceRequest(
        request_id=str(uuid4()), step_days=_step(every), weekday=_weekday(day), confirmed=yes
    )
    async with session.client() as client:
        chosen = await _cycle(client, cycle)
        positions: list[str] = []
        if every is not None or day is not None:
            request.cycle_id = "" if all_cycles else chosen.cycle_id
            try:
                done = await client.tell(client.rhythm.ChooseCadence, request)
            except RefusedError as error:
                if error.reason not in TO_BE_CONFIRMED:
                    raise
                raise RefusedError(f"{error.message}: --yes", reason=error.reason) from None
            positions = [done.receipt.position]
        found = await client.ask(
            client.rhythm.GetCadence, GetCadenceRequest(cycle_id=chosen.cycle_id, min_positions=positions)
        )
    weekday = Weekday.Name(found.weekday).removeprefix("WEEKDAY_").lower()
    if session.output.as_json:
        session.output.document(
            {
                "cycle": {"id": chosen.cycle_id, "name": chosen.name},
                "step_days": found.step_days,
                "weekday": weekday,
                "usual": found.is_default,
                "due_on": list(found.due_days),
                "time_zone": found.time_zone,
            }
        )
        return
    usual = ", as is usual for its length" if found.is_default else ""
    session.output.say(f"{chosen.name}: every {found.step_days} days, on {weekday.title()}s{usual}", style="bold")
    session.output.say(f"Due on {_days(found)} ({found.time_zone}).")


async def _cycle(client: Client, said: str | None) -> Cycle:
    known = [each async for page in client.pages(client.goals.ListCycles, ListCyclesRequest()) for each in page.cycles]
    if said is None:
        wanted = (await client.ask(client.insights.GetBoard, GetBoardRequest())).cycle_id
        if not wanted:
            raise RefusedError("there is no cycle yet; `okr import` begins one", reason="CYCLE_NOT_FOUND")
    else:
        wanted = lookups.chosen([(each.cycle_id, each.name) for each in known], said, "cycle")
    return next(each for each in known if each.cycle_id == wanted)


def _step(said: str | None) -> int:
    if said is None:
        return 0
    plain = said.strip().lower()
    number = plain.removesuffix("days").removesuffix("d").strip()
    if plain in STEPS:
        return STEPS[plain]
    if number.isdecimal() and int(number) > 0:
        return int(number)
    raise SetupError(f"{said!r} is no step: week, two weeks, month, or so many days", reason="NOT_A_STEP")


def _weekday(said: str | None) -> Weekday.ValueType:
    if said is None:
        return Weekday.WEEKDAY_UNSPECIFIED
    plain = said.strip().lower()
    fitting = [number for number, name in enumerate(WEEKDAYS, start=1) if len(plain) > 1 and name.startswith(plain)]
    if len(fitting) != 1:
        raise SetupError(f"{said!r} is no weekday: {', '.join(WEEKDAYS)}", reason="NOT_A_WEEKDAY")
    return Weekday.ValueType(fitting[0])


def _days(found: GetCadenceResponse) -> str:
    return ", ".join(words.short_day(date.fromisoformat(each)) for each in found.due_days)


def _rows(duties: list[Duty], as_of: str, names: views.Names) -> list[Row]:
    now = words.moment(as_of) or Session.now()
    shown = short_ids(each.key_result_id for each in duties)
    return [
        Row(
            [
                each.key_result_title,
                words.by_when(each, now.date()),
                views.name_of(names, each.holder_id),
                words.age(each.value_at, now) if each.value_at else "none yet",
                f"{each.on_time_count} of {each.due_count}" if each.due_count else "",
                Cell(shown[each.key_result_id], "dim"),
            ]
        )
        for each in duties
    ]


def _document(each: Duty, names: views.Names) -> dict[str, Any]:
    return {
        "key_result_id": each.key_result_id,
        "key_result_title": each.key_result_title,
        "objective_id": each.objective_id,
        "cycle_id": each.cycle_id,
        "holder": views.person_document(each.holder_id, names),
        "role": rhythm_pb2.DutyRole.Name(each.role).removeprefix("DUTY_ROLE_").lower() if each.role else None,
        "state": DutyState.Name(each.state).removeprefix("DUTY_STATE_").lower(),
        "due_on": each.due_on,
        "closes_on": each.closes_on,
        "next_due_on": each.next_due_on or None,
        "last_check_in_at": each.last_check_in_at or None,
        "value_at": each.value_at or None,
        "due": each.due_count,
        "on_time": each.on_time_count,
        "streak": each.streak,
        "missed_in_a_row": each.missed_in_a_row,
    }
