"""A consumer's events from Kafka: FastStream's loop in, batches of shards out, the owner's log for what is missing.

Kafka deals out partitions and remembers offsets. Neither decides anything: the runner's checkpoints say what comes
next, and what was committed to Kafka is a hint where to begin looking.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from okr_chassis.kafka.cluster import Admin, partitions_of_topic
from okr_chassis.kafka.owner import Owner
from okr_chassis.kafka.records import RecordError, event_in, opened, place_in
from okr_chassis.kafka.subscriber import BATCH_RECORDS, SESSION_MS, Records, broker_of, polled_by, subscribe
from okr_chassis.kafka.topics import PREFIX, topic_of
from okr_chassis.kafka.tracks import BEGINNING, Track, Waypoint, hint_of, text_of_hint
from okr_eventstore.codec import Codec
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import Head, RecordedEvent, ShardBatch

HELD_BATCHES = 2
"""Batches that wait for a consumer. While they do, nothing more is asked of Kafka."""
POLL_MS = 200
ASKING_COSTS = 20
"""An event asked from the log's owner counts for so many read again from the topic and passed over."""
FILL_PAGE_EVENTS = 1000
COMMIT_SECONDS = 1.0
CLOSE_SECONDS = 5.0
AGAIN_SECONDS = 0.5
OVERDUE_SECONDS = 30.0
"""What Kafka has not brought so long after it stood in the log, though it answered meanwhile, is asked from the owner:
a topic that was made anew may have grown past us, and what follows a hole shows it only if something follows."""

log = logging.getLogger(__name__)


