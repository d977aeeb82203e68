"""Applies events to what a consumer keeps: folds or reacts, moves the checkpoint, parks poison.

Used by the runner for what comes over a bus, and by a rebuild for what it reads from the log.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from okr_eventstore.checkpoints import Checkpoint, Ledger, Move, Parking, Stream
from okr_eventstore.codec import UnknownEvent, UnreadableEvent
from okr_eventstore.database import Connection, is_transient
from okr_eventstore.errors import ConflictError, StoreError
from okr_eventstore.folding import FoldedRows, Key, fold_batch, unreadable
from okr_eventstore.handling import handling
from okr_eventstore.model import RecordedEvent, ShardBatch
from okr_eventstore.projection import Projection, React, Row

TRIES = 3
"""How often a single event may fail before its stream is parked."""
TRY_AGAIN_SECONDS = 0.05
"""The pause before the second try; it doubles."""
HALT_SHARE = 0.01
"""More than this share of the streams seen lately parked is a bug, not poison."""
HALT_FLOOR = 5
"""As many streams may always be parked: a share of few streams says nothing."""
WINDOW_SECONDS = 60.0
WINDOW_STREAMS = 200_000
"""Streams remembered a window. Beyond it the share is taken of these, so a halt comes early rather than late."""

Transient = Callable[[BaseException], bool]
log = logging.getLogger(__name__)


def may_pass(error: BaseException, transient: Transient) -> bool:
    """Whether waiting may help, so that the same events may be applied later."""
    if isinstance(error, BaseExceptionGroup):
        return all(may_pass(each, transient) for each in error.exceptions)
    # Data that PostgreSQL refuses never gets better, whatever family asyncpg counts it in.
    if isinstance(error, (asyncpg.DataError, ValueError, TypeError)):
        return False
    # Tables go when a rebuild switches: the runner will read which generation is live. And a reaction
    # that lost its race three times lost it to traffic, not to poison.
    return isinstance(error, (asyncpg.UndefinedTableError, ConflictError)) or is_transient(error) or transient(error)


class SupersededError(StoreError):
    """What this consumer believed about its checkpoints, parked streams or generation is no longer so."""


class HaltedError(StoreError):
    """The consumer has stopped, because going on would do harm; somebody must look."""


@dataclass
class Counters:
    """What a consumer has met since it started."""

    events: int = 0
    batches: int = 0
    gaps: int = 0
    duplicates: int = 0
    skipped_unknown: int = 0
    parked_events: int = 0
    parked_streams: int = 0
    zombies: int = 0
    """How often another runner, a switch or a healed stream was ahead of a batch."""
    retries: int = 0
    """How often something transient was waited out."""


class Window:
    """The streams of the last minute or two: two sets, of which the older is dropped each minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._current: set[int] = set()
        self._previous: set[int] = set()

    def add(self, streams: Iterable[Stream]) -> None:
        self._turn()
        if len(self._current) < WINDOW_STREAMS:
            self._current.update(map(hash, streams))

    def __len__(self) -> int:
        self._turn()
        return len(self._current | self._previous)

    def _turn(self) -> None:
        now = self._monotonic()
        if now - self._since < WINDOW_SECONDS:
            return
        lately = now - self._since < 2 * WINDOW_SECONDS
        self._previous, self._current, self._since = self._current if lately else set(), set(), now


