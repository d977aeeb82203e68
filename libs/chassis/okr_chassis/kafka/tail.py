"""What Kafka already holds of a partition, so that its new owner neither repeats it nor builds on what is gone.

Cursors are stored after the acknowledgement, together with the offset that followed it. So whatever was sent since
lies behind that offset, and the record just before it is the last one the cursors know of. Hence the rule:

- The record before the stored offset is where the cursors say it is: the topic is the one we wrote to. What follows
  it is read to the end, at most what was sent since, and moves the cursors on.
- It is not there, or is another: the topic was deleted, made anew or cut. All it holds is read from the beginning;
  a shard counts as far as positions 1, 2, 3 … are there, and from there on it is published again.

Either way memory holds one position a shard, and one fetch of records.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from okr_chassis.kafka.leases import Cursor, Progress, Standing
from okr_chassis.kafka.publishing import CLOSE_SECONDS, CONNECT_SECONDS, PublishError
from okr_chassis.kafka.records import Place, RecordError, id_of, place_of

FETCH_BYTES = 4 * 1024 * 1024
FETCH_RECORDS = 2000
STALL_SECONDS = 15.0
"""How long nothing may come of a read that is not at the end."""


class Tail(NamedTuple):
    """What a partition holds, by shard, and where its next record is due."""

    progress: Progress
    intact: bool
    """False: it holds less than the cursors said."""
    events: dict[int, tuple[int, UUID]]
    """The last event of each shard that was looked at, as (position, id): the log has to know it."""


class TailReader:
    """A consumer without a group, that looks at a topic's partitions when somebody wants to know."""

    def __init__(self, bootstrap: Sequence[str], topic: str) -> None:
        self.topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=list(bootstrap),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
            request_timeout_ms=int(CONNECT_SECONDS * 1000),
        )

    async def start(self) -> None:
        """Connect. Raises PublishError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise PublishError(f"no Kafka: {error!r}") from error

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._consumer.stop()

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset after the last record of each partition. Raises PublishError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await self._consumer.end_offsets([self._at(partition) for partition in partitions])
        except (KafkaError, OSError, TimeoutError) as error:
            raise PublishError(f"topic {self.topic}: {error!r}") from error
        return {at.partition: offset for at, offset in found.items()}

    async def look(self, partition: int, standing: Standing) -> Tail:
        """What Kafka holds of a partition that had come so far. Raises PublishError."""
        at = self._at(partition)
        next_offset, cursors = standing
        try:
            begin = (await self._consumer.beginning_offsets([at]))[at]
            end = (await self._consumer.end_offsets([at]))[at]
            known = next_offset - 1
            if end == next_offset == 0:
                return Tail(Progress(0, {}), True, {})
            if next_offset > 0 and begin <= known < end:
                held = _Held({shard: (cursor.epoch, cursor.position) for shard, cursor in cursors.items()})
                if await self._read(at, known, end, held, cursors):
                    return Tail(Progress(end, held.beyond(cursors)), True, held.events)
            held = _Held(dict.fromkeys(cursors, (0, 0)))
            if begin < end:
                await self._read(at, begin, end, held, None)
            return Tail(Progress(end, held.agreed(cursors)), next_offset == 0, held.events)
        except (KafkaError, OSError, TimeoutError) as error:
            raise PublishError(f"topic {self.topic}, partition {partition}: {error!r}") from error

    async def _read(
        self, at: TopicPartition, begin: int, end: int, held: "_Held", known: Mapping[int, Cursor] | None
    ) -> bool:
        """Read from `begin` up to `end`. With `known` cursors: False at once if the first is not theirs."""
        self._consumer.assign([at])
        try:
            self._consumer.seek(at, begin)
            while await self._consumer.position(at) < end:
                async with asyncio.timeout(STALL_SECONDS):
                    found: Sequence[Any] = ()
                    while not found:
                        fetched = await self._consumer.getmany(at, timeout_ms=1000, max_records=FETCH_RECORDS)
                        found = fetched.get(at, ())
                        if not found and await self._consumer.position(at) >= end:
                            break
                for record in found:
                    try:
                        place, event_id = place_of(record.headers), id_of(record.headers)
                    except RecordError:
                        continue  # not of a relay; consumers pass it by as well
                    if known is not None:
                        if place.shard not in known or known[place.shard].position != place.position:
                            return False
                        known = None
                        held.events[place.shard] = place.position, event_id
                    held.see(place, event_id)
            return known is None
        finally:
            self._consumer.unsubscribe()

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)


class _Held:
    """How far each shard's positions go on without a hole."""

    def __init__(self, places: dict[int, tuple[int, int]]) -> None:
        self._places = places
        self.events: dict[int, tuple[int, UUID]] = {}

    def see(self, place: Place, event_id: UUID) -> None:
        """A record. In a later epoch the log goes on from some place that was reached, and what was beyond is void."""
        shard, epoch, position = place
        if shard not in self._places:
            return
        in_epoch, reached = self._places[shard]
        if (epoch == in_epoch and position == reached + 1) or (epoch > in_epoch and position <= reached + 1):
            self._places[shard] = epoch, position
            self.events[shard] = position, event_id

    def beyond(self, cursors: Mapping[int, Cursor]) -> dict[int, int]:
        return {
            shard: position
            for shard, (epoch, position) in self._places.items()
            if epoch == cursors[shard].epoch and position > cursors[shard].position
        }

    def agreed(self, cursors: Mapping[int, Cursor]) -> dict[int, int]:
        """Of an older epoch only what the cursors confirm: the log that is now may have gone another way after it."""
        return {
            shard: position if epoch == cursors[shard].epoch else min(position, cursors[shard].position)
            for shard, (epoch, position) in self._places.items()
        }