class KafkaSource:
    """The log of one service from its topic.

    With a `group` it is a member: Kafka deals out the partitions, and `instance` names this process in it for ever, so
    that a restart moves nothing. Without one it reads all partitions, remembers nothing in Kafka, and fills gaps by
    itself.
    """

    def __init__(
        self,
        service: str,
        bootstrap: Sequence[str],
        owner: Owner,
        codec: Codec,
        *,
        group: str | None = None,
        instance: str | None = None,
        prefix: str = PREFIX,
        session_ms: int = SESSION_MS,
    ) -> None:
        self.service = service
        self.topic = topic_of(service, prefix)
        self.group = group
        self.duplicates = 0
        """Records that repeated what had been handed over."""
        self.filled = 0
        """Events that were asked from the owner because the topic did not bring them."""
        self.foreign = 0
        """Records that no relay wrote."""
        self._bootstrap = list(bootstrap)
        self._owner = owner
        self._codec = codec
        self._instance = f"{group}.{instance}" if group is not None and instance is not None else None
        self._session_ms = session_ms
        self._broker: KafkaBroker | None = None
        self._subscriber: BatchSubscriber | None = None
        self._partitions = 0
        self._tracks: dict[int, Track] = {}
        self._told: frozenset[int] = frozenset()
        self._lost: frozenset[int] = frozenset()
        self._held: deque[tuple[int, Records]] = deque()
        self._batch = self._accepted = 0
        self._taken = asyncio.Event()
        self._news = asyncio.Event()
        self._nudge = asyncio.Event()
        self._closing = False
        self._fault: str | None = None
        self._dealt = False
        self._joining: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._committed: dict[int, int] = {}
        self._committed_at = 0.0
        self._looked_at = 0.0
        self._expected: dict[int, Head] = {}

    # --- up and down -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Join, or take all partitions. Raises StoreUnavailableError while Kafka or the topic is not there."""
        self._closing, self._fault = False, None
        try:
            async with Admin(self._bootstrap) as admin:
                self._partitions = await partitions_of_topic(admin, self.topic)
            self._broker = broker_of(self._bootstrap, client_id=f"okr {self.service}")
            self._subscriber = subscribe(
                self._broker,
                self.topic,
                group=self.group,
                instance=self._instance,
                partitions=self._partitions,
                listener=_Assignments(self),
                session_ms=self._session_ms,
            )
            self._subscriber(self._arrived)
            polled_by(self._subscriber, self._poll)
            if self.group is None:
                self._assign(range(self._partitions))
        except (KafkaError, OSError) as error:
            raise StoreUnavailableError(f"Kafka at {', '.join(self._bootstrap)} does not answer: {error!r}") from error
        # A group may take its time to deal out partitions, and whoever wants to stop should not have to wait for it.
        self._joining = asyncio.create_task(self._broker.start(), name=f"join {self.group or self.topic}")
        self._joining.add_done_callback(self._has_joined)
        self._looked_at = time.monotonic()

    async def close(self) -> None:
        """Leave what was done as a hint, and stop. The source may be started again, and knows nothing then."""
        consumer = self._consumer()
        if consumer is not None and self.group is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    if self._committing is not None:
                        await asyncio.wait([self._committing])
                    await self._commit(consumer, self._hints())
        await self._stop()
        self._tracks.clear()
        self._told = self._lost = frozenset()
        self._dealt = False

    async def _stop(self) -> None:
        self._closing = True
        self._held.clear()
        for event in (self._taken, self._nudge, self._news):
            event.set()
        for task in (self._joining, self._committing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._joining = self._committing = None
        broker, self._broker, self._subscriber = self._broker, None, None
        if broker is not None:
            with contextlib.suppress(KafkaError, OSError):
                await broker.stop()
        self._committed.clear()
        self._expected.clear()

    # --- what the runner asks --------------------------------------------------------------------

    async def assignments(self) -> frozenset[int]:
        """What was taken away and given back is told as gone first: its consumer has to say anew where to begin."""
        self._told, self._lost = self._assigned() - self._lost, frozenset()
        return self._told

    async def seek(self, shard: int, after: int) -> None:
        for track in self._tracks.values():
            if shard in track.shards:
                track.seek(shard, after)
                self._nudge.set()
                return

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        """Returns early, with nothing, when partitions came or went."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            await self._mend()
            if self._lost or self._assigned() != self._told:
                return []
            batches = await self._fill() or self._take()
            if batches:
                return batches
            await self._look_for_overdue()
            left = deadline - loop.time()
            if left <= 0:
                return []
            self._news.clear()
            if self._held or self._fault or any(track.lacking for track in self._tracks.values()):
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    async def commit(self, positions: dict[int, int]) -> None:
        """Remember with Kafka, once in a while and in the background, up to where everything is done."""
        for track in self._tracks.values():
            for shard in track.shards & positions.keys():
                track.done(shard, positions[shard])
        now = time.monotonic()
        consumer = self._consumer()
        if consumer is None or self.group is None or self._committing is not None:
            return
        if now - self._committed_at >= COMMIT_SECONDS:
            self._committed_at = now
            self._committing = asyncio.create_task(self._commit(consumer, self._hints()), name=f"commit {self.group}")
            self._committing.add_done_callback(self._has_committed)

    async def heads(self) -> dict[int, Head]:
        heads = await self._owner.heads()
        assigned = self._assigned()
        return {shard: head for shard, head in heads.items() if shard in assigned} if self._dealt else heads

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        return await self._owner.read(shard, after, up_to)

    # --- handing over ----------------------------------------------------------------------------

    def _take(self) -> list[ShardBatch]:
        """What has come, for as many batches as are there."""
        found: dict[int, tuple[int, list[RecordedEvent]]] = {}
        looked_at: set[int] = set()
        while self._held:
            number, records = self._held[0]
            rest = self._sort(number, records, found, looked_at)
            if rest:
                self._held[0] = number, rest
                break
            self._held.popleft()
        self._taken.set()
        for partition in looked_at:
            self._tracks[partition].hand_over()
        return [ShardBatch(shard, epoch, events) for shard, (epoch, events) in found.items()]

    def _sort(
        self,
        number: int,
        records: Records,
        found: dict[int, tuple[int, list[RecordedEvent]]],
        looked_at: set[int],
    ) -> Records:
        """Records into events by shard. Answers those that must wait, because their log is of another epoch."""
        tracks = self._tracks
        for index, record in enumerate(records):
            track = tracks.get(record.partition)
            if track is None or not track.counts(number):
                continue
            try:
                headers = opened(record.headers)
                place = place_in(headers)
                shard, epoch, position = place
                if position <= track.positions[shard]:
                    self.duplicates += 1
                elif shard in found and found[shard][0] != epoch:
                    return records[index:]
                elif self.group is None and position > track.positions[shard] + 1:
                    track.lacking[shard] = max(position, track.lacking.get(shard, 0))
                elif shard not in track.lacking:
                    event = event_in(headers, place, record.value, self._codec)
                    found.setdefault(shard, (epoch, []))[1].append(event)
                    track.positions[shard] = position
                else:
                    track.lacking[shard] = max(position, track.lacking[shard])
            except (RecordError, KeyError) as error:
                self.foreign += 1
                log.error("%s, partition %s, offset %s: %s", self.topic, record.partition, record.offset, error)
            track.offset = record.offset + 1
            looked_at.add(record.partition)
        return ()

    async def _fill(self) -> list[ShardBatch]:
        """The next page of what the topic will not bring again, from the owner."""
        for track in list(self._tracks.values()):
            if not track.settled or not track.lacking:
                continue
            shard, up_to = next(iter(track.lacking.items()))
            after = track.positions[shard]
            events = await self._owner.read(shard, after, min(up_to, after + FILL_PAGE_EVENTS))
            if track.positions.get(shard) != after or shard not in track.lacking:
                continue  # the consumer went somewhere else meanwhile
            if not events:
                log.warning("%s:%s ends at %s, though %s was heard of", self.service, shard, after, up_to)
                del track.lacking[shard]
                continue
            self.filled += len(events)
            track.positions[shard] = events[-1].position
            if events[-1].position >= up_to:
                del track.lacking[shard]
            track.hand_over()
            heads = await self._owner.heads()
            return [ShardBatch(shard, heads[shard].epoch, events)]
        return []

    async def _look_for_overdue(self) -> None:
        """Every now and then compare with the log itself, for what lies at its end and was never brought."""
        now = time.monotonic()
        consumer = self._consumer()
        if consumer is None or now - self._looked_at < OVERDUE_SECONDS:
            return
        since, self._looked_at = self._looked_at, now
        expected = self._expected
        try:
            self._expected = await self._owner.heads()
        except StoreUnavailableError:
            self._expected = {}
            return
        for track in self._tracks.values():
            if not track.settled or track.lacking or not self._at_end(consumer, track, since):
                continue
            for shard in track.shards & expected.keys():
                if expected[shard].position > track.positions[shard]:
                    log.warning(
                        "%s:%s has %s events, and %s brought them up to %s: the others come from the log's owner",
                        *(self.service, shard, expected[shard].position, self.topic, track.positions[shard]),
                    )
                    track.lacking[shard] = expected[shard].position

    def _at_end(self, consumer: AIOKafkaConsumer, track: Track, since: float) -> bool:
        """Whether Kafka has told since then that the partition holds nothing more."""
        partition = TopicPartition(self.topic, track.partition)
        with contextlib.suppress(IllegalStateError):
            heard_ms = consumer.last_poll_timestamp(partition) or 0
            silent_seconds = time.time() - heard_ms / 1000
            end = consumer.highwater(partition)
            return silent_seconds < time.monotonic() - since and end is not None and end <= track.offset
        return False

    # --- reading ---------------------------------------------------------------------------------

    async def _poll(self, consumer: AIOKafkaConsumer) -> Records:
        """FastStream's loop asks for a batch: the first that comes, from where we want to read.

        What goes wrong between here and `_arrived`, in a middleware for instance, it logs and goes on to the next.
        """
        if self._accepted != self._batch:
            log.error("%s: a batch got lost on its way to us and is read again", self.topic)
            self._accepted = self._batch
            self._revoke()
        while not self._closing:
            try:
                await self._settle(consumer)
                if not any(track.settled for track in self._tracks.values()):
                    await self._rest()
                    continue
                found = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_RECORDS)
            except ConsumerStoppedError:
                raise
            except (KafkaError, StoreUnavailableError, OSError) as error:
                self._fault = f"{self.topic} cannot be read: {error!r}"
                self._news.set()
                await self._rest(AGAIN_SECONDS)
                continue
            if found:
                self._batch += 1
                return tuple(chain.from_iterable(found.values()))
        raise ConsumerStoppedError

    async def _arrived(self, records: Records) -> None:
        """FastStream hands a batch over. It waits here while the consumer has enough to do."""
        while len(self._held) >= HELD_BATCHES and not self._closing:
            self._taken.clear()
            await self._taken.wait()
        self._accepted = self._batch
        if not self._closing:
            self._held.append((self._batch, records))
            self._news.set()

    async def _rest(self, seconds: float = POLL_MS / 1000) -> None:
        """Until there is something to do, or a moment has passed."""
        self._nudge.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()

    async def _settle(self, consumer: AIOKafkaConsumer) -> None:
        """Find out from where to read the partitions whose consumer has begun, or has gone back."""
        tracks = [track for track in self._tracks.values() if track.begun and not track.settled]
        if not tracks:
            return
        hints = await self._remembered([track for track in tracks if track.base is None])
        ends: dict[int, Waypoint] | None = None
        for track in tracks:
            at = track.base or hints.get(track.partition)
            if at is None or at.lacking(track.positions):
                if ends is None:
                    ends = await self._ends(consumer, tracks)
                at = _nearest(track, at, ends.get(track.partition))
            if self._tracks.get(track.partition) is not track or not track.begun:
                continue  # it went away, or is another by now
            partition = TopicPartition(self.topic, track.partition)
            with contextlib.suppress(IllegalStateError):  # taken away in this very moment
                consumer.seek(partition, at.offset)
                consumer.resume(partition)
                track.settle(at, self._batch + 1)
        self._news.set()

    async def _remembered(self, tracks: Sequence[Track]) -> dict[int, Waypoint]:
        """What members of the group before us have left as hints."""
        if self.group is None or not tracks:
            return {}
        partitions = {TopicPartition(self.topic, track.partition): track for track in tracks}
        async with Admin(self._bootstrap) as admin:
            found = await admin.list_consumer_group_offsets(self.group, partitions=list(partitions))
        hints = {
            partitions[at].partition: hint_of(left.offset, left.metadata, partitions[at].shards)
            for at, left in found.items()
        }
        return {partition: hint for partition, hint in hints.items() if hint is not None}

    async def _ends(self, consumer: AIOKafkaConsumer, tracks: Iterable[Track]) -> dict[int, Waypoint]:
        """The partitions' ends as waypoints: asked before the heads, so what is not in these comes behind them."""
        partitions = [TopicPartition(self.topic, track.partition) for track in tracks]
        ends = await consumer.end_offsets(partitions)
        try:
            heads = await self._owner.heads()
        except StoreUnavailableError:
            return {}
        return {
            track.partition: Waypoint(
                ends[TopicPartition(self.topic, track.partition)],
                {shard: heads[shard].position for shard in track.shards & heads.keys()},
            )
            for track in tracks
        }

    async def _mend(self) -> None:
        """Begin anew after an error that the client does not get over by itself."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            await self._stop()
            if self.group is not None:
                self._lose(self._tracks.keys())
            raise StoreUnavailableError(fault)
        if self._broker is None:
            await self.start()

    # --- partitions come and go --------------------------------------------------------------------

    def _assigned(self) -> frozenset[int]:
        return frozenset(chain.from_iterable(track.shards for track in self._tracks.values()))

    def _assign(self, partitions: Collection[int]) -> None:
        """These are ours now, and no others. What we keep we know where to read on."""
        self._dealt = True
        self._lose(self._tracks.keys() - set(partitions))
        for partition in partitions:
            if partition in self._tracks:
                self._tracks[partition].unsettle()
            else:
                self._tracks[partition] = Track(partition, self._partitions)
        consumer = self._consumer()
        if consumer is not None:
            consumer.pause(*(TopicPartition(self.topic, partition) for partition in partitions))
        self._news.set()
        self._nudge.set()

    def _lose(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self._lost |= self._tracks.pop(partition).shards

    def _revoke(self) -> None:
        """Nothing is handed over until it is known from where to read."""
        for track in self._tracks.values():
            track.unsettle()

    # --- small things ------------------------------------------------------------------------------

    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber.consumer if self._subscriber is not None else None

    def _hints(self) -> dict[TopicPartition, OffsetAndMetadata]:
        hints = {}
        for track in self._tracks.values():
            at = track.hint()
            if at is not None and at.offset != self._committed.get(track.partition):
                text = text_of_hint(at, track.shards)
                hints[TopicPartition(self.topic, track.partition)] = OffsetAndMetadata(at.offset, text)
        return hints

    async def _commit(self, consumer: AIOKafkaConsumer, hints: dict[TopicPartition, OffsetAndMetadata]) -> None:
        if not hints:
            return
        try:
            await consumer.commit(hints)
        except (KafkaError, IllegalStateError) as error:  # partitions that others have by now, most likely
            log.debug("%s: no hint was left with Kafka: %r", self.group, error)
            return
        self._committed.update({partition.partition: at.offset for partition, at in hints.items()})

    def _has_joined(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fault = f"{self.topic} cannot be read: {error!r}"
            self._news.set()

    def _has_committed(self, task: asyncio.Task[None]) -> None:
        self._committing = None
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: an error nobody foresaw", self.group, exc_info=task.exception())


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types, and insists on it
    """What Kafka says about partitions, for a source. Coroutines, because FastStream calls functions in threads."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._source._revoke()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._source._assign([each.partition for each in assigned])


def _nearest(track: Track, known: Waypoint | None, end: Waypoint | None) -> Waypoint:
    """From where to read: not before it must be, and not so late that the owner is asked for what the topic tells."""
    for at in (known, end):
        if at is not None and at.missing(track.positions) * ASKING_COSTS <= at.offset:
            return at
    return BEGINNING
