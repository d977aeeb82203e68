"""`events tail`: the log itself, every fact of the organisation as it was written."""

import asyncio
import json
from typing import Annotated, Any

import typer
from grpc import RpcError, StatusCode

from okr.eventlog.v1.eventlog_pb2 import Event, TailEventsRequest
from okr_chassis.rpc.errors import refusal_of
from okr_cli import words
from okr_cli.client import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, TOTAL_SECONDS, Client, failure
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.output import Output
from okr_cli.session import Session
from okr_cli.tables import clean
from okr_eventstore.model import Position

SERVICES = ("directory", "goals", "checkins", "alignment", "notifications")
LONGEST_DATA = 120
"""Characters of an event's data on one line for people; --json has all of it."""


def declare(app: typer.Typer) -> None:
    events = typer.Typer(no_args_is_help=True, help="Read the event log.")
    command(events, "tail")(tail)
    app.add_typer(events, name="events")


async def tail(
    session: Session,
    position: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="POSITION",
            help="Only what comes after: a number, checkins:7:42 as printed here, or a token such as checkins:7:1:42.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and print what is yet to come.")] = False,
    service: Annotated[
        str | None,
        typer.Option("--service", metavar="NAME", help=f"Only one of {', '.join(SERVICES)}.", show_default=False),
    ] = None,
) -> None:
    """Print the events of your organisation. With --json one JSON object a line.

    Without --follow, the services' logs are merged by the time of recording; each log keeps its own order.
    """
    after = _after(position)
    service = service or (after.service if after and after.service else None)
    if service is not None and service not in SERVICES:
        raise SetupError(f"{service!r} keeps no log; expected one of {', '.join(SERVICES)}", reason="UNKNOWN_SERVICE")
    if after and after.service and after.service != service:
        raise SetupError(f"position {position} belongs to {after.service}, not to {service}", reason="BAD_POSITION")
    if after and not after.service and service is None:
        raise SetupError("a number alone does not say whose position it is; add --service", reason="BAD_POSITION")
    wanted = [service] if service else list(SERVICES)
    start = after.position if after else 0
    async with session.client() as client:
        if follow:
            tails = [asyncio.create_task(_follow(client, session.output, name, start)) for name in wanted]
            try:
                await asyncio.gather(*tails)
            finally:
                for each in tails:
                    each.cancel()
        else:
            found = await asyncio.gather(*(_all(client, name, start) for name in wanted))
            merged = [event for events in found for event in events]
            if len(wanted) > 1:
                merged.sort(key=lambda event: words.moment(event.recorded_at) or session.now())
            for event in merged:
                _print(session.output, event)


def _after(said: str | None) -> Position | None:
    if said is None:
        return None
    if said.isascii() and said.isdigit() and int(said) < 2**63:
        return Position("", 0, 0, int(said))
    parts = said.split(":")
    if len(parts) == 3:
        parts.insert(2, "0")  # as printed for people, who need no epoch
    try:
        return Position.parse(":".join(parts))
    except ValueError as error:
        raise SetupError(str(error), reason="BAD_POSITION") from None


async def _all(client: Client, service: str, after: int) -> list[Event]:
    request = TailEventsRequest(service=service, after_position=after)
    try:
        stream = client.event_log(service).TailEvents(request, metadata=client.metadata, timeout=TOTAL_SECONDS)
        return [response.event async for response in stream]
    except RpcError as error:
        raise failure(refusal_of(error)) from None


async def _follow(client: Client, output: Output, service: str, after: int) -> None:
    """Print for ever. A platform that restarts is waited for, and nothing is printed twice."""
    pause = FIRST_PAUSE_SECONDS
    silent_since: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        try:
            request = TailEventsRequest(service=service, after_position=after, follow=True)
            async for response in client.event_log(service).TailEvents(request, metadata=client.metadata):
                _print(output, response.event)
                after, pause, silent_since = response.event.position, FIRST_PAUSE_SECONDS, None
        except RpcError as error:
            refusal = refusal_of(error)
            silent_since = silent_since or loop.time()
            lost = refusal.code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED)
            if not lost or loop.time() - silent_since > TOTAL_SECONDS:
                raise failure(refusal) from None
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _print(output: Output, event: Event) -> None:
    if output.as_json:
        output.json_line(event_document(event))
        return
    data = event.data.decode("utf-8", "replace")
    shown = data if len(data) <= LONGEST_DATA else data[: LONGEST_DATA - 1] + "…"
    output.say(
        f"{words.minute(event.recorded_at)}  {event.service}:{event.shard}:{event.position:<6} "
        f"{event.type:<22} {clean(event.stream_id)} v{event.version}  {shown}"
    )


def event_document(event: Event) -> dict[str, Any]:
    return {
        "service": event.service,
        "shard": event.shard,
        "position": event.position,
        "event_id": event.event_id,
        "type": event.type,
        "schema_version": event.schema_version,
        "stream_id": event.stream_id,
        "version": event.version,
        "recorded_at": event.recorded_at,
        "occurred_at": event.occurred_at,
        "actor": event.actor,
        "command_id": event.command_id,
        "correlation_id": event.correlation_id or None,
        "causation_id": event.causation_id or None,
        "data": json.loads(event.data or b"null"),
    }
