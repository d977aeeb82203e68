"""What a topic holds of a log, the check that nothing of it is missing, and relays at work."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from okr_chassis.kafka.records import event_of
from okr_chassis.kafka.relay import Relay
from okr_chassis.kafka.topics import partition_of
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.log import read_heads, read_page
from okr_eventstore.model import SHARDS, RecordedEvent, shard_of
from tests.eventstore.garden import Garden
from tests.support.waiting import PATIENCE_SECONDS


@asynccontextmanager
async def relaying(*relays: Relay) -> AsyncIterator[None]:
    """Relays at work, closed in the end; what they raise fails the test."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        for relay in relays:
            await relay.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*tasks)


async def carried(relay: Relay, all_but: int = 0) -> None:
    """Wait until Kafka has acknowledged the whole log and the cursors say so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await relay.behind() > all_but:
            pass  # asking takes long enough


async def records_in(bootstrap: str, topic: str) -> list[Any]:
    """Everything the topic holds, partition by partition, in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.subscribe([topic])
        partitions = await consumer._client._wait_on_metadata(topic)
        ours = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        consumer.unsubscribe()
        consumer.assign(ours)
        await consumer.seek_to_beginning(*ours)
        ends = await consumer.end_offsets(ours)
        found: dict[TopicPartition, list[Any]] = {at: [] for at in ours}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any([await consumer.position(at) < ends[at] for at in ours]):
                for at, records in (await consumer.getmany(timeout_ms=100)).items():
                    found[at] += records
        return [record for at in ours for record in found[at]]
    finally:
        await consumer.stop()


class Held:
    """What a topic holds, judged against the log it was carried from."""

    def __init__(self, records: Sequence[Any], codec: Codec, partitions: int) -> None:
        self.records = records
        self.events = [event_of(record, codec) for record in records]
        self.faults: list[str] = []
        self.repeated = 0
        self._reached = dict.fromkeys(range(SHARDS), 0)
        self._seen: dict[tuple[int, int], RecordedEvent] = {}
        for record, event in zip(records, self.events, strict=True):
            if record.partition != partition_of(event.shard, partitions):
                self.faults.append(f"shard {event.shard} lies in partition {record.partition}")
            self._see(event)

    def _see(self, event: RecordedEvent) -> None:
        reached = self._reached[event.shard]
        if event.position > reached + 1:
            self.faults.append(f"shard {event.shard}: {event.position} follows {reached}, in between something is lost")
        elif event.position <= reached:
            self.repeated += 1
            if self._seen.get((event.shard, event.position), event) != event:
                self.faults.append(f"shard {event.shard}: {event.position} came again as something else")
        self._seen.setdefault((event.shard, event.position), event)
        self._reached[event.shard] = max(reached, event.position)

    def against(self, log: Iterable[RecordedEvent]) -> list[str]:
        """What is wrong with the topic; nothing, if every shard is there from 1 to its head with only repeats."""
        expected = {(event.shard, event.position): event for event in log}
        lost = sorted(expected.keys() - self._seen.keys())
        invented = sorted(self._seen.keys() - expected.keys())
        other = [place for place, event in self._seen.items() if place in expected and expected[place] != event]
        return [
            *self.faults,
            *(f"shard {shard}: {position} is lost" for shard, position in lost),
            *(f"shard {shard}: {position} is not in the log" for shard, position in invented),
            *(f"shard {shard}: {position} is another event than the log's" for shard, position in other),
        ]


async def held(bootstrap: str, topic: str, garden: Garden, partitions: int = 8) -> Held:
    return Held(await records_in(bootstrap, topic), garden.codec, partitions)


async def whole_log(garden: Garden) -> list[RecordedEvent]:
    """Every event, shard by shard."""
    events: list[RecordedEvent] = []
    for shard, head in (await read_heads(garden.database)).items():
        events += await read_page(garden.database, garden.codec, shard, 0, head.position)
    return events


async def faults_of(bootstrap: str, topic: str, garden: Garden, partitions: int = 8) -> list[str]:
    """What is wrong with a topic that should hold the whole log."""
    return (await held(bootstrap, topic, garden, partitions)).against(await whole_log(garden))


async def cursors(database: Database, sink: str = "kafka") -> dict[int, int]:
    rows = await database.fetch("SELECT shard, position FROM relay WHERE sink = $1 AND position > 0", sink)
    return {row["shard"]: row["position"] for row in rows}


def organizations(count: int, partitions: Iterable[int] = range(8)) -> list[UUID]:
    """So many organisations that their shards lie in these partitions of eight, in turn."""
    wanted = list(partitions)
    found: list[UUID] = []
    number = 0
    while len(found) < count:
        number += 1
        organization_id = UUID(int=number)
        if partition_of(shard_of(organization_id), 8) == wanted[len(found) % len(wanted)]:
            found.append(organization_id)
    return found
