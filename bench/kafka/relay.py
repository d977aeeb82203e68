"""The relay beside a bare producer: how many events a second, and how soon the broker has one."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import chain, repeat
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from bench.append import Streams
from bench.facts import ACTOR
from bench.harness import TOLD, Case, Rounds, Work, quantiles, value
from bench.kafka.stage import PARTITIONS, SERVICE, Stage, running, until
from bench.stage import running_log, schema
from okr_chassis.kafka.batches import RecordBatch
from okr_chassis.kafka.publishing import Publisher
from okr_chassis.kafka.relay import BATCH_BYTES, Relay
from okr_chassis.kafka.topics import partition_of, topic_of
from okr_eventstore.appender import uuid7
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, shard_of

OURS = "relay, from the log in PostgreSQL"
BARE = "bare aiokafka producer, records at hand"
BARE_PACKED = "the same, zstd"
ALLOWED_MS = 10.0


class Sent(NamedTuple):
    """A record as a producer wants it."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


async def measure_rate(stage: Stage) -> Rounds:
    """Each round carries the whole log to a topic of its own."""
    records = await _records(stage, await stage.filled())
    cases = [
        Case(OURS, _carrying(stage)),
        Case(BARE, _producing(stage, records, None)),
        Case(BARE_PACKED, _producing(stage, records, "zstd")),
    ]
    title = f"Relay: {stage.events:,} events from the log to the broker's acknowledgement"
    found = await stage.meter.rounds(title, cases)
    best = found.best_of([BARE, BARE_PACKED])
    found.compare("relay / bare producer", OURS, best, ">= 0.7", unit="events/s")
    return found


async def measure_latency(stage: Stage) -> Rounds:
    """One event a command, at a rate that leaves the relay time: from the commit to the acknowledgement."""
    scale = stage.meter.scale
    rate, seconds = scale.bus_rate, 2 * scale.seconds
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(schema(stage.dsn, "relayed"))
        log = await stack.enter_async_context(running_log(SERVICE, database))
        relay = _Watched(log, stage.bootstrap, await stage.new_prefix())
        await stack.enter_async_context(running(relay))
        await until(lambda: len(relay.leases.held) == PARTITIONS)
        name = f"commit → acknowledged, {rate:,}/s open loop"
        streams = Streams("relayed", scale.streams, 64, 1)
        found = await stage.meter.rounds(
            "Relay: how soon the broker has it", [Case(name, _committing(log, relay, streams, rate, seconds))]
        )
    found.within("relay, commit → acknowledged, p50", name, ALLOWED_MS, "<= 1", read=value("p50"), unit="ms")
    found.within("relay, commit → acknowledged, p99", name, ALLOWED_MS, TOLD, read=value("p99"), unit="ms")
    return found


def _carrying(stage: Stage) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        prefix = await stage.new_prefix()
        relay = Relay(
            SERVICE, stage.database, stage.bootstrap, partitions=PARTITIONS, owner="bench", sink=prefix, prefix=prefix
        )
        async with running(relay):
            await until(lambda: len(relay.leases.held) == PARTITIONS)
            with stage.meter.counted() as span:
                await until(lambda: relay.published >= stage.events)
        return span.work(stage.events)

    return run


