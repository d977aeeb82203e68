"""`import`: a spreadsheet becomes objectives, key results, alignments and check-ins; the whole file or nothing."""

import asyncio
import sys
import time
from calendar import monthrange
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from okr.directory.v1.directory_pb2 import GetOrganizationRequest, RegisterPersonRequest
from okr.goals.v1.goals_pb2 import (
    GetImportRequest,
    GetImportResponse,
    ImportPlanRequest,
    ImportState,
    PlanEffects,
    PlanFault,
)
from okr_cli import identity, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.failures import RefusedError, SetupError, TryAgainError
from okr_cli.program import program
from okr_cli.session import Session
from okr_cli.spreadsheet.model import MAX_FILE_BYTES, Fault, Plan
from okr_cli.spreadsheet.reader import read_plan

FAULTS_SHOWN = 50
LARGEST_REQUEST_BYTES = 1024 * 1024
POLL_SECONDS = 0.1
STANDSTILL_SECONDS = 60.0
"""An import that gets no further for so long goes on without us watching."""

EFFECTS: Sequence[tuple[str, str, str]] = (
    ("departments_added", "department added", "departments added"),
    ("people_registered", "person registered", "people registered"),
    ("objectives_drafted", "objective drafted", "objectives drafted"),
    ("key_results_defined", "key result defined", "key results defined"),
    ("targets_revised", "target revised", "targets revised"),
    ("champions_assigned", "champion assigned", "champions assigned"),
    ("alignments", "alignment", "alignments"),
    ("check_ins", "check-in", "check-ins"),
)


@dataclass(frozen=True)
class Cycle:
    name: str
    starts_on: date
    ends_on: date

    @classmethod
    def around(cls, today: date) -> "Cycle":
        """The quarter that contains a day."""
        quarter = (today.month - 1) // 3
        last_month = 3 * quarter + 3
        return cls(
            f"Q{quarter + 1} {today.year}",
            date(today.year, 3 * quarter + 1, 1),
            date(today.year, last_month, monthrange(today.year, last_month)[1]),
        )

    @classmethod
    def of(cls, today: date, name: str | None, starts_on: str | None, ends_on: str | None) -> "Cycle":
        """The cycle that options name. Raises SetupError."""
        if (starts_on is None) != (ends_on is None):
            raise SetupError("--from and --to come together: the cycle's first and last day", reason="BAD_CYCLE")
        if starts_on is None or ends_on is None:
            usual = cls.around(today)
            return cls(name or usual.name, usual.starts_on, usual.ends_on)
        try:
            first, last = date.fromisoformat(starts_on), date.fromisoformat(ends_on)
        except ValueError:
            raise SetupError("--from and --to take days, as in 2026-01-01", reason="BAD_CYCLE") from None
        if first >= last:
            raise SetupError(f"the cycle ends ({last}) before it has begun ({first})", reason="BAD_CYCLE")
        return cls(name or f"{first} to {last}", first, last)


def declare(app: typer.Typer) -> None:
    command(app, "import")(import_file)


async def import_file(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv or .xlsx file; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, do nothing.")] = False,
    cycle: Annotated[
        str | None, typer.Option("--cycle", metavar="NAME", help="The cycle's name; this quarter's when left out.")
    ] = None,
    starts_on: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The cycle's first day.", show_default=False)
    ] = None,
    ends_on: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The cycle's last day.", show_default=False)
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", metavar="NAME", help="Of a CSV that is not Unicode, such as cp1252."),
    ] = None,
) -> None:
    """Bring a spreadsheet of OKRs in: one row is one key result, blank cells mean "as above".

    All faults are told at once and nothing is applied while there is one. Importing the same file
    again changes nothing. An organisation that does not exist yet is founded with --organization.
    """
    within = Cycle.of(session.now().date(), cycle, starts_on, ends_on)
    data, name = _read(file)
    plan = read_plan(data, _known_encoding(encoding), (within.starts_on, within.ends_on))
    async with AsyncExitStack() as stack:
        founding = False
        client: Client | None = None
        try:
            client, founding = await _client(session, stack)
        except SetupError:
            if not plan.faults:
                raise  # what is wrong with the file can be told without a platform
        request = _request(plan, name, within, session.organization if founding else "")
        if plan.faults:
            faults = [*plan.faults, *await _further_faults(client, plan, request)]
            raise _refused(faults, name)
        assert client is not None, "without faults the connection was required"
        if not session.output.as_json:
            for note in (*_ignored(plan), *plan.notes):
                session.output.note(note)
        await _import(session, client, plan, request, dry_run, founding)


