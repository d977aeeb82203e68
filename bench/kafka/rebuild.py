"""A rebuild from offset 0, beside a bare client that reads and decodes the same topic and does nothing with it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import msgspec

from bench.harness import Case, Rounds, Work
from bench.kafka.stage import SERVICE, Stage
from okr_chassis.kafka.reader import KafkaReader
from okr_contracts.checkins import CheckInRecorded
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import rebuild
from okr_eventstore.refolding import PAGE_EVENTS, pages
from okr_goals.replica import check_ins as leanest
from okr_insights.read_model import check_ins as with_history

READ = "rebuild's reader alone: shard by shard, decoded"
RAW = "getmany + decode"


async def measure(stage: Stage) -> Rounds:
    prefix = await stage.filled()
    cases = [
        Case(RAW, _decoding(stage, prefix)),
        Case(READ, _reading(stage, prefix)),
        *[Case(each.name, _rebuilding(stage, prefix, each)) for each in (leanest, with_history)],
    ]
    found = await stage.meter.rounds(f"Rebuild of {stage.events:,} events from offset 0", cases)
    unit = "events/s"
    found.compare("rebuild from Kafka, events / getmany + decode", READ, RAW, ">= 0.6", unit=unit)
    for projection in (leanest, with_history):
        name = f"rebuild from Kafka, {projection.name} in its tables / getmany + decode"
        found.compare(name, projection.name, RAW, ">= 0.6", unit=unit)
    return found


def _decoding(stage: Stage, prefix: str) -> Callable[[], Awaitable[Work]]:
    """Each value as what it is, its headers left as they come: no order, no check, nothing kept."""
    decoder = msgspec.json.Decoder(CheckInRecorded)

    async def run() -> Work:
        decoded = 0
        async with stage.reading(prefix) as client:
            with stage.meter.counted() as span:
                while decoded < stage.events:
                    for records in (await client.getmany(timeout_ms=200)).values():
                        for record in records:
                            decoder.decode(record.value)
                        decoded += len(records)
        return span.work(decoded)

    return run


def _reading(stage: Stage, prefix: str) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        read = 0
        async with KafkaReader(SERVICE, stage.bootstrap, stage.owner, stage.codec, prefix=prefix) as reader:
            with stage.meter.counted() as span:
                for shard, head in sorted((await reader.heads()).items()):
                    async for page in pages(reader.page, shard, 0, head.position, PAGE_EVENTS):
                        read += len(page)
            assert reader.backfilled == 0, "the topic holds it all"
        return span.work(read)

    return run


def _rebuilding(stage: Stage, prefix: str, projection: Projection) -> Callable[[], Awaitable[Work]]:
    """All of it: read, fold, copy, keys, checkpoints, switch."""
    versions = count(projection.version + 1)

    async def run() -> Work:
        async with (
            stage.tables(projection) as database,
            KafkaReader(SERVICE, stage.bootstrap, stage.owner, stage.codec, prefix=prefix) as reader,
        ):
            with stage.meter.counted() as span:
                rebuilt = await rebuild(replace(projection, version=next(versions)), database, reader)
        assert rebuilt.events == stage.events, f"{rebuilt.events} of {stage.events} were read"
        return span.work(rebuilt.events)

    return run
