"""`verify`, `rebuild`, `parked` and `doctor`: for those who run the platform."""

from typing import Annotated, Any

import typer
from grpc import RpcError

from okr.operations.v1.operations_pb2 import (
    ListParkedRequest,
    RebuildRequest,
    RebuildResponse,
    RetryParkedRequest,
    VerifyRequest,
    VerifyResponse,
)
from okr_chassis.rpc.errors import refusal_of
from okr_cli import words
from okr_cli.client import failure
from okr_cli.command import command
from okr_cli.failures import RefusedError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

HEADS_SHOWN = 24

OnlyService = Annotated[
    str, typer.Option("--service", metavar="NAME", help="Only this service; all when left out.", show_default=False)
]


def declare(app: typer.Typer) -> None:
    command(app, "verify")(verify)
    rebuilding = typer.Typer(no_args_is_help=True, help="Build read models anew from the log.")
    for service in ("insights", "directory", "goals", "checkins", "alignment", "notifications"):
        command(rebuilding, service)(_rebuild(service))
    app.add_typer(rebuilding, name="rebuild")
    parking = typer.Typer(no_args_is_help=True, help="Streams that wait because an event could not be applied.")
    command(parking, "list")(parked)
    command(parking, "retry")(retry)
    app.add_typer(parking, name="parked")


async def verify(session: Session, service: OnlyService = "") -> None:
    """Fold the log afresh and compare with the live read models. A difference ends with exit code 1."""
    verdicts: list[VerifyResponse] = []
    async with session.client(operator=True) as client:
        try:
            with session.output.progress("folding the log") as meter:
                for process in client.processes(service):
                    question = VerifyRequest(service=service)
                    async for step in process.operations.Verify(question, metadata=client.metadata):
                        meter.update(step.events_done, step.events_total, f"folding {step.service} {step.projection}")
                        if step.HasField("verdict"):
                            verdicts.append(step)
        except RpcError as error:
            raise failure(refusal_of(error)) from None
    different = [each for each in verdicts if not each.verdict.equal]
    document = {"equal": not different, "projections": [verdict_document(each) for each in verdicts]}
    if session.output.as_json and not different:
        session.output.document(document)
    elif not session.output.as_json:
        session.output.table(VERDICT_COLUMNS, verdict_rows(verdicts))
        session.output.say()
        events = sum(each.verdict.events for each in verdicts)
        rows = sum(table.live_rows for each in verdicts for table in each.verdict.tables)
        told = (
            f"{words.plural(events, 'event')} folded afresh, {words.plural(rows, 'row')} compared in "
            f"{words.plural(len(verdicts), 'projection')}"
        )
        session.output.say(f"Up to {_heads(verdicts)}.")
        if not different:
            session.output.say(f"Equal: {told}.", style="green")
    if different:
        names = ", ".join(f"{each.service} {each.projection}" for each in different)
        services = " and ".join(f"`okr rebuild {name}`" for name in dict.fromkeys(each.service for each in different))
        raise RefusedError(
            f"the read models differ from the log: {names}; build them anew with {services}",
            reason="READ_MODELS_DIFFER",
            document=document,
        )


VERDICT_COLUMNS = (
    Column("service"),
    Column("projection"),
    Column("table", flexible=True),
    Column("events", align="right", drop=1),
    Column("live rows", align="right"),
    Column("fresh rows", align="right"),
    Column("digest", drop=2),
    Column(""),
)


def verdict_rows(verdicts: list[VerifyResponse]) -> list[Row]:
    rows = []
    for each in verdicts:
        tables = list(each.verdict.tables)
        for index, table in enumerate(tables):
            equal = (table.live_rows, table.live_digest) == (table.fresh_rows, table.fresh_digest)
            rows.append(
                Row(
                    [
                        each.service if not index else "",
                        each.projection if not index else "",
                        table.table,
                        words.number(str(each.verdict.events)) if not index else "",
                        words.number(str(table.live_rows)),
                        words.number(str(table.fresh_rows)),
                        Cell(table.live_digest[:12], "dim"),
                        Cell("equal", "green") if equal else Cell("DIFFERENT", "bold red"),
                    ]
                )
            )
    return rows


def _heads(verdicts: list[VerifyResponse]) -> str:
    """Up to where both sides were folded, each log's shards once; --json has them by projection."""
    heads = sorted({head for each in verdicts for head in each.verdict.heads})
    more = f" and {len(heads) - HEADS_SHOWN} more" if len(heads) > HEADS_SHOWN else ""
    return ", ".join(heads[:HEADS_SHOWN]) + more if heads else "the beginning: the log is empty"


