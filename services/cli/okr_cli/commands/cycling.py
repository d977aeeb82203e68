"""`cycle list|draft|publish|activate|open-grading|close|cancel`: the life of a planning cycle."""

import asyncio
import time
from typing import Annotated, Any
from uuid import uuid4

import typer

from okr.goals.v1.cycles_pb2 import (
    CancelCycleRequest,
    GetCycleSummaryRequest,
    GetCycleSummaryResponse,
    OpenGradingRequest,
    PublishCycleRequest,
)
from okr.goals.v1.goals_pb2 import (
    ActivateCycleRequest,
    CloseCycleRequest,
    Cycle,
    CycleState,
    DraftCycleRequest,
    GetCycleRequest,
    ListCyclesRequest,
)
from okr_cli import lookups, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.commands.practising import COLUMNS as FINDING_COLUMNS
from okr_cli.commands.practising import finding_document, finding_rows
from okr_cli.failures import RefusedError, TryAgainError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

STATES = {
    CycleState.CYCLE_STATE_DRAFT: ("draft", "dim"),
    CycleState.CYCLE_STATE_PUBLISHED: ("published", "cyan"),
    CycleState.CYCLE_STATE_ACTIVE: ("active", "green"),
    CycleState.CYCLE_STATE_GRADING: ("in grading", "yellow"),
    CycleState.CYCLE_STATE_CLOSING: ("closing", "yellow"),
    CycleState.CYCLE_STATE_CLOSED: ("closed", "dim"),
    CycleState.CYCLE_STATE_CANCELLED: ("cancelled", "dim"),
}
CLOSING_SECONDS = 30.0
"""How long `close` waits for the last objective; the platform goes on also without anybody waiting."""
LOOK_AGAIN_SECONDS = 0.1
LIST_COLUMNS = (
    Column("cycle", flexible=True, least=12),
    Column("first day"),
    Column("last day"),
    Column("state"),
    Column("rules", drop=2),
    Column("id", drop=1),
)

CycleName = Annotated[str, typer.Argument(metavar="CYCLE", help="Its name or part of it, or its id.")]


def declare(app: typer.Typer) -> None:
    cycle = typer.Typer(no_args_is_help=True, help="Plan a cycle, begin it, and bring it to its end.")
    command(cycle, "list")(show)
    command(cycle, "draft")(draft)
    command(cycle, "publish")(publish)
    command(cycle, "activate")(activate)
    command(cycle, "open-grading")(open_grading)
    command(cycle, "close")(close)
    command(cycle, "cancel")(cancel)
    app.add_typer(cycle, name="cycle")


async def cycles(client: Client) -> list[Cycle]:
    """All of them, the latest first."""
    found = [each async for page in client.pages(client.goals.ListCycles, ListCyclesRequest()) for each in page.cycles]
    return sorted(found, key=lambda each: (each.starts_on, each.name), reverse=True)


async def meant(client: Client, said: str) -> Cycle:
    """The cycle with this name or id. Raises RefusedError with the candidates when it is not clear."""
    known = await cycles(client)
    try:
        wanted = lookups.chosen([(each.cycle_id, each.name) for each in known], said.strip(), "cycle")
    except RefusedError as error:
        if error.reason == "AMBIGUOUS":
            raise
        names = ", ".join(each.name for each in known) or "none yet"
        raise RefusedError(f"there is no cycle {said!r}; known: {names}", reason="CYCLE_NOT_FOUND") from None
    return next(each for each in known if each.cycle_id == wanted)


async def show(session: Session) -> None:
    """Show all cycles, the latest first."""
    async with session.client() as client:
        found = await cycles(client)
    if session.output.as_json:
        session.output.document({"cycles": [cycle_document(each) for each in found]})
        return
    if not found:
        session.output.say("No cycle yet: okr cycle draft NAME --from DATE --to DATE")
        return
    shown = lookups.short_ids([each.cycle_id for each in found])
    rows = [
        Row(
            [
                each.name,
                each.starts_on,
                each.ends_on,
                Cell(*STATES.get(each.state, ("", ""))),
                each.rule_version,
                shown[each.cycle_id],
            ]
        )
        for each in found
    ]
    session.output.table(LIST_COLUMNS, rows)


async def draft(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help='As people say it: "Q3 2026".')],
    first_day: Annotated[str, typer.Option("--from", metavar="DATE", help="Its first day: 2026-07-01.")],
    last_day: Annotated[str, typer.Option("--to", metavar="DATE", help="Its last day: 2026-09-30.")],
) -> None:
    """Draft a cycle. Nobody is held to anything in it until it is published."""
    request = DraftCycleRequest(cycle_id=str(uuid4()), name=name, starts_on=first_day, ends_on=last_day)
    async with session.client() as client:
        answer = await client.tell(client.goals.DraftCycle, request)
    _told(session, request.cycle_id, answer.receipt.position, f"{name} is drafted, {first_day} to {last_day}.")


