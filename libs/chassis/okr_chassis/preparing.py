"""Before a service serves: tables as this release's folds fill them, rebuilt where they are not."""

import logging
from collections.abc import Callable

from okr_chassis.service import Running
from okr_eventstore.rebuild import RebuildError, rebuild
from okr_eventstore.tables import ensure

log = logging.getLogger(__name__)

REPORTED_EVENTS = 10_000
"""A rebuild of fewer events is over before anybody reads of it."""

Starting = Callable[[str], None]
"""Told, in a line for people, what takes a while."""


async def prepare(running: Running, say: Starting) -> None:
    """What the service itself needs, then its tables. Raises StartupError where it cannot serve."""
    for each in running.service.prepare:
        await each()
    subscriptions = running.service.subscriptions
    projections = [each.projection for each in subscriptions if each.projection is not None]
    for projection in await ensure(running.host.database, projections):
        say(f"rebuilding {running.service.name}.{projection.name}: its shape or its meaning changed")
        try:
            async with running.reading(projection.source) as reader:
                await rebuild(projection, running.host.database, reader, _report(projection.name, say))
        except RebuildError as error:
            # Better yesterday's rows than no platform: the consumer waits, and whoever mends the fold can look.
            say(f"{error}; what is read from {projection.name} stays as it was until `okr rebuild` succeeds")
            log.critical("%s could not be rebuilt and stays as it was: %s", projection.name, error)


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