def verdict_document(each: VerifyResponse) -> dict[str, Any]:
    return {
        "service": each.service,
        "projection": each.projection,
        "equal": each.verdict.equal,
        "events": each.verdict.events,
        "heads": list(each.verdict.heads),
        "tables": [
            {
                "table": table.table,
                "live_rows": table.live_rows,
                "fresh_rows": table.fresh_rows,
                "live_digest": table.live_digest,
                "fresh_digest": table.fresh_digest,
            }
            for table in each.verdict.tables
        ],
    }


def _rebuild(service: str) -> Any:
    async def rebuild(session: Session) -> None:
        switched: list[RebuildResponse] = []
        async with session.client(operator=True) as client:
            try:
                with session.output.progress(f"rebuilding {service}") as meter:
                    request = RebuildRequest(service=service)
                    (process,) = client.processes(service)
                    async for step in process.operations.Rebuild(request, metadata=client.metadata):
                        meter.update(step.events_done, step.events_total, f"rebuilding {step.projection}")
                        if step.switched:
                            switched.append(step)
            except RpcError as error:
                raise failure(refusal_of(error)) from None
        if session.output.as_json:
            projections = [
                {
                    "projection": step.projection,
                    "events": step.events_total,
                    "rows": step.rows,
                    "switched": step.switched,
                    "equal": step.equal if step.HasField("equal") else None,
                }
                for step in switched
            ]
            session.output.document({"service": service, "projections": projections})
            return
        for step in switched:
            if not step.HasField("equal"):
                equal = "of another shape than the old rows"
            else:
                equal = "equal to the old rows" if step.equal else "different from the old rows, which were wrong"
            session.output.say(
                f"{step.projection}: {words.plural(step.events_total, 'event')} folded into "
                f"{words.plural(step.rows, 'row')}, {equal}; readers see the new ones.",
                style="green" if step.equal else "yellow",
            )
        if not switched:
            session.output.say(f"{service} has no read models to rebuild.")

    rebuild.__doc__ = f"Build the read models of {service} anew beside the live ones, compare, and switch."
    return rebuild


PARKED_COLUMNS = (
    Column("service"),
    Column("consumer"),
    Column("source", drop=2),
    Column("stream"),
    Column("from", align="right"),
    Column("events", align="right"),
    Column("tries", align="right", drop=1),
    Column("error", flexible=True),
)


async def parked(session: Session, service: OnlyService = "") -> None:
    """List the streams that wait because an event of theirs could not be applied."""
    async with session.client(operator=True) as client:
        found = [
            stream
            for process in client.processes(service)
            for stream in (await client.ask(process.operations.ListParked, ListParkedRequest(service=service))).streams
        ]
    if session.output.as_json:
        streams = [
            {
                "service": each.service,
                "consumer": each.consumer,
                "source": each.source,
                "organization_id": each.organization_id,
                "stream_id": each.stream_id,
                "first_position": each.first_position,
                "events": each.events,
                "attempts": each.attempts,
                "error": each.error,
            }
            for each in found
        ]
        session.output.document({"streams": streams})
    elif not found:
        session.output.say("Nothing is parked.", style="green")
    else:
        rows = [
            Row(
                [
                    each.service,
                    each.consumer,
                    each.source,
                    each.stream_id,
                    str(each.first_position),
                    str(each.events),
                    str(each.attempts),
                    Cell(each.error, "yellow"),
                ]
            )
            for each in found
        ]
        session.output.table(PARKED_COLUMNS, rows)
        session.output.say()
        session.output.say("Once the cause is gone: okr parked retry")


async def retry(session: Session, service: OnlyService = "") -> None:
    """Try the parked streams again."""
    async with session.client(operator=True) as client:
        answers = [
            await client.ask(process.operations.RetryParked, RetryParkedRequest(service=service))
            for process in client.processes(service)
        ]
    healed = sum(answer.healed_streams for answer in answers)
    still = sum(answer.still_parked_streams for answer in answers)
    document = {"healed_streams": healed, "still_parked_streams": still}
    told = f"{words.plural(healed, 'stream')} healed, {still} still parked"
    if still:
        if not session.output.as_json:
            session.output.say(f"{told}.")
        raise RefusedError(
            f"{words.plural(still, 'stream')} could still not be applied; `okr parked list` says why",
            reason="STILL_PARKED",
            document=document,
        )
    if session.output.as_json:
        session.output.document(document)
    else:
        session.output.say(f"{told}.", style="green")
