"""Before a service serves: tables as this release's folds fill them, rebuilt where they are not."""

import asyncio
import logging
from collections.abc import Callable
from itertools import chain, repeat

from okr_chassis.service import Running
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import RebuildError, rebuild
from okr_eventstore.tables import ensure

log = logging.getLogger(__name__)

PAUSES_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0)
"""Between attempts at a rebuild for which another process is awaited."""
REPORTED_EVENTS = 10_000
"""A rebuild of fewer events is over before anybody reads of it."""

Starting = Callable[[str], None]
"""Told, in a line for people, what takes a while."""


async def prepare(running: Running, say: Starting, *, patient: bool) -> None:
    """What the service itself needs, then its tables. Raises StartupError where it cannot serve.

    Who is `patient` waits for what another process must give for a rebuild, however long that is away.
    """
    for each in running.service.prepare:
        await each()
    subscriptions = running.service.subscriptions
    projections = [each.projection for each in subscriptions if each.projection is not None]
    for projection in await ensure(running.host.database, projections):
        say(f"rebuilding {running.service.name}.{projection.name}: its shape or its meaning changed")
        try:
            await _rebuild(running, projection, say, patient)
        except RebuildError as error:
            # Better yesterday's rows than no platform: the consumer waits, and whoever mends the fold can look.
            say(f"{error}; what is read from {projection.name} stays as it was until `okr rebuild` succeeds")
            log.critical("%s could not be rebuilt and stays as it was: %s", projection.name, error)


async def _rebuild(running: Running, projection: Projection, say: Starting, patient: bool) -> None:
    pauses = chain(PAUSES_SECONDS, repeat(PAUSES_SECONDS[-1]))
    while True:
        try:
            async with running.reading(projection.source) as reader:
                await rebuild(projection, running.host.database, reader, _report(projection.name, say))
            return
        except StoreUnavailableError as error:
            if not patient:
                raise
            say(f"{projection.name} cannot be rebuilt yet and waits: {error}")
            log.warning("%s cannot be rebuilt yet and waits: %s", projection.name, error)
            await asyncio.sleep(next(pauses))


def _report(name: str, say: Starting) -> Callable[[int, int], None]:
    """Say how a rebuild goes on, each tenth of it."""
    said = -1

    def report(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 10
        if tenth > said and total >= REPORTED_EVENTS:
            said = tenth
            say(f"rebuilding {name}: {done} of {total} events")

    return report
