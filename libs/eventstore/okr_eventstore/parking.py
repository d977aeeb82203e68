"""Streams set aside: which they are, and trying them again.

A consumer parks an event it cannot digest, and every later one of its stream, so that the others
flow. Trying again goes through the same fold or reaction, in the stream's order, and takes the
events from the log itself, so that an upgraded release reads what an older one could not.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from okr_eventstore.applying import SupersededError, Transient, digest, may_pass
from okr_eventstore.checkpoints import Checkpoint, Ledger, Move, open_ledger, storable
from okr_eventstore.codec import UnknownEvent, UnreadableEvent
from okr_eventstore.database import Connection, Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.folding import unreadable
from okr_eventstore.model import RecordedEvent
from okr_eventstore.runner import Subscription

LIST_STREAMS = 1000
"""The most parked streams that one listing names."""
RETRY_EVENTS = 200
"""The most events of a stream tried in one transaction, which holds up its shard's consumer."""
NEAR_POSITIONS = 100
"""Parked events this close together are read from the log in one go, with what lies between."""


class Backfill(Protocol):
    """The part of an EventSource that reads a log at given positions."""

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]: ...


class ParkedStream(NamedTuple):
    """A stream that a consumer has set aside. `error` is what its first event met the last time."""

    consumer: str
    source: str
    organization_id: UUID
    stream_id: str
    first_position: int
    events: int
    attempts: int
    error: str


class Retried(NamedTuple):
    healed_streams: int
    still_parked_streams: int


async def list_parked(database: Database, limit: int = LIST_STREAMS) -> list[ParkedStream]:
    """The streams that this service's consumers have set aside, oldest position first."""
    rows = await database.fetch(
        """SELECT split_part(consumer, '@', 1), source, organization_id, stream_id, min(position), count(*)::int,
                  (array_agg(attempts ORDER BY position))[1], (array_agg(error ORDER BY position))[1]
             FROM parked
            WHERE consumer NOT LIKE '%@%' OR consumer IN (SELECT name || '@' || generation FROM projection)
            GROUP BY consumer, source, shard, organization_id, stream_id
            ORDER BY 1, 2, shard, min(position) LIMIT $1""",
        limit,
    )
    return [ParkedStream(*row) for row in rows]


async def retry_parked(
    subscription: Subscription,
    database: Database,
    source: Backfill,
    *,
    transient: Transient = lambda _: False,
) -> Retried:
    """Try a consumer's parked streams again, each from its first parked event on.

    What succeeds is parked no more in the same transaction; the first failure of a stream keeps it,
    and what follows, parked. A live runner may go on meanwhile: it waits while one of its shards is
    tried, then reads anew which streams are parked.
    """
    async with database.transaction() as connection:
        ledger = await open_ledger(connection, subscription.name, subscription.to, subscription.projection)
        streams = await connection.fetch(
            """SELECT shard, organization_id, stream_id FROM parked WHERE consumer = $1 AND source = $2
                GROUP BY 1, 2, 3 ORDER BY shard, min(position)""",
            ledger.consumer,
            ledger.source,
        )
    healed = 0
    for shard, organization_id, stream_id in streams:
        retry = _Retry(subscription, ledger, source, transient, shard, organization_id, stream_id)
        healed += await retry.run(database)
    return Retried(healed, len(streams) - healed)