def _read(file: str) -> tuple[bytes, str]:
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1), "standard input"
        path = Path(file)
        with path.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1), path.name
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise SetupError(f"{file} cannot be read: {said}", reason="FILE_NOT_READABLE") from None


def _known_encoding(encoding: str | None) -> str | None:
    if encoding is not None:
        try:
            "".encode(encoding)
        except (LookupError, ValueError):
            raise SetupError(
                f"{encoding!r} is no encoding; as in utf-8, utf-16, cp1252", reason="BAD_ENCODING"
            ) from None
    return encoding


async def _client(session: Session, stack: AsyncExitStack) -> tuple[Client, bool]:
    """The platform, and whether the organisation has yet to be founded."""
    if session.token:
        client = await stack.enter_async_context(session.client())
    else:
        client = await stack.enter_async_context(session.connected(session.stranger()))
    try:
        await client.ask(client.directory.GetOrganization, GetOrganizationRequest())
    except RefusedError as error:
        if not error.reason.endswith("_NOT_FOUND"):
            raise
        if not session.organization_named:
            raise SetupError(
                "there is no organisation here yet; name yours with --organization", reason="NO_ORGANIZATION"
            ) from None
        return client, True
    return (client if session.token else await stack.enter_async_context(session.client())), False


def _request(plan: Plan, source: str, cycle: Cycle, founds: str) -> ImportPlanRequest:
    return ImportPlanRequest(
        source=source,
        cycle_name=cycle.name,
        cycle_starts_on=cycle.starts_on.isoformat(),
        cycle_ends_on=cycle.ends_on.isoformat(),
        rows=plan.rows,
        organization_name=founds,
    )


async def _further_faults(client: Client | None, plan: Plan, request: ImportPlanRequest) -> list[Fault]:
    """What the platform finds wrong with the rows that could be read, so that all is told at once.

    Parents wait for the next try: one may be missed only because its own row could not be read.
    """
    if client is None or not plan.rows or request.ByteSize() > LARGEST_REQUEST_BYTES:
        return []
    request.validate_only = True
    try:
        answer = await client.tell(client.goals.ImportPlan, request)
    except (RefusedError, TryAgainError):
        return []
    return [_fault(plan, fault) for fault in answer.faults if fault.column != "parent_objective"]


def _fault(plan: Plan, fault: PlanFault) -> Fault:
    cell, header = plan.place(fault.row, fault.column) if fault.row else ("", "")
    return Fault(
        reason=fault.reason, message=fault.message, row=fault.row, cell=cell, header=header, field=fault.column
    )


def _refused(faults: Sequence[Fault], source: str) -> RefusedError:
    ordered = sorted(faults, key=lambda fault: fault.row)
    told = [_line(fault) for fault in ordered[:FAULTS_SHOWN]]
    if len(ordered) > FAULTS_SHOWN:
        told.append(f"and {len(ordered) - FAULTS_SHOWN} more; --json lists all")
    return RefusedError(
        f"{source}: {words.plural(len(ordered), 'fault')}, nothing was imported",
        reason="PLAN_REFUSED",
        details=told,
        document={"applied": False, "faults": [fault_document(fault) for fault in ordered]},
    )


def _line(fault: Fault) -> str:
    if fault.cell:
        return f"{fault.cell} ({fault.header}): {fault.message}"
    field = fault.field.replace("_", " ")
    place = f"row {fault.row}, {field}" if fault.row and field else f"row {fault.row}" if fault.row else field
    return f"{place}: {fault.message}" if place else fault.message


def fault_document(fault: Fault) -> dict[str, Any]:
    return {
        "row": fault.row or None,
        "cell": fault.cell or None,
        "column": fault.header or None,
        "field": fault.field or None,
        "reason": fault.reason,
        "message": fault.message,
    }


def _ignored(plan: Plan) -> list[str]:
    return [f"ignored: column {', '.join(plan.ignored_columns)}"] if plan.ignored_columns else []