class Recent:
    """Which streams a consumer saw and which it parked lately. It outlives the appliers of a runner."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seen = Window(monotonic)
        self._parked = Window(monotonic)

    def saw(self, streams: Iterable[Stream]) -> None:
        self._seen.add(streams)

    def parked(self, stream: Stream, error: Exception) -> None:
        """Raises HaltedError when that was one stream too many."""
        self._parked.add([stream])
        parked, seen = len(self._parked), len(self._seen)
        if parked > max(HALT_FLOOR, HALT_SHARE * seen):
            raise HaltedError(
                f"{parked} of the {seen} streams seen in the last minutes were parked, the last one {stream[1]} "
                f"for {type(error).__name__}: {error}; that is a fault of the consumer: "
                "mend it, then retry the parked streams"
            )


class Applier:
    """Applies contiguous batches of one consumer. Knows its checkpoints and parked streams, once `read`.

    With `recent` it refuses to go on when it has parked too many streams lately.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        projection: Projection | None = None,
        react: React | None = None,
        counters: Counters | None = None,
        transient: Transient = lambda _: False,
        recent: Recent | None = None,
    ) -> None:
        self.ledger = ledger
        self.counters = counters or Counters()
        self.checkpoints: dict[int, Checkpoint] = {}
        self.parked: dict[int, set[Stream]] = {}
        self._projection = projection
        self._react = react
        self._transient = transient
        self._recent = recent

    async def read(self, connection: Connection, shards: Iterable[int]) -> None:
        """Learn where the consumer stands in `shards`.

        Checkpoints first: whoever parks or heals a stream writes its shard's checkpoint too, so what
        changes in between shows when the first batch compares checkpoints.
        """
        wanted = sorted(shards)
        checkpoints = await self.ledger.read(connection, wanted)
        parked = await self.ledger.parked(connection, wanted)
        for shard in wanted:
            self.parked[shard] = parked.get(shard, set())
        self.checkpoints.update(checkpoints)

    def forget(self, shards: Iterable[int]) -> None:
        """These shards are somebody else's now."""
        for shard in shards:
            self.checkpoints.pop(shard, None)
            self.parked.pop(shard, None)

    async def apply(self, connection: Connection, batches: Sequence[ShardBatch]) -> None:
        """Apply batches that each begin right behind their shard's checkpoint.

        Raises SupersededError when somebody else was ahead (nothing of the failing part is written),
        HaltedError, and whatever is transient. Poison is found by halving and its stream parked.
        """
        try:
            await self._write(connection, batches)
        except Exception as error:
            if isinstance(error, SupersededError) or may_pass(error, self._transient):
                raise
            halves = _halved(batches)
            if halves is None:
                await self._insist(connection, batches, error)
                return
            for half in halves:
                await self.apply(connection, half)

    async def _insist(self, connection: Connection, batches: Sequence[ShardBatch], error: Exception) -> None:
        """One event has failed. Try it again, and in the end set its stream aside."""
        for attempt in range(1, TRIES):
            await asyncio.sleep(TRY_AGAIN_SECONDS * 2 ** (attempt - 1))
            try:
                await self._write(connection, batches)
                return
            except Exception as again:
                if isinstance(again, SupersededError) or may_pass(again, self._transient):
                    raise
                error = again
        (batch,) = batches
        (event,) = batch.events
        await self._write(connection, batches, poison=f"{type(error).__name__}: {error}")
        with handling(event):
            log.error(
                "%s cannot digest %s at %s:%s:%s (%s) and set its stream aside",
                self.ledger.consumer,
                event.stream_id,
                self.ledger.source,
                event.shard,
                event.position,
                event.type,
                exc_info=error,
            )
        if self._recent is not None:
            self._recent.parked((event.organization_id, event.stream_id), error)

    async def _write(self, connection: Connection, batches: Sequence[ShardBatch], poison: str | None = None) -> None:
        """One batch, one statement. `poison` is why its only event is to be parked rather than applied."""
        fine: list[RecordedEvent] = []
        aside: list[Parking] = []
        freshly: set[tuple[int, Stream]] = set()
        unknown = 0
        for batch in batches:
            parked = self.parked[batch.shard]
            for event in batch.events:
                stream = (event.organization_id, event.stream_id)
                if stream in parked or (batch.shard, stream) in freshly:
                    aside.append(Parking(event, "its stream is parked"))
                elif poison is not None or type(event.data) is UnreadableEvent:
                    freshly.add((batch.shard, stream))
                    aside.append(Parking(event, poison or str(unreadable(event))))
                elif type(event.data) is UnknownEvent:
                    unknown += 1
                else:
                    fine.append(event)
        if self._recent is not None:
            self._recent.saw((event.organization_id, event.stream_id) for event in fine)
        rows = await digest(connection, self.ledger, fine, self._projection, self._react)
        moves = [
            Move(batch.shard, self.checkpoints[batch.shard], batch.epoch, batch.events[-1].position)
            for batch in batches
        ]
        moved = await self.ledger.move(connection, moves, rows, aside)
        if len(moved) < len(moves):
            raise SupersededError(
                f"{self.ledger.consumer}: another was ahead in one of "
                f"{', '.join(f'{self.ledger.source}:{move.shard}:{move.position}' for move in moves[:8])}"
            )

        self.checkpoints.update(moved)
        for shard, stream in freshly:
            self.parked[shard].add(stream)
        self.counters.batches += 1
        self.counters.events += sum(len(batch.events) for batch in batches)
        self.counters.skipped_unknown += unknown
        self.counters.parked_events += len(aside)
        self.counters.parked_streams += len(freshly)


async def digest(
    connection: Connection,
    ledger: Ledger,
    events: Sequence[RecordedEvent],
    projection: Projection | None,
    react: React | None,
) -> FoldedRows | None:
    """React to events, or fold them into rows that are still to be written."""
    if not events:
        return None
    if react is not None:
        await react(events)
    if projection is None:
        return None

    async def load(kind: type[Row], keys: Sequence[Key]) -> list[Row]:
        return await ledger.load(connection, kind, keys)

    return await fold_batch(projection, events, load, ledger.recent)


def chunks(batches: Iterable[ShardBatch], limit: int) -> Iterable[list[ShardBatch]]:
    """The same events in groups of at most `limit`, each shard's in order."""
    group: list[ShardBatch] = []
    room = limit
    for batch in batches:
        events = batch.events
        while events:
            if room == 0:
                yield group
                group, room = [], limit
            group.append(ShardBatch(batch.shard, batch.epoch, events[:room]))
            taken = len(group[-1].events)
            events = events[taken:]
            room -= taken
            if events:
                yield group
                group, room = [], limit
    if group:
        yield group


def _halved(batches: Sequence[ShardBatch]) -> tuple[Sequence[ShardBatch], Sequence[ShardBatch]] | None:
    """Two halves, by shard while there are several, else by position; None for a single event."""
    if len(batches) > 1:
        middle = len(batches) // 2
        return batches[:middle], batches[middle:]
    (batch,) = batches
    middle = len(batch.events) // 2
    if middle == 0:
        return None
    first = ShardBatch(batch.shard, batch.epoch, batch.events[:middle])
    return [first], [ShardBatch(batch.shard, batch.epoch, batch.events[middle:])]
