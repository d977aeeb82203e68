"""A whole log from its topic, from offset 0: what a rebuild reads where Kafka carries the events."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from types import TracebackType

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from okr_chassis.kafka.cluster import Admin, partitions_of_topic
from okr_chassis.kafka.owner import Owner
from okr_chassis.kafka.records import Carried, RecordError, opened, place_in
from okr_chassis.kafka.spool import Spool
from okr_chassis.kafka.topics import PREFIX, partition_of, topic_of
from okr_eventstore.codec import Codec
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.lines import LineDecoder
from okr_eventstore.model import Head, RecordedEvent
from okr_eventstore.projection import ProjectedEvent

SPOOLS = 2
"""Partitions kept on disk at once; shards are asked for in order, and so are partitions."""
FETCH_BYTES = 4 * 1024 * 1024
POLL_MS = 500
FETCH_WAIT_MS = 20
"""How long a broker holds a question open at a partition's end. The client asks ahead, and answers to one partition are
waited for before another is read, so a longer wait is a pause between any two of them."""
SILENT_SECONDS = 30.0

log = logging.getLogger(__name__)


class KafkaReader:
    """Reads each partition once, when the first of its shards is asked for. What the topic lacks the owner has.

    Records of an earlier epoch may be of events that a restore has undone; they are passed over, and asked from the
    owner.
    """

    def __init__(
        self, service: str, bootstrap: Sequence[str], owner: Owner, codec: Codec, *, prefix: str = PREFIX
    ) -> None:
        self.topic = topic_of(service, prefix)
        self.backfilled = 0
        """Events that the topic lacked."""
        self._bootstrap = list(bootstrap)
        self._owner = owner
        self._lines = LineDecoder(codec)
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions = 0
        self._spools: dict[int, Spool] = {}
        self._read: set[int] = set()
        self._reading = asyncio.Lock()

    async def __aenter__(self) -> "KafkaReader":
        """Raises StoreUnavailableError while Kafka or the topic is not there."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            async with Admin(self._bootstrap) as admin:
                self._partitions = await partitions_of_topic(admin, self.topic)
            await self._consumer.start()
        except BaseException as error:
            await self._consumer.stop()
            if isinstance(error, (KafkaError, OSError)):
                servers = ", ".join(self._bootstrap)
                raise StoreUnavailableError(f"Kafka at {servers} does not answer: {error!r}") from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()
        if self._consumer is not None:
            await self._consumer.stop()

    async def heads(self) -> dict[int, Head]:
        return await self._owner.heads()

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        """The events `after` < position ≤ `up_to` as they were recorded, from the owner.

        Few are asked for so: those that came during a rebuild, and shards with one that no fold can digest.
        """
        return await self._owner.read(shard, after, up_to)

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        """The same without what only tells how an event was asked for, from the topic as far as it has them."""
        spool = await self._spool(partition_of(shard, self._partitions))
        texts = list(spool.read(shard, after, up_to)) if spool is not None else []
        events = self._lines.decode(b"\n".join(texts).decode()) if texts else []
        if len(events) < up_to - after:
            events = [*events, *await self._others(shard, after, up_to, events)]
            events.sort(key=attrgetter("position"))
        return events

    async def _others(self, shard: int, after: int, up_to: int, found: Sequence[ProjectedEvent]) -> list[RecordedEvent]:
        """What lies between those that were found, from the owner."""
        others: list[RecordedEvent] = []
        due = after + 1
        for position in [*(event.position for event in found), up_to + 1]:
            if position > due:
                others += await self._ask(shard, due - 1, position - 1)
            due = position + 1
        return others

    async def _ask(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        found = await self._owner.read(shard, after, up_to)
        self.backfilled += len(found)
        return found

    async def _spool(self, partition: int) -> Spool | None:
        """A partition on disk; None when it was read before and let go: then it is asked from the owner."""
        async with self._reading:
            if partition not in self._read:
                while len(self._spools) >= SPOOLS:
                    self._spools.pop(next(iter(self._spools))).close()
                spool = Spool()
                try:
                    await self._scan(partition, spool, await self._owner.heads())
                except BaseException:
                    spool.close()
                    raise
                self._spools[partition] = spool
                self._read.add(partition)
            return self._spools.get(partition)

    async def _scan(self, partition: int, spool: Spool, heads: dict[int, Head]) -> None:
        """Read a partition from its first record to where it ends now."""
        assert self._consumer is not None, "entered before it is read"
        consumer, place = self._consumer, TopicPartition(self.topic, partition)
        try:
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            silent_since = asyncio.get_running_loop().time()
            while await consumer.position(place) < end:
                found = await consumer.getmany(place, timeout_ms=POLL_MS)
                now = asyncio.get_running_loop().time()
                if found:
                    silent_since = now
                elif now - silent_since > SILENT_SECONDS:
                    raise StoreUnavailableError(f"{self.topic}, partition {partition}: nothing came for a while")
                for record in found.get(place, ()):
                    self._keep(record, spool, heads)
        except (KafkaError, OSError) as error:
            raise StoreUnavailableError(f"{self.topic}, partition {partition} cannot be read: {error!r}") from error
        spool.put_away()

    def _keep(self, record: Carried, spool: Spool, heads: dict[int, Head]) -> None:
        """What is no whole record of a relay is left to the owner."""
        try:
            headers = opened(record.headers)
            shard, epoch, position = place_in(headers)
            head = heads.get(shard)
            if head is not None and head.epoch == epoch:
                spool.add(shard, position, line_of(headers, record.value))
        except RecordError as error:
            log.error("%s: %s", self.topic, error)


def line_of(found: Mapping[str, bytes], value: bytes | None) -> bytes:
    """An opened record as a line of okr_eventstore.lines. Raises RecordError for one that is not whole."""
    try:
        return b'["%b %b",%b,%b,"%b",%b,%b,"%b","%b",%b,%b]' % (
            found["ce_type"],
            found["ce_schemaversion"],
            found["ce_shard"],
            found["ce_position"],
            found["ce_organization"],
            _quoted(found["ce_subject"]),
            found["ce_version"],
            found["ce_recordedat"],
            found["ce_time"],
            _quoted(found["ce_actor"]),
            (value or b"null").replace(b"\n", b" "),  # where JSON has a line's end, a space says the same
        )
    except (LookupError, ValueError) as error:
        raise RecordError(f"no record of a relay: {error!r}") from error


@lru_cache(maxsize=4096)
def _quoted(text: bytes) -> bytes:
    return json.dumps(text.decode()).encode()
