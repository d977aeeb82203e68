"""The sweep: time alone lets a key result fall behind, and no event tells of that."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid5

import asyncpg
import msgspec
import structlog

from okr_chassis.clock import Clock
from okr_chassis.service import Reader
from okr_contracts.notifications import WatchedPromise, WatchedValue
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import CommandContext
from okr_notifications import read_model
from okr_notifications.commands import LookAtPace
from okr_notifications.decider import pace_of, watch
from okr_notifications.read_model import BEGINNING, Place

SWEEP_EVERY = timedelta(hours=1)
"""Of the platform's clock, which tests and samples move as they like."""
LOOK_AT_CLOCK_SECONDS = 30.0
"""How often the clock is looked at, for a clock that is moved wakes nobody."""
PAGE_KEY_RESULTS = 500
LOOKS_AT_ONCE = 16
ACTOR = "service:notifications"

_promise = msgspec.json.Decoder(WatchedPromise)
_latest = msgspec.json.Decoder(WatchedValue | None)

log = structlog.get_logger(__name__)


class PaceSweep:
    """Once an hour, and at the start, looks for open key results that have fallen behind since the last look.

    The read model says which may have; the watcher itself decides. A command's id follows from the key
    result and the day, so however many sweeps run, and wherever, one look a day is had.
    """

    def __init__(self, executor: CommandExecutor, reader: Reader, clock: Clock) -> None:
        self._executor = executor
        self._reader = reader
        self._clock = clock
        self._swept_at: datetime | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at the clock now."""
        self._woken.set()

    def is_due(self) -> bool:
        """At the start, an hour after the last sweep, and when the clock was set back behind it."""
        if self._swept_at is None:
            return True
        return not timedelta(0) <= self._clock() - self._swept_at < SWEEP_EVERY

    async def run(self) -> None:
        """Sweep whenever it is due, for as long as the process lives."""
        while True:
            if self.is_due():
                await self._try()
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AT_CLOCK_SECONDS):
                    await self._woken.wait()

    async def _try(self) -> None:
        """What a sweep misses the next one finds, so whatever happens to one is no reason to end them all."""
        try:
            await self.sweep()
        except Exception as error:
            log.warning("the sweep of key results failed and is tried again", exc_info=error)

    async def sweep(self) -> int:
        """Look once at all that may have fallen behind; returns how many watchers were asked to look."""
        now = self._clock().astimezone(UTC)
        after, asked = BEGINNING, 0
        while True:
            page = await read_model.due_a_look(self._reader, now.date(), after, PAGE_KEY_RESULTS)
            behind = [row for row in page if _behind(row, now)]
            await self._look(behind, now)
            asked += len(behind)
            if len(page) < PAGE_KEY_RESULTS:
                self._swept_at = now
                return asked
            after = Place(page[-1]["organization_id"], page[-1]["key_result_id"])

    async def _look(self, rows: Sequence[asyncpg.Record], now: datetime) -> None:
        room = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(row: asyncpg.Record) -> None:
            organization_id, key_result_id = row["organization_id"], row["key_result_id"]
            command = LookAtPace(key_result_id, now.date(), now)
            occasion = f"look:{key_result_id}:{now.date()}"
            command_id = uuid5(organization_id, occasion)
            context = CommandContext(
                organization_id=organization_id,
                command_id=command_id,
                fingerprint=sha256(occasion.encode()).digest(),
                actor=ACTOR,
                correlation_id=command_id,
            )
            async with room:
                await self._executor.execute(watch, watch.stream(key_result_id), command, context)

        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(look(row))


def _behind(row: asyncpg.Record, now: datetime) -> bool:
    """As the watcher would say, if the row is up to date; so that one who is on pace is not asked at all."""
    latest = None if row["latest"] is None else _latest.decode(row["latest"])
    return pace_of(_promise.decode(row["promise"]), latest, now).behind
