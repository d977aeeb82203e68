"""`simulate`: organisations with a past, for looking around, for tests and for measuring."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from okr_cli import words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session
from okr_cli.simulation.players import DirectPlayer, Player, Size, StreamPlayer, Task, events_by_service, survey
from okr_cli.tables import Column, Row

MOST_ORGANIZATIONS = 10_000
MOST_PEOPLE = 5_000
MOST_WEEKS = 520
OPERATOR = UUID(int=0)
NAMES_SHOWN = 5


def declare(app: typer.Typer) -> None:
    command(app, "simulate", serves=True)(simulate)


async def simulate(
    session: Session,
    organizations: Annotated[
        int, typer.Option("--organizations", "-n", metavar="N", help="How many.", min=1, max=MOST_ORGANIZATIONS)
    ] = 1,
    people: Annotated[int, typer.Option("--people", metavar="N", help="In each of them.", min=1, max=MOST_PEOPLE)] = 40,
    weeks: Annotated[
        int, typer.Option("--weeks", metavar="N", help="How long their past is.", min=1, max=MOST_WEEKS)
    ] = 26,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Which of all possible pasts.", min=0)] = 1,
    direct: Annotated[
        bool,
        typer.Option("--direct", help="While no platform runs: record everything at its own moment, as if long ago."),
    ] = False,
) -> None:
    """Make organisations with a past: cycles, check-ins, corrections, hand-overs, reorganisations.

    The same seed makes the same organisations; what is there already is not made again, and what was
    interrupted goes on. Through a running platform all of it is recorded now, with check-ins dated back.
    """
    size = Size(organizations, people, weeks, seed)
    if session.settings.production:
        raise SetupError("made-up organisations have no place in production: OKR_ENV says it is", reason="PRODUCTION")
    stage = _direct(session) if direct else _running(session)
    async with stage as (client, player, operator):
        before = await events_by_service(client, operator)
        tasks = await survey(client, session.issuer(), size, datetime.now(UTC).date())
        started = time.monotonic()
        with session.output.progress("simulating") as meter:
            await player.play(tasks, meter)
        seconds = time.monotonic() - started
        made = await events_by_service(client, operator) - before
    _report(session, size, tasks, made, seconds)


@asynccontextmanager
async def _running(session: Session) -> AsyncIterator[tuple[Client, Player, str]]:
    """The platform that runs."""
    if session.settings.peers:
        raise SetupError(
            "histories are played into a platform whose services are in one process; use --direct on its database "
            "while its processes rest, or unset OKR_PEERS",
            reason="SERVICES_APART",
        )
    issuer = session.issuer()
    async with session.connected("") as client:
        yield client, StreamPlayer(session.address, issuer), issuer.issue(OPERATOR, OPERATOR, operator=True)


@asynccontextmanager
async def _direct(session: Session) -> AsyncIterator[tuple[Client, Player, str]]:
    """A platform of our own that nobody else can reach."""
    from okr_cli.simulation.stage import privately  # the services are loaded only where they run

    async with privately(session.settings, session.output) as (platform, clock):
        assert platform.issuer is not None, "refused in production above"
        async with Client(platform.address, "") as client:
            yield client, DirectPlayer(platform, clock), platform.issuer.issue(OPERATOR, OPERATOR, operator=True)


COLUMNS = (Column("service"), Column("events", align="right"))


def _report(session: Session, size: Size, tasks: Sequence[Task], made: Counter[str], seconds: float) -> None:
    output, events = session.output, made.total()
    told = [task for task in tasks if task.left]
    rate = round(events / seconds) if seconds else 0
    if output.as_json:
        output.document(
            {
                "seed": size.seed,
                "organizations": [
                    {
                        "organization_id": str(task.story.organization_id),
                        "name": task.story.name,
                        "starts_on": task.story.starts_on.isoformat(),
                        "commands": len(task.left),
                    }
                    for task in tasks
                ],
                "commands": sum(len(task.left) for task in tasks),
                "events": dict(made),
                "seconds": round(seconds, 3),
                "events_per_second": rate,
            }
        )
        return
    if not told:
        output.say(f"{words.plural(len(tasks), 'organisation')} of this seed are there already; nothing to do.")
    else:
        output.table(COLUMNS, [Row([service, words.number(str(count))]) for service, count in sorted(made.items())])
        output.say()
        commands = sum(len(task.left) for task in told)
        output.say(
            f"{words.plural(len(told), 'organisation')}, {words.plural(commands, 'command')}, "
            f"{words.plural(events, 'event')} in {seconds:.1f} s: {rate} events/s.",
            style="green",
        )
    names = ", ".join(repr(task.story.name) for task in tasks[:NAMES_SHOWN])
    more = f" and {len(tasks) - NAMES_SHOWN} more" if len(tasks) > NAMES_SHOWN else ""
    output.say(f"Look at one with --organization: {names}{more}")