class _Retry:
    """One stream of one consumer, tried again."""

    def __init__(
        self,
        subscription: Subscription,
        ledger: Ledger,
        source: Backfill,
        transient: Transient,
        shard: int,
        organization_id: UUID,
        stream_id: str,
    ) -> None:
        self._subscription = subscription
        self._ledger = ledger
        self._source = source
        self._transient = transient
        self._shard = shard
        self._stream = (organization_id, stream_id)

    async def run(self, database: Database) -> bool:
        """Whether the stream is healed."""
        while True:
            async with database.transaction() as connection:
                # From here to the commit no runner moves this shard: nothing is parked or applied in between.
                checkpoint = await self._lock(connection)
                positions = await self._positions(connection)
                if not positions:
                    return True
                events = await self._read(positions)
                done, error = await self._apply(connection, events, checkpoint)
                await connection.execute(
                    """DELETE FROM parked WHERE consumer = $1 AND source = $2 AND shard = $3
                          AND position = ANY ($4::bigint[])""",
                    self._ledger.consumer,
                    self._ledger.source,
                    self._shard,
                    positions[:done],
                )
                if error is not None:
                    await self._keep(connection, positions[done], error)
                    return False

    async def _lock(self, connection: Connection) -> Checkpoint:
        row = await connection.fetchrow(
            """SELECT epoch, position, xmin FROM checkpoint
                WHERE consumer = $1 AND source = $2 AND shard = $3 FOR UPDATE""",
            self._ledger.consumer,
            self._ledger.source,
            self._shard,
        )
        if row is None:
            raise SupersededError(f"{self._ledger.consumer} has no checkpoints any more; a rebuild took its place")
        return Checkpoint(*row)

    async def _positions(self, connection: Connection) -> list[int]:
        rows = await connection.fetch(
            """SELECT position FROM parked
                WHERE consumer = $1 AND source = $2 AND shard = $3 AND organization_id = $4 AND stream_id = $5
                ORDER BY position LIMIT $6""",
            self._ledger.consumer,
            self._ledger.source,
            self._shard,
            *self._stream,
            RETRY_EVENTS,
        )
        return [row["position"] for row in rows]

    async def _read(self, positions: Sequence[int]) -> list[RecordedEvent]:
        """The events at these positions, from the log."""
        events: list[RecordedEvent] = []
        wanted = set(positions)
        first = last = positions[0]
        for position in [*positions[1:], None]:
            if position is not None and position - last <= NEAR_POSITIONS:
                last = position
                continue
            found = await self._source.backfill(self._shard, first - 1, last)
            events += [event for event in found if event.position in wanted]
            if position is not None:
                first = last = position
        if [event.position for event in events] != list(positions):
            raise StoreUnavailableError(
                f"{self._ledger.source}:{self._shard}: the log answered with {len(events)} of {len(positions)} events"
            )
        return events

    async def _apply(
        self, connection: Connection, events: Sequence[RecordedEvent], checkpoint: Checkpoint
    ) -> tuple[int, Exception | None]:
        """Apply as many events from the first on as can be; how many they were, and what stopped the next."""
        done = 0
        size = len(events)
        while done < len(events):
            some = events[done : done + size]
            try:
                async with connection.transaction():
                    moved = await self._write(connection, some, checkpoint)
            except SupersededError:
                raise
            except Exception as error:
                if may_pass(error, self._transient):
                    raise
                if len(some) == 1:
                    return done, error
                size = (len(some) + 1) // 2
                continue
            checkpoint = moved
            done += len(some)
        return done, None

    async def _write(
        self, connection: Connection, events: Sequence[RecordedEvent], checkpoint: Checkpoint
    ) -> Checkpoint:
        for event in events:
            if type(event.data) is UnreadableEvent:
                raise unreadable(event)
        known = [event for event in events if type(event.data) is not UnknownEvent]
        rows = await digest(connection, self._ledger, known, self._subscription.projection, self._subscription.react)
        # The checkpoint stays where it is but is written, so that a runner notices: see Checkpoint.
        move = Move(self._shard, checkpoint, checkpoint.epoch, checkpoint.position)
        moved = await self._ledger.move(connection, [move], rows)
        if not moved:
            raise SupersededError(f"{self._ledger.consumer} is no longer live; retry the parked streams once more")
        return moved[self._shard]

    async def _keep(self, connection: Connection, position: int, error: Exception) -> None:
        await connection.execute(
            """UPDATE parked SET attempts = attempts + 1, error = $5
                WHERE consumer = $1 AND source = $2 AND shard = $3 AND position = $4""",
            self._ledger.consumer,
            self._ledger.source,
            self._shard,
            position,
            storable(f"{type(error).__name__}: {error}"),
        )