async def publish(session: Session, cycle: CycleName) -> None:
    """Show a plan to everybody. On its first day it begins by itself.

    Findings of good practice that are errors stand in the way, all of them are named; warnings and hints are advice.
    """
    async with session.client() as client:
        found = await meant(client, cycle)
        answer = await client.tell(client.cycles.PublishCycle, PublishCycleRequest(cycle_id=found.cycle_id))
    if session.output.as_json:
        session.output.document(
            {
                "cycle_id": found.cycle_id,
                "position": answer.receipt.position,
                "advice": [finding_document(each) for each in answer.advice],
            }
        )
        return
    session.output.say(f"{found.name} is published. It begins on {found.starts_on}.", style="green")
    if answer.advice:
        session.output.say()
        session.output.table(FINDING_COLUMNS, finding_rows(answer.advice, {}))
        session.output.say("Advice, nothing more: okr lint shows whom it is about.", style="dim")


async def activate(session: Session, cycle: CycleName) -> None:
    """Begin a cycle now, published or not, without waiting for its first day. For small organisations."""
    async with session.client() as client:
        found = await meant(client, cycle)
        answer = await client.tell(client.goals.ActivateCycle, ActivateCycleRequest(cycle_id=found.cycle_id))
    _told(session, found.cycle_id, answer.receipt.position, f"{found.name} is active.")


async def open_grading(session: Session, cycle: CycleName) -> None:
    """End the time of a cycle early and open it for grades. After its last day that happens by itself."""
    async with session.client() as client:
        found = await meant(client, cycle)
        answer = await client.tell(client.cycles.OpenGrading, OpenGradingRequest(cycle_id=found.cycle_id))
    _told(session, found.cycle_id, answer.receipt.position, f"{found.name} is open for grades: okr grade")


async def close(session: Session, cycle: CycleName) -> None:
    """Close a cycle whose key results are graded. Objectives get the outcome that follows from their grades.

    What has no grade yet is named, all of it. Once begun, the closing is carried on to its end, whatever happens.
    """
    async with session.client() as client:
        found = await meant(client, cycle)
        answer = await client.tell(client.goals.CloseCycle, CloseCycleRequest(cycle_id=found.cycle_id))
        await _closed(client, found)
        summary = await client.ask(client.cycles.GetCycleSummary, GetCycleSummaryRequest(cycle_id=found.cycle_id))
    if session.output.as_json:
        session.output.document({"position": answer.receipt.position, **summary_document(summary)})
        return
    session.output.say(f"{found.name} is closed.", style="green")
    for line in summary_lines(summary):
        session.output.say(line)
    session.output.say("What goes on: okr carry-over KR --into OBJECTIVE", style="dim")


async def cancel(
    session: Session,
    cycle: CycleName,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it is given up.")],
) -> None:
    """Give a cycle up before its end, with its objectives. All that was recorded stays."""
    async with session.client() as client:
        found = await meant(client, cycle)
        request = CancelCycleRequest(cycle_id=found.cycle_id, reason=reason)
        answer = await client.tell(client.cycles.CancelCycle, request)
    _told(session, found.cycle_id, answer.receipt.position, f"{found.name} is cancelled.")


async def _closed(client: Client, cycle: Cycle) -> None:
    """Wait until the last objective has its outcome."""
    deadline = time.monotonic() + CLOSING_SECONDS
    while True:
        now = (await client.ask(client.goals.GetCycle, GetCycleRequest(cycle_id=cycle.cycle_id))).cycle
        if now.state == CycleState.CYCLE_STATE_CLOSED:
            return
        if time.monotonic() > deadline:
            raise TryAgainError(
                f"{cycle.name} is still being closed, and goes on by itself; `okr cycle list` tells when it is done",
                reason="STILL_CLOSING",
            )
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _told(session: Session, cycle_id: str, position: str, line: str) -> None:
    if session.output.as_json:
        session.output.document({"cycle_id": cycle_id, "position": position})
    else:
        session.output.say(line, style="green")


def cycle_document(cycle: Cycle) -> dict[str, Any]:
    return {
        "id": cycle.cycle_id,
        "name": cycle.name,
        "starts_on": cycle.starts_on,
        "ends_on": cycle.ends_on,
        "state": STATES.get(cycle.state, ("", ""))[0],
        "rule_version": cycle.rule_version or None,
        "closed_positions": list(cycle.closed_positions),
    }


def summary_document(summary: GetCycleSummaryResponse) -> dict[str, Any]:
    return {
        "cycle": cycle_document(summary.cycle),
        "key_results": summary.key_results,
        "graded": summary.graded,
        "zones": {
            "below_commit": summary.below_commit,
            "commit": summary.commit,
            "target": summary.target,
            "stretch": summary.stretch,
        },
        "mean": summary.mean or None,
        "explanation": summary.explanation or None,
    }


def summary_lines(summary: GetCycleSummaryResponse) -> list[str]:
    """What the grades of a cycle come to, in words."""
    if not summary.key_results:
        return []
    kept = summary.commit + summary.target + summary.stretch
    counted = f"{words.plural(summary.graded, 'key result')} of {summary.key_results} graded; {kept} kept their promise"
    beyond = summary.target + summary.stretch
    return [f"{counted}, {beyond} of them came to their target.", *([summary.explanation] if summary.mean else [])]
