"""The consumer runner: one for both buses.

It reads its own checkpoints, tells the source where to begin, drops what it has seen, asks the
log's owner for what the bus skipped, and applies batches so that every event has its effect once
and in order. What is transient is waited out for ever; poison is parked with its stream; a consumer
that chokes on too many streams halts, because that is a bug.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from okr_eventstore.applying import Applier, Counters, HaltedError, Recent, SupersededError, Transient, chunks, may_pass
from okr_eventstore.checkpoints import open_ledger
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.handling import handling
from okr_eventstore.model import Head, RecordedEvent, ShardBatch
from okr_eventstore.projection import Projection, React
from okr_eventstore.recent_rows import RecentRows
from okr_eventstore.source import EventSource
from okr_eventstore.tables import live_generation

FETCH_SECONDS = 5.0
"""How long a fetch waits for events before the runner looks around: for new assignments, for its end."""
FOLD_EVENTS = 1000
"""The most events in one statement of a projection."""
REACT_EVENTS = 200
"""The most events handed to a reaction at once, and so repeated to it after a failure."""
SHARED_EVENTS = 32
"""As many where a reaction takes turns: one group should not last much longer than a turn."""
BACKFILL_EVENTS = 1000
"""The most events asked from the log's owner at once; a longer gap is closed in several steps."""
LOOK_SECONDS = 0.02
"""How often it is looked how far another process has come with a shard, while somebody waits for it."""
FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 5.0
REACT_STREAMS = 16
"""How many streams a reaction handles at the same time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subscription:
    """What is heard, and what it feeds: either rows or reactions.

    A reaction turns events into commands. It may be handed an event again, so its commands carry
    ids derived from the event; each_stream helps to keep it ordered where order matters.
    """

    name: str
    to: str
    """Whose events: "goals"."""
    projection: Projection | None = None
    react: React | None = None
    seconds_a_turn: float | None = None
    """For a reaction that takes long for each event: after so long it looks again who else waits."""

    def __post_init__(self) -> None:
        if (self.projection is None) == (self.react is None):
            raise ValueError(f"{self.name}: a subscription feeds a projection or a reaction, one of the two")
        if "@" in self.name:
            raise ValueError(f"{self.name}: an @ parts a projection from its generation, so no name has one")
        if self.projection is not None and self.projection.source != self.to:
            raise ValueError(f"{self.name}: listens to {self.to}, its projection to {self.projection.source}")


Witness = Callable[["Runner", Sequence[ShardBatch]], AbstractContextManager[None]]
"""Is there while events are applied: for traces and log lines."""


def unseen(runner: "Runner", batches: Sequence[ShardBatch]) -> AbstractContextManager[None]:
    """Nobody looks."""
    return nullcontext()


class Runner:
    """Runs one subscription until closed. `transient` adds to what is waited out, such as a peer that is away."""

    def __init__(
        self,
        subscription: Subscription,
        database: Database,
        source: EventSource,
        *,
        transient: Transient = lambda _: False,
        monotonic: Callable[[], float] = time.monotonic,
        witness: Witness = unseen,
    ) -> None:
        if source.service != subscription.to:
            raise ValueError(f"{subscription.name}: listens to {subscription.to}, its source is {source.service}")
        self.subscription = subscription
        self.source = source
        self.counters = Counters()
        self.halted = False
        self.reason = ""
        """Why it halted, or what it is waiting for; empty while all is well."""
        self.moved_at = monotonic()
        """When the loop came round the last time, by `monotonic`. A loop that waits for PostgreSQL comes round too."""
        self._database = database
        self._transient = transient
        self._monotonic = monotonic
        self._witness = witness
        self._recent = Recent(monotonic)
        self._applier: Applier | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._read_on: asyncpg.Connection[asyncpg.Record] | None = None
        """The connection on which the applier learnt where it stands. On a new one that may be wrong by now."""
        self._assigned: frozenset[int] = frozenset()
        self._waiters: dict[int, list[tuple[int, asyncio.Future[None]]]] = {}
        self._fetching: asyncio.Task[Any] | None = None
        """The task that runs, while it waits for events: closing may interrupt it there and nowhere else."""
        self._interrupted = False
        self._closing = asyncio.Event()
        self._finished = asyncio.Event()
        self._running = False

    # --- for those who ask -----------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.subscription.name

    @property
    def consumer(self) -> str | None:
        """Under which name its checkpoints and parked streams stand; None before the first look."""
        return self._applier.ledger.consumer if self._applier is not None else None

    @property
    def checkpoints(self) -> Mapping[int, int]:
        """Shard → the position up to which everything is applied, for the shards that are this runner's."""
        applier = self._applier
        return {} if applier is None else {shard: at.position for shard, at in applier.checkpoints.items()}

    @property
    def parked_streams(self) -> int:
        """How many streams are set aside now, as far as this runner knows."""
        return 0 if self._applier is None else sum(map(len, self._applier.parked.values()))

    @property
    def duplicates(self) -> int:
        """Events that came again and were dropped: here, or by a source that looks itself."""
        return self.counters.duplicates + int(getattr(self.source, "duplicates", 0))

    @property
    def still_seconds(self) -> float | None:
        """How long ago the loop came round; None for a runner that does not run."""
        return self._monotonic() - self.moved_at if self._running else None

    async def lag(self) -> int:
        """How many events of its shards are not applied yet."""
        return self.lag_behind(await self.source.heads())

    def lag_behind(self, heads: Mapping[int, Head]) -> int:
        """The same with heads at hand, for whoever asks after many consumers of one log."""
        done = self.checkpoints
        mine = heads.keys() & done.keys() if self._applier is not None else heads.keys()
        return sum(max(0, heads[shard].position - done.get(shard, 0)) for shard in mine)

    async def caught_up(self, shard: int, position: int, timeout_seconds: float) -> bool:
        """Wait until `position` of `shard` is applied. False after the timeout, or at once when halted."""
        if self._position(shard) >= position:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            if self._applies(shard) and self._position(shard) < position:  # it may have got there meanwhile
                await self._arrival(shard, position, deadline)
            mine = self._applies(shard)
            reached = (self._position(shard) if mine else await self._stored_position(shard)) >= position
            left = deadline - loop.time()
            if reached or self.halted or left <= 0:
                return reached
            if not mine:
                await asyncio.sleep(min(LOOK_SECONDS, left))

    def _applies(self, shard: int) -> bool:
        """Whether it is this process that applies a shard, as far as it knows."""
        return self._applier is not None and shard in self._applier.checkpoints and self._is_connected()

    async def _arrival(self, shard: int, position: int, deadline: float) -> None:
        """Wait until this process has applied `position`, or nothing more is to be expected of it."""
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (position, arrived)
        waiters = self._waiters.setdefault(shard, [])
        waiters.append(waiter)
        expiry = asyncio.get_running_loop().call_at(deadline, _arrive, arrived)
        try:
            await arrived
        finally:
            expiry.cancel()
            waiters.remove(waiter)
            if not waiters and self._waiters.get(shard) is waiters:
                del self._waiters[shard]

    # --- running ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until closed, cancelled or halted. A halted runner may be run again once its fault is mended."""
        if self._running:
            raise RuntimeError(f"{self.name} is running already")
        self._running, self.halted, self.reason = True, False, ""
        self.moved_at = self._monotonic()
        self._finished.clear()
        try:
            await self._run()
        finally:
            self._release_all()
            with contextlib.suppress(Exception):
                await self._disconnect()
            with contextlib.suppress(Exception):
                await self.source.close()
            self._running = False
            self._finished.set()

    async def close(self) -> None:
        """Finish the batch at hand and end."""
        self._closing.set()
        if self._fetching is not None and not self._interrupted:
            self._interrupted = True
            self._fetching.cancel()
        if self._running:
            await self._finished.wait()

    async def _run(self) -> None:
        wait_seconds, superseded = FIRST_WAIT_SECONDS, 0
        started = False
        while not self._closing.is_set():
            try:
                if not started:
                    await self.source.start()
                    started = True
                await self._begin()
                while not self._closing.is_set():
                    await self._step()
                    wait_seconds, superseded = FIRST_WAIT_SECONDS, 0
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._interrupted and task is not None and task.uncancel() == 0:
                    return  # close() ended the fetch, and nobody else wants the task to end
                raise
            except SupersededError as error:
                self.counters.zombies += 1
                log.info("%s reads its checkpoints again: %s", self.name, error)
                superseded += 1
                if superseded > 1:  # two runners that both think a shard theirs should not spin
                    await self._pause(wait_seconds)
            except HaltedError as error:
                self._halt(str(error))
                return
            except Exception as error:
                if not may_pass(error, self._transient):
                    log.exception("%s met what it cannot lay on any one event", self.name)
                    self._halt(f"{type(error).__name__}: {error}")
                    return
                self.counters.retries += 1
                told = bool(self.reason)  # one outage is one line, however long it lasts
                self.reason = f"waiting: {type(error).__name__}: {error}"
                (log.debug if told else log.warning)(
                    "%s waits %.2f s: %s", self.name, wait_seconds, error or type(error).__name__
                )
                await self._disconnect()
                await self._pause(wait_seconds)
                wait_seconds = min(LONGEST_WAIT_SECONDS, wait_seconds * 2)

    async def _begin(self) -> None:
        """Learn everything from the database, as after a start: generation, checkpoints, parked streams."""
        connection = await self._connect()
        applier = Applier(
            await open_ledger(connection, self.name, self.source.service, self.subscription.projection, RecentRows()),
            projection=self.subscription.projection,
            react=self.subscription.react,
            counters=self.counters,
            transient=self._transient,
            recent=self._recent,
        )
        assigned = await self.source.assignments()
        await applier.read(connection, assigned)
        for shard in sorted(assigned):
            await self.source.seek(shard, applier.checkpoints[shard].position)
        self._applier, self._assigned, self._read_on = applier, assigned, connection
        self.reason = ""
        self._release()

    async def _step(self) -> None:
        self.moved_at = self._monotonic()
        await self._reassign()
        self._fetching = asyncio.current_task()
        try:
            batches = await self.source.fetch(FETCH_SECONDS)
        finally:
            self._fetching = None
        if not batches:
            await self._look_around()
            return
        applier = self._started()
        contiguous = [batch for found in batches if (batch := await self._contiguous(found)).events]
        connection = self._connected()
        turn, began = self.subscription.seconds_a_turn, time.monotonic()
        limit = REACT_EVENTS if self.subscription.react is not None else FOLD_EVENTS
        for group in chunks(contiguous, limit) if turn is None else fair_shares(contiguous, SHARED_EVENTS):
            try:
                with self._witness(self, group):
                    await applier.apply(connection, group)
            finally:
                self.moved_at = self._monotonic()
                self._release()
            if turn is not None and time.monotonic() - began >= turn:
                break  # the bus begins again behind what is done, and hands over what others have appended meanwhile
        if contiguous:
            await self.source.commit({batch.shard: self._position(batch.shard) for batch in contiguous})
        if turn is not None:
            for batch in contiguous:
                if self._position(batch.shard) < batch.events[-1].position:
                    await self.source.seek(batch.shard, self._position(batch.shard))

    async def _look_around(self) -> None:
        """A batch notices when another generation went live. While none comes, somebody has to look."""
        projection = self.subscription.projection
        if projection is not None and not self._closing.is_set():
            live = await live_generation(self._connected(), projection.name)
            if live is None or live.consumer != self.consumer:
                raise SupersededError(f"{self.consumer} is no longer live")

    async def _reassign(self) -> None:
        """Shards may have been handed over since the last fetch; who gets one reads its checkpoint first."""
        assigned = await self.source.assignments()
        if assigned is self._assigned or assigned == self._assigned:
            return
        applier = self._started()
        applier.forget(self._assigned - assigned)
        gained = assigned - self._assigned
        await applier.read(self._connected(), gained)
        for shard in sorted(gained):
            await self.source.seek(shard, applier.checkpoints[shard].position)
        self._assigned = assigned
        self._release()

    async def _contiguous(self, batch: ShardBatch) -> ShardBatch:
        """What follows the checkpoint without a hole: duplicates dropped, gaps filled from the owner's log."""
        applier = self._started()
        if batch.shard not in applier.checkpoints:
            return ShardBatch(batch.shard, batch.epoch, [])  # handed over while it was on its way
        checkpoint = applier.checkpoints[batch.shard]
        if checkpoint.position > 0 and batch.epoch != checkpoint.epoch:
            raise HaltedError(
                f"shard {batch.shard} of {self.source.service} was restored from a backup: its epoch is "
                f"{batch.epoch}, what was read up to position {checkpoint.position} was of epoch {checkpoint.epoch}; "
                "rebuild what was read from it"
            )
        events: list[RecordedEvent] = []
        due = checkpoint.position + 1
        for event in batch.events:
            if event.position < due:
                self.counters.duplicates += 1
                continue
            if event.position > due:
                self.counters.gaps += 1
                filled = await self._backfill(batch.shard, due - 1, min(event.position - 1, due - 1 + BACKFILL_EVENTS))
                events += filled
                due += len(filled)
                if event.position > due:
                    # Too long to hold beside the batch: apply this much and have the bus begin again behind it.
                    await self.source.seek(batch.shard, due - 1)
                    break
            events.append(event)
            due = event.position + 1
        return ShardBatch(batch.shard, batch.epoch, events)

    async def _backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        log.warning(
            "%s fills a gap: %s:%s, positions %s to %s", self.name, self.source.service, shard, after + 1, up_to
        )
        events = await self.source.backfill(shard, after, up_to)
        if [event.position for event in events] != list(range(after + 1, up_to + 1)):
            raise StoreUnavailableError(
                f"{self.source.service}:{shard}: positions {after + 1} to {up_to} were skipped by the bus, "
                f"and the log's owner answered with {len(events)} of them"
            )
        return events

    # --- small things ----------------------------------------------------------------------------

    def _started(self) -> Applier:
        assert self._applier is not None, "a runner steps after it has begun"
        return self._applier

    def _position(self, shard: int) -> int:
        """How far a shard is applied for sure: a crash of the server that took our connection may have undone
        the last batches, so without the connection nothing is known."""
        checkpoint = self._applier.checkpoints.get(shard) if self._applier is not None else None
        return checkpoint.position if checkpoint is not None and self._is_connected() else 0

    def _is_connected(self) -> bool:
        """Whether the connection that the checkpoints were read on is still there."""
        return self._read_on is not None and self._read_on is self._connection and not self._read_on.is_closed()

    async def _stored_position(self, shard: int) -> int:
        """How far a shard is that another process reads, in the generation that is live by now."""
        projection = self.subscription.projection
        stored = await self._database.fetchval(
            """SELECT position FROM checkpoint
                WHERE consumer = coalesce((SELECT name || '@' || generation FROM projection WHERE name = $1), $1)
                  AND source = $2 AND shard = $3""",
            self.name if projection is None else projection.name,
            self.source.service,
            shard,
        )
        return stored or 0

    def _halt(self, reason: str) -> None:
        self.halted = True
        self.reason = reason
        log.critical("%s halted: %s", self.name, reason)

    def _release(self) -> None:
        """Wake those who wait for positions that are applied now."""
        for shard, waiters in self._waiters.items():
            position = self._position(shard)
            for wanted, arrived in waiters:
                if wanted <= position:
                    _arrive(arrived)

    def _release_all(self) -> None:
        """Nobody will be woken any more; let everybody look for themselves."""
        for waiters in self._waiters.values():
            for _, arrived in waiters:
                _arrive(arrived)

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        connection = self._connection = await self._database.connect(answer_seconds=self._database.answer_seconds)
        # The batch statement is long and always planned alike. A crash of the server may undo the last
        # batches as a whole, rows and checkpoint; they are then applied again, so no batch waits for the disk.
        await connection.execute("SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off")
        return connection

    def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The connection on which the checkpoints were read. With a new one they must be read again."""
        if self._connection is None or not self._is_connected():
            raise StoreUnavailableError("the connection to PostgreSQL was lost")
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _pause(self, seconds: float) -> None:
        self.moved_at = self._monotonic()
        # Spread a little, so that all consumers do not come back in the same instant.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.8, 1.2)):
                await self._closing.wait()


def fair_shares(batches: Iterable[ShardBatch], events: int) -> Iterator[list[ShardBatch]]:
    """All of it in groups of `events` or so, in which each shard that is not through has the same share.

    So an organisation with thousands of events does not keep one with two of them waiting.
    """
    left = list(batches)
    while left:
        share = max(1, events // len(left))
        yield [ShardBatch(batch.shard, batch.epoch, batch.events[:share]) for batch in left]
        left = [
            ShardBatch(batch.shard, batch.epoch, batch.events[share:]) for batch in left if len(batch.events) > share
        ]


async def each_stream(
    events: Iterable[RecordedEvent],
    handler: Callable[[RecordedEvent], Awaitable[None]],
    streams_at_once: int = REACT_STREAMS,
) -> None:
    """Handle events in order inside each stream, several streams at a time.

    A stream stops at its first error, the others go on to their end; then the first error is raised.
    """
    by_stream: dict[tuple[UUID, str], list[RecordedEvent]] = {}
    for event in events:
        by_stream.setdefault((event.organization_id, event.stream_id), []).append(event)
    errors: list[Exception] = []

    async def work(streams: Iterator[list[RecordedEvent]]) -> None:
        for stream in streams:
            try:
                for event in stream:
                    with handling(event):
                        await handler(event)
            except Exception as error:
                errors.append(error)

    queue = iter(by_stream.values())
    async with asyncio.TaskGroup() as group:
        for _ in range(min(streams_at_once, len(by_stream))):
            group.create_task(work(queue))
    if errors:
        raise errors[0]


def _arrive(arrived: "asyncio.Future[None]") -> None:
    if not arrived.done():
        arrived.set_result(None)
