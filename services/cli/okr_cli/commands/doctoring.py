"""`doctor`: what works, what does not, and the way out."""

import sys
from collections.abc import Iterable
from datetime import datetime
from importlib import metadata
from typing import Literal, NamedTuple

import typer

from okr.insights.v1.insights_pb2 import GetBoardRequest
from okr.operations.v1.operations_pb2 import GetStatusResponse
from okr_cli import statuses, words
from okr_cli.client import SERVICES, Client, Process
from okr_cli.command import command
from okr_cli.failures import CommandError, SetupError
from okr_cli.session import DEVELOPMENT_KEY, Session
from okr_cli.tables import Cell, Column, Row

OLDEST_PYTHON = (3, 11)
LIBRARIES = ("asyncpg", "grpcio", "msgspec", "openpyxl", "protobuf", "pydantic", "pyjwt", "rich", "typer", "uvloop")
SKEW_SECONDS = 30.0
LAG_EVENTS = 1_000

Level = Literal["ok", "warn", "bad"]
STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "bad": "bold red"}


class Finding(NamedTuple):
    level: Level
    subject: str
    found: str
    way_out: str = ""


def declare(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)


async def doctor(session: Session) -> None:
    """Check Python, libraries, data directory, PostgreSQL, gRPC, clocks and consumers. Anything bad ends with 2."""
    findings = [*here(), data_directory(session)]
    try:
        async with session.client(operator=True) as client:
            findings += await platform(session, client)
    except CommandError as error:
        findings.append(Finding("bad", "gRPC", f"{session.address}: {error.message}", _way_out(error)))
    if session.output.as_json:
        session.output.document(
            {
                "healthy": not any(each.level == "bad" for each in findings),
                "findings": [
                    {"level": each.level, "subject": each.subject, "found": each.found, "way_out": each.way_out or None}
                    for each in findings
                ],
            }
        )
    else:
        columns = (Column(""), Column("checked"), Column("found", flexible=True), Column("way out", flexible=True))
        session.output.table(columns, [Row([Cell(each.level, STYLES[each.level]), *each[1:]]) for each in findings])
    bad = sum(1 for each in findings if each.level == "bad")
    if bad:
        raise SetupError(f"{words.plural(bad, 'thing')} must be put right", reason="UNHEALTHY")


def _way_out(error: CommandError) -> str:
    return "okr up" if error.reason in ("NOT_REACHABLE", "NO_TOKEN") else ""


def here() -> Iterable[Finding]:
    """This machine, without the platform."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("ok", "Python", version)
    else:
        yield Finding("bad", "Python", version, "install Python 3.11 or later")
    missing = []
    for library in LIBRARIES:
        try:
            metadata.version(library)
        except metadata.PackageNotFoundError:
            missing.append(library)
    if missing:
        yield Finding("bad", "libraries", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("ok", "libraries", f"{len(LIBRARIES)} found, gRPC {metadata.version('grpcio')}")


def data_directory(session: Session) -> Finding:
    path = session.settings.data_dir
    if (path / DEVELOPMENT_KEY).exists():
        return Finding("ok", "data directory", str(path.resolve()))
    if session.token:
        return Finding("ok", "data directory", "not needed: OKR_TOKEN is set")
    return Finding(
        "warn", "data directory", f"{path.resolve()} holds no platform", "okr up, or set OKR_DATA_DIR to where it runs"
    )


async def platform(session: Session, client: Client) -> list[Finding]:
    """What the platform says of itself."""
    before = session.now()
    board = await client.ask(client.insights.GetBoard, GetBoardRequest())
    after = session.now()
    told = await statuses.ask_all(client)
    everything = statuses.merged([status for _, status in told])
    return [
        *(finding for process, status in told for finding in _process(process, status)),
        clock(board.as_of, before, after),
        *consumers(everything),
        events(everything),
    ]


def _process(process: Process, status: GetStatusResponse) -> Iterable[Finding]:
    """One process, and the database it has; by the name of its service where there are several."""
    whose = "" if len(process.services) == len(SERVICES) else f" {' '.join(process.services)}"
    yield Finding("ok", f"gRPC{whose}", f"{process.address} answers, release {status.version}, {status.environment}")
    if status.postgres_version:
        yield Finding("ok", f"PostgreSQL{whose}", status.postgres_version)
    else:
        way_out = "see its log in the data directory, or DATABASE_URL"
        yield Finding("bad", f"PostgreSQL{whose}", "not reached", way_out)


def clock(theirs: str, before: datetime, after: datetime) -> Finding:
    """How far the platform's clock is from ours, the time a call takes set aside."""
    then = words.moment(theirs)
    if then is None:
        return Finding("warn", "clock", "the platform does not tell its time")
    early, late = (before - then).total_seconds(), (then - after).total_seconds()
    skew = max(early, late, 0.0)
    if skew > SKEW_SECONDS:
        return Finding(
            "bad", "clock", f"{skew:.0f} s apart", "set both clocks by NTP; tokens and check-ins depend on them"
        )
    return Finding("ok", "clock", f"within {max(skew, (after - before).total_seconds()):.1f} s of the platform's")


def consumers(status: GetStatusResponse) -> Iterable[Finding]:
    halted = [f"{each.service} {each.consumer}" for each in status.consumers if each.halted]
    parked = [f"{each.service} {each.consumer}" for each in status.consumers if each.parked_streams]
    behind = [
        f"{each.service} {each.consumer} ({words.number(str(each.lag_events))} events)"
        for each in status.consumers
        if each.lag_events > LAG_EVENTS
    ]
    lag = sum(each.lag_events for each in status.consumers)
    if behind:
        yield Finding("warn", "consumers", f"behind: {', '.join(behind)}", "wait a moment and ask again")
    else:
        at_work = words.plural(len(status.consumers), "consumer")
        yield Finding("ok", "consumers", f"{at_work}, {words.plural(lag, 'event')} behind in all")
    if halted:
        yield Finding("bad", "halted", ", ".join(halted), "see the platform's log: many streams failed at once, a bug")
    else:
        yield Finding("ok", "halted", "none")
    if parked:
        count = sum(each.parked_streams for each in status.consumers)
        found = f"{words.plural(count, 'stream')} of {', '.join(parked)}"
        yield Finding("bad", "parked", found, "okr parked list, then okr parked retry")
    else:
        yield Finding("ok", "parked", "none")


def events(status: GetStatusResponse) -> Finding:
    counts = ", ".join(f"{each.service} {words.number(str(each.events))}" for each in status.logs)
    return Finding("ok", "events", counts or "none yet")