async def _import(
    session: Session, client: Client, plan: Plan, request: ImportPlanRequest, dry_run: bool, founding: bool
) -> None:
    if request.ByteSize() > LARGEST_REQUEST_BYTES:
        raise RefusedError(
            f"{request.source}: the plan takes {request.ByteSize():,} bytes, at most {LARGEST_REQUEST_BYTES:,} are "
            "taken at once; split the file by department",
            reason="PLAN_TOO_LARGE",
        )
    request.validate_only = dry_run
    answer = await client.tell(client.goals.ImportPlan, request)
    if answer.faults:
        raise _refused([_fault(plan, fault) for fault in answer.faults], request.source)
    done: GetImportResponse | None = None
    if not dry_run and answer.import_id:
        if founding:
            await _introduce(session, client)  # before the wait, so that an interrupted command can be given again
        done = await _watch(session, client, answer.import_id, answer.receipt.position)
    document = {
        "applied": not dry_run,
        "import_id": answer.import_id or None,
        "rows": len(plan.rows),
        "effects": effects_document(answer.effects),
        "ignored_columns": list(plan.ignored_columns),
        "notes": list(plan.notes),
        "refused": [fault_document(_fault(plan, fault)) for fault in done.refused] if done else [],
        "positions": list(done.positions) if done else [],
    }
    if done is not None and done.refused:
        overtaken = [_fault(plan, fault) for fault in done.refused]
        raise RefusedError(
            f"{request.source}: {words.plural(len(overtaken), 'row')} could not be applied any more; the rest was",
            reason="ROWS_OVERTAKEN",
            details=[_line(fault) for fault in overtaken],
            document=document,
        )
    if session.output.as_json:
        session.output.document(document)
        return
    _say(session, request, answer.effects, dry_run, len(plan.rows))


def effects_document(effects: PlanEffects) -> dict[str, int]:
    return {field.name: getattr(effects, field.name) for field in PlanEffects.DESCRIPTOR.fields}


def _say(session: Session, request: ImportPlanRequest, effects: PlanEffects, dry_run: bool, rows: int) -> None:
    counted = [words.plural(count, one, many) for field, one, many in EFFECTS if (count := getattr(effects, field))]
    into = f"{request.cycle_name} ({request.cycle_starts_on} to {request.cycle_ends_on})"
    if not counted:
        # Also for a plan that was accepted before and is not applied again, whatever the cycle says by now.
        counted_rows = f"{'the one row' if rows == 1 else f'all {rows} rows'} of {request.source}"
        session.output.say(f"Nothing to do: {into} has been told {counted_rows} before. What changed since then stays.")
        return
    session.output.say(
        f"{'Would import' if dry_run else 'Imported'} {words.plural(rows, 'row')} of {request.source} into {into}:",
        style="" if dry_run else "green",
    )
    for line in counted:
        session.output.say(f"  {line}")
    if effects.unchanged_rows:
        session.output.say(f"  {words.plural(effects.unchanged_rows, 'row')} unchanged")
    if not dry_run:
        named = f" --organization {session.organization!r}" if session.organization_named else ""
        session.output.say(f"See it with: {program()} board{named}")


async def _watch(session: Session, client: Client, import_id: str, position: str) -> GetImportResponse:
    """Wait until an accepted import has been carried out."""
    request = GetImportRequest(import_id=import_id, min_positions=[position] if position else [])
    before, since = -1, time.monotonic()
    state = await client.ask(client.goals.GetImport, request)
    if state.state == ImportState.IMPORT_STATE_COMPLETED:
        return state
    with session.output.progress("importing") as meter:
        while True:
            meter.update(state.rows_done, state.rows_total)
            if state.state == ImportState.IMPORT_STATE_COMPLETED:
                return state
            if state.rows_done != before:
                before, since = state.rows_done, time.monotonic()
            if time.monotonic() - since > STANDSTILL_SECONDS:
                raise TryAgainError(
                    f"the import was accepted and has done {state.rows_done} of {state.rows_total} rows; it goes on by "
                    "itself, and the same command shows when it is done",
                    reason="IMPORT_RUNS_ON",
                )
            await asyncio.sleep(POLL_SECONDS)
            state = await client.ask(client.goals.GetImport, request)


async def _introduce(session: Session, client: Client) -> None:
    """Register whoever founded an organisation, unless the spreadsheet named them: they want to come back."""
    if session.token or not session.handle_named:
        return
    if await session.find(client) is not None:
        return
    request = RegisterPersonRequest(
        person_id=str(identity.person_id(session.organization_id, session.handle)),
        handle=identity.slug(session.handle).replace("-", "."),
        name=session.handle,
    )
    await client.tell(client.directory.RegisterPerson, request)
