"""What the calendar does to cycles: they begin on their first day and are graded after their last."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid5

import asyncpg
import structlog

from okr_chassis.clock import Clock
from okr_contracts.errors import OkrError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import CommandContext
from okr_goals import read_model
from okr_goals.decider.cycle import ActivateCycle, OpenGrading, cycles, pinned
from okr_goals.lifecycle.calendar import latest_day, today
from okr_goals.read_model import BEGINNING, Place, Reads

SWEEP_EVERY = timedelta(minutes=15)
"""Of the platform's clock, which tests and samples move as they like. All zones have their midnights at such times."""
LOOK_AT_CLOCK_SECONDS = 30.0
"""How often the clock is looked at, for a clock that is moved wakes nobody."""
PAGE_CYCLES = 500
ACTOR = "service:goals"

log = structlog.get_logger(__name__)


class CycleClock:
    """Every quarter of an hour, and at the start, moves on the cycles whose day has come.

    The read model says which; the cycle itself decides. What has begun never goes back, so a clock that was
    set back does nothing, and a command's id follows from the cycle and its day: however many copies sweep,
    and however often, a cycle begins once and is opened for grading once.
    """

    def __init__(self, executor: CommandExecutor, reads: Reads, clock: Clock) -> None:
        self._executor = executor
        self._reads = reads
        self._clock = clock
        self._swept_at: datetime | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at the calendar now: a cycle may have been published on its first day."""
        self._swept_at = None
        self._woken.set()

    def is_due(self) -> bool:
        """At the start, a quarter of an hour after the last sweep, and when the clock was set back behind it."""
        if self._swept_at is None:
            return True
        return not timedelta(0) <= self._clock() - self._swept_at < SWEEP_EVERY

    async def run(self) -> None:
        """Sweep whenever it is due, for as long as the process lives."""
        while True:
            if self.is_due():
                await self._try(self.sweep)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AT_CLOCK_SECONDS):
                    await self._woken.wait()
            self._woken.clear()

    async def sweep(self) -> int:
        """Look once at all cycles that wait for a day; returns how many of them it came for."""
        now = self._clock().astimezone(UTC)
        self._swept_at = now
        after, moved = BEGINNING, 0
        while True:
            page = await read_model.cycles_in_time(self._reads, latest_day(now), after, PAGE_CYCLES)
            for row in page:
                moved += await self._move_on(row, now)
            if len(page) < PAGE_CYCLES:
                return moved
            after = Place(page[-1]["organization_id"], page[-1]["cycle_id"])

    async def _move_on(self, row: asyncpg.Record, now: datetime) -> bool:
        day, cycle_id = today(now, row["time_zone"]), row["cycle_id"]
        command: ActivateCycle | OpenGrading
        if row["state"] == "published" and row["starts_on"] <= day:
            command, occasion = ActivateCycle(cycle_id=cycle_id, rules=pinned()), f"begins:{row['starts_on']}"
        elif row["state"] == "active" and row["ends_on"] < day:
            command, occasion = OpenGrading(cycle_id=cycle_id), f"is over:{row['ends_on']}"
        else:
            return False
        named = f"cycle:{cycle_id}:{occasion}"
        command_id = uuid5(row["organization_id"], named)
        context = CommandContext(
            organization_id=row["organization_id"],
            command_id=command_id,
            fingerprint=sha256(named.encode()).digest(),
            actor=ACTOR,
            correlation_id=command_id,
        )
        try:
            await self._executor.execute(cycles, cycles.stream(cycle_id), command, context)
        except OkrError as error:
            # Somebody cancelled or closed it a moment ago, and the read model has not heard of it yet.
            log.info("a cycle was not moved on by its day", cycle_id=str(cycle_id), reason=error.reason)
        return True

    async def _try(self, sweep: Callable[[], Awaitable[int]]) -> None:
        """What a sweep misses the next one finds, so whatever happens to one is no reason to end them all."""
        try:
            await sweep()
        except Exception as error:
            self._swept_at = None
            log.warning("the look at the days of cycles failed and is tried again", exc_info=error)
