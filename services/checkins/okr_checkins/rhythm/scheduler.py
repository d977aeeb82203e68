"""The clock of check-ins: it turns due days that have come, gone by and been missed into events, each once."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from uuid import uuid5

import asyncpg
import structlog

from okr_chassis.clock import Clock
from okr_chassis.service import Reader
from okr_checkins.rhythm import queries
from okr_checkins.rhythm.agenda import Asked, open_questions, settled_by, time_told
from okr_checkins.rhythm.duty import TellTime, duties, stage_of
from okr_checkins.rhythm.queries import BEGINNING, Place, place_of
from okr_eventstore.errors import ConflictError
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, NewEvent

SWEEP_EVERY = timedelta(minutes=10)
"""Of the platform's clock, which tests and samples move as they like."""
LOOK_AT_CLOCK_SECONDS = 30.0
"""How often the clock is looked at, for a clock that is moved wakes nobody."""
PAGE_KEY_RESULTS = 500
HEARING_SECONDS = 20.0
"""How long a sweep waits until all is known that was said before it."""
ACTOR = "service:checkins"

log = structlog.get_logger(__name__)


class DutySweep:
    """Every ten minutes, and at the start, tells of all that time has brought about since it was last told.

    Each key result's duties are a stream; its state lies in the read model with the version it is of. A sweep
    decides on that and appends at that version, without reading a stream: where another copy was faster or
    the row is not up to date, the append loses and nothing is told twice, and the next sweep looks again. So
    a page of key results costs three questions and a few appends that go together, whatever is due in it.
    """

    def __init__(self, event_log: EventLog, reader: Reader, clock: Clock) -> None:
        self._log = event_log
        self._reader = reader
        self._clock = clock
        self._swept_at: datetime | None = None
        self._settled: dict[Place, date] = {}
        """Up to which day nothing is left to be told, so that it is not looked into again. Only a memory: without it
        a sweep asks more and tells the same."""
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at the clock now."""
        self._woken.set()

    def is_due(self) -> bool:
        """At the start, ten minutes after the last sweep, and when the clock was set back behind it."""
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
            log.warning("the sweep of check-ins failed and is tried again", exc_info=error)

    async def sweep(self) -> int:
        """Tell once of all that has come about by now; returns how many events that took.

        Nothing is told before all is heard that was said until now: who did check in, must not be called late
        because a read model is.
        """
        now = self._clock().astimezone(UTC)
        if not await self._reader.has_heard_all(HEARING_SECONDS):
            log.info("the sweep of check-ins waits until all check-ins are known")
            return 0
        after, told = BEGINNING, 0
        settled: dict[Place, date] = {}
        while True:
            page = await queries.asked_everywhere(self._reader, after, PAGE_KEY_RESULTS)
            told += await self._tell(page, now, settled)
            if len(page) < PAGE_KEY_RESULTS:
                self._swept_at, self._settled = now, settled
                return told
            after = Place(page[-1]["organization_id"], page[-1]["key_result_id"])

    async def _tell(self, page: Sequence[asyncpg.Record], now: datetime, settled: dict[Place, date]) -> int:
        everybody = [queries.asked(row) for row in page]
        settled |= {place: on for each in everybody if (on := self._settled.get(place := place_of(each)))}
        questions = [
            (each, found)
            for each in everybody
            if (found := open_questions(each, now, settled.get(place_of(each), date.min)))
        ]
        if not questions:
            return 0
        answers = await queries.answers(self._reader, questions, now)
        appends = []
        for each, found in questions:
            place = place_of(each)
            command = time_told(each, found, answers[place], now)
            if command is not None:
                appends.append(self._append(each, command))
            settled[place] = settled_by(each, answers[place], settled.get(place, date.min))
        return sum(await asyncio.gather(*appends))

    async def _append(self, asked: Asked, command: TellTime) -> int:
        events = duties.decide(asked.told, command)
        if not events:
            return 0
        occasion = ",".join(f"{event.due_on}:{stage_of(event)}" for event in events)
        name = f"duty:{asked.key_result_id}:{occasion}"
        command_id = uuid5(asked.organization_id, name)
        context = CommandContext(
            organization_id=asked.organization_id,
            command_id=command_id,
            fingerprint=sha256(name.encode()).digest(),
            actor=ACTOR,
            correlation_id=command_id,
        )
        facts = [NewEvent(event, event.occurred_at) for event in events]
        try:
            done = await self._log.append(duties.stream(asked.key_result_id), asked.version, facts, context)
        except ConflictError:
            return 0  # another copy was faster, or our row is not up to date: the next sweep sees which
        return 0 if done.duplicate else len(events)