def _producing(
    stage: Stage, records: Mapping[int, Sequence[Sent]], compression: str | None
) -> Callable[[], Awaitable[Work]]:
    """As much idempotence and as large batches as the relay's; what the relay reads and encodes is here already.

    Several times over, to come to as many events.
    """
    times = max(1, stage.events // max(1, sum(map(len, records.values()))))

    async def run() -> Work:
        topic = topic_of(SERVICE, await stage.new_prefix())
        producer = AIOKafkaProducer(
            bootstrap_servers=stage.bootstrap, acks="all", enable_idempotence=True, compression_type=compression,
            max_batch_size=BATCH_BYTES,
        )  # fmt: skip
        await producer.start()
        try:
            await producer.partitions_for(topic)
            again = {partition: chain.from_iterable(repeat(each, times)) for partition, each in records.items()}
            with stage.meter.counted() as span:
                await asyncio.gather(*(_produce(producer, topic, *each) for each in again.items()))
        finally:
            await producer.stop()
        return span.work(times * sum(map(len, records.values())))

    return run


async def _produce(producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Sent]) -> None:
    """One partition's records in batches as large as they get, the next one made while one is on its way."""
    acknowledged = None
    batch = producer.create_batch()
    for key, content, headers in records:
        if batch.append(key=key, value=content, timestamp=None, headers=headers) is None:
            acknowledged = await producer.send_batch(batch, topic, partition=partition)
            batch = producer.create_batch()
            batch.append(key=key, value=content, timestamp=None, headers=headers)
    if batch.record_count():
        acknowledged = await producer.send_batch(batch, topic, partition=partition)
    if acknowledged is not None:
        await acknowledged


async def _records(stage: Stage, prefix: str) -> dict[int, list[Sent]]:
    """What the topic holds, by partition: up to a share that memory bears, rates being what is compared."""
    share = stage.meter.scale.bus_peer_events // PARTITIONS
    found: dict[int, list[Sent]] = {partition: [] for partition in range(PARTITIONS)}
    seen = 0
    async with stage.reading(prefix) as client:
        while seen < stage.events:
            for at, records in (await client.getmany(timeout_ms=200, max_records=500)).items():
                seen += len(records)
                kept = found[at.partition]
                kept += [Sent(each.key, each.value, list(each.headers)) for each in records[: share - len(kept)]]
    return found


async def _append(log: EventLog, streams: Streams, at: "dict[int, deque[float]]") -> None:
    index, organization_id, name, version, _ = streams.next(0)
    streams.grew(index)
    command_id = uuid7()
    context = CommandContext(organization_id, command_id, command_id.bytes, ACTOR, command_id)
    await log.append(name, version, [streams.fact(index)], context)
    at[partition_of(shard_of(organization_id), PARTITIONS)].append(time.perf_counter())


def _committing(
    log: EventLog, relay: "_Watched", streams: Streams, rate: int, seconds: float
) -> Callable[[], Awaitable[Work]]:
    """Partition by partition the acknowledgements come in the order of the commits."""

    async def run() -> Work:
        committed: dict[int, deque[float]] = {partition: deque() for partition in range(PARTITIONS)}
        relay.arrived = {partition: deque() for partition in range(PARTITIONS)}
        commands = max(1, int(rate * seconds))
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(commands):
                if (left := started + number / rate - time.perf_counter()) > 0:
                    await asyncio.sleep(left)
                group.create_task(_append(log, streams, committed))
        await until(lambda: sum(map(len, relay.arrived.values())) >= commands)
        elapsed = time.perf_counter() - started
        latencies = [
            max(0.0, acknowledged - at)
            for partition, times in committed.items()
            for at, acknowledged in zip(times, relay.arrived[partition], strict=True)
        ]
        return Work(commands, elapsed, quantiles(latencies))

    return run


class _Watched(Relay):
    """A relay whose acknowledgements are seen as they come in."""

    def __init__(self, log: EventLog, bootstrap: list[str], prefix: str) -> None:
        super().__init__(SERVICE, log.database, bootstrap, partitions=PARTITIONS, owner="bench", log=log, prefix=prefix)
        self.arrived: dict[int, deque[float]] = {partition: deque() for partition in range(PARTITIONS)}
        """By partition, when its records were acknowledged, in order."""

    async def _send(self, publisher: Publisher, batches: Mapping[int, RecordBatch]) -> dict[int, int]:
        ends = await super()._send(publisher, batches)
        now = time.perf_counter()
        for partition, batch in batches.items():
            self.arrived[partition].extend([now] * len(batch))
        return ends
