"""What is Kafka's own: offsets that are only hints, topics that change under us, and readers without a group."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from faststream import AckPolicy

from okr_chassis.kafka import source as sources
from okr_chassis.kafka.records import Record, record_of
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.kafka.subscriber import Records, broker_of, subscribe
from okr_chassis.kafka.topics import partition_of
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.projection import ProjectedEvent
from okr_eventstore.rebuild import rebuild, verify
from okr_eventstore.refolding import PageReader
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.source import EventSource
from tests.bus.buses import PARTITIONS, SESSION_MS, KafkaBus
from tests.bus.test_contract import GARDENS, begin, fill, runner
from tests.eventstore.garden import SHARD, Garden, catch_up, plants, running, watered

PARTITION = partition_of(SHARD, PARTITIONS)


async def hinted(bus: KafkaBus, group: str) -> OffsetAndMetadata | None:
    """What a group has left with Kafka for the partition of most tests."""
    at = TopicPartition(bus.topics.of("garden"), PARTITION)
    async with bus.topics.admin() as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=[at])
    hint: OffsetAndMetadata | None = found.get(at)
    return hint


async def leave(bus: KafkaBus, group: str, offset: int, metadata: str = "") -> None:
    """Leave a hint in a group's name."""
    at = TopicPartition(bus.topics.of("garden"), PARTITION)
    consumer = AIOKafkaConsumer(bootstrap_servers=bus.topics.servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([at])
        await consumer.commit({at: OffsetAndMetadata(offset, metadata)})
    finally:
        await consumer.stop()


async def positions(source: EventSource, count: int, after: int = 0) -> list[int]:
    """The next positions of the garden's shard, once its source is started."""
    found: list[int] = []
    sought: frozenset[int] = frozenset()
    while len(found) < count:
        sought = await begin(source, sought, after)
        for batch in await source.fetch(1):
            found += [event.position for event in batch.events if batch.shard == SHARD]
    return found


@contextlib.asynccontextmanager
async def started(source: KafkaSource) -> AsyncIterator[KafkaSource]:
    await source.start()
    try:
        yield source
    finally:
        await source.close()


def test_no_subscriber_has_the_options_that_lose_events() -> None:
    """The defaults are wrong for a log; this is the one place that makes subscribers, see tests/architecture."""
    for group in ("plants", None):
        broker = broker_of(["127.0.0.1:1"])
        subscriber = subscribe(broker, "okr.garden.v1", group=group, instance="one", partitions=2)
        options = subscriber._connection_args
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert options["auto_offset_reset"] == "earliest"
        assert options["enable_auto_commit"] is False
        assert options["group_instance_id"] == ("one" if group else None)
        assert broker.config.allow_auto_create_topics is False


async def test_a_topic_that_is_not_there_is_waited_for_and_never_made(garden: Garden, kafka: KafkaBus) -> None:
    await kafka.topics.delete()
    source = kafka.source()
    with pytest.raises(StoreUnavailableError, match="okr kafka provision"):
        await source.start()
    assert await kafka.topics.names() == set()
    await source.close()


async def test_a_hint_is_left_with_every_shards_position_and_taken_up(garden: Garden, kafka: KafkaBus) -> None:
    await fill(garden)
    source = kafka.source()
    async with running(runner(kafka, garden, source=source)) as consumer:
        await catch_up(consumer, garden)
    hint = await hinted(kafka, str(source.group))
    assert hint is not None
    assert hint.offset > 0
    assert len(hint.metadata.split(",")) == 256 // PARTITIONS

    again = kafka.source()
    await garden.append("fern", watered(1))
    async with running(runner(kafka, garden, source=again)) as consumer:
        await catch_up(consumer, garden)
    assert (consumer.counters.events, again.duplicates, again.filled) == (1, 0, 0), "nothing was read twice"


async def test_a_hint_behind_the_checkpoint_costs_repetitions_and_nothing_else(garden: Garden, kafka: KafkaBus) -> None:
    for _ in range(10):
        await garden.append("fern", watered(1))
    await leave(kafka, kafka.topics.group("plants"), 0, ",".join("0" * (256 // PARTITIONS)))
    source = kafka.member("one")
    async with started(source):
        assert await positions(source, 4, after=6) == [7, 8, 9, 10]
    assert source.duplicates == 6


@pytest.mark.parametrize("metadata", ["", "nonsense", "1,2,3"], ids=["bare", "nonsense", "cut-otherwise"])
async def test_a_hint_that_does_not_say_what_lies_before_it_is_not_believed(
    garden: Garden, kafka: KafkaBus, metadata: str
) -> None:
    for _ in range(10):
        await garden.append("fern", watered(1))
    await leave(kafka, kafka.topics.group("plants"), 8, metadata)
    async with started(kafka.member("one")) as source:
        assert await positions(source, 10) == list(range(1, 11))


async def test_what_a_hint_claims_too_much_is_given_back_though_nothing_follows(
    garden: Garden, kafka: KafkaBus
) -> None:
    """PostgreSQL may lose a consumer's last batches in a crash, and Kafka remember them."""
    for _ in range(200):
        await garden.append("fern", watered(1))
    source = kafka.member("one")
    async with running(runner(kafka, garden, source=source)) as consumer:
        await catch_up(consumer, garden)
    again = kafka.member("one")
    async with started(again):
        assert await positions(again, 3, after=197) == [198, 199, 200]
    assert again.filled == 3, "three are asked from the owner, rather than two hundred read again"
    once_more = kafka.member("one")
    async with started(once_more):
        assert await positions(once_more, 150, after=50) == list(range(51, 201))
    assert once_more.filled == 0, "a hundred and fifty are read again"


async def test_a_reader_without_a_group_begins_anywhere_and_leaves_no_gap(garden: Garden, kafka: KafkaBus) -> None:
    for _ in range(30):
        await garden.append("fern", watered(1))
    kafka.skipped = {33, 34, 36}
    source = kafka.member("nobody", group=None)
    async with started(source):
        heads = await source.heads()
        assert await source.assignments() == frozenset(range(256))
        for shard in range(256):
            await source.seek(shard, heads[shard].position if shard in heads else 0)
        await garden.append("fern", *(watered(1) for _ in range(7)))
        found: list[int] = []
        while len(found) < 7:
            for batch in await source.fetch(1):
                found += [event.position for event in batch.events]
    assert found == list(range(31, 38))
    async with kafka.topics.admin() as admin:
        groups = {group for group, *_ in await admin.list_consumer_groups()}
    assert not any(group.startswith(kafka.topics.prefix) for group in groups)


async def test_what_is_not_ours_on_the_topic_is_passed_over_and_counted(garden: Garden, kafka: KafkaBus) -> None:
    await garden.append("fern", watered(1))
    await (await kafka.send(Record(b"who", b"{}", [("ce_shard", b"x")]), SHARD))
    await (await kafka.send(Record(b"who", b"{}", []), SHARD))
    await garden.append("fern", watered(1))
    source = kafka.source()
    async with started(source):
        assert await positions(source, 2) == [1, 2]
    assert source.foreign == 2


async def test_a_topic_deleted_and_filled_again_under_a_running_consumer_loses_nothing(
    garden: Garden, kafka: KafkaBus, database: Database
) -> None:
    total = await fill(garden)
    source = kafka.source()
    async with running(runner(kafka, garden, source=source)) as consumer:
        await catch_up(consumer, garden)
        await kafka.topics.delete()
        await kafka.topics.provision("garden", partitions=PARTITIONS)
        kafka.forget()
        total += await fill(garden)
        await kafka.carry()
        await catch_up(consumer, garden)

    assert consumer.counters.events == total
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == total / 2


async def test_what_the_topic_never_brings_is_asked_from_the_owner_in_the_end(
    garden: Garden, kafka: KafkaBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "OVERDUE_SECONDS", 0.5)
    await garden.append("fern", watered(1))
    kafka.skipped = {2, 3}
    source = kafka.source()
    async with started(source):
        assert await positions(source, 1) == [1]
        await garden.append("fern", watered(1), watered(1))
        found: list[int] = []
        while len(found) < 2:
            for batch in await source.fetch(1):
                found += [event.position for event in batch.events]
    assert found == [2, 3]
    assert source.filled == 2


async def test_a_batch_that_gets_lost_inside_the_library_is_read_again(
    garden: Garden, kafka: KafkaBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastStream logs what goes wrong around a handler and goes on to the next batch."""
    for _ in range(5):
        await garden.append("fern", watered(1))
    source = kafka.source()
    arrived, failures = source._arrived, iter([True])

    async def stumbling(records: Records) -> None:
        if next(failures, False):
            raise RuntimeError("a middleware stumbles")
        await arrived(records)

    monkeypatch.setattr(source, "_arrived", stumbling)
    async with started(source):
        assert await positions(source, 5) == [1, 2, 3, 4, 5]
    assert next(failures, None) is None


async def test_records_of_an_epoch_that_a_restore_undid_have_no_part_in_a_rebuild(
    garden: Garden, kafka: KafkaBus, database: Database
) -> None:
    """Kafka then holds events which the log has no more, at positions that others were given since."""
    await garden.append("fern", watered(1), watered(2))
    (undone,) = await garden.log.read_shard(SHARD, 1)
    await kafka.carry()
    await (await kafka.send(record_of(undone, 1, "garden", b'{"litres": "99"}'), SHARD))
    await database.execute("UPDATE shard SET epoch = 2")
    await garden.append("fern", watered(4))
    await kafka.carry()
    async with running(garden.runner(source=garden.source())) as consumer:
        await catch_up(consumer, garden)
    async with kafka.reading() as reader:
        assert (await rebuild(plants, database, reader)).equal
        assert (await verify(plants, database, reader)).equal


async def test_a_page_from_the_topic_is_the_page_from_the_log(
    garden: Garden, kafka: KafkaBus, database: Database
) -> None:
    """Whatever stands in an event: a rebuild reads neither by the way that consumers do."""
    kafka.skipped = set(range(1, 13))
    await garden.append('fern "the 1st" \\ über', watered("1.50", note='a\nb "c" \\ 🌱'), watered(2))
    await garden.append("moss", *(watered(n) for n in range(1, 11)))
    await kafka.carry()
    await database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await database.execute("UPDATE event SET type = 'Sung' WHERE position = 4")
    await database.execute("UPDATE event SET schema_version = 7 WHERE position = 5")
    kafka.skipped = {7, 8, 10}
    kafka.forget()
    await kafka.carry()
    async with kafka.reading() as reader:
        assert isinstance(reader, PageReader)
        for after, up_to in ((0, 12), (0, 4), (3, 9), (7, 8), (11, 12)):
            page = await reader.page(SHARD, after, up_to)
            told = await garden.source().page(SHARD, after, up_to)
            assert [shown(event) for event in page] == [shown(event) for event in told]
            assert len(page) == up_to - after
            assert await reader.backfill(SHARD, after, up_to) == await garden.source().backfill(SHARD, after, up_to)


def shown(event: ProjectedEvent) -> list[object]:
    """All that a fold may look at."""
    return [
        *(event.shard, event.position, event.organization_id, event.stream_id, event.version, event.type),
        *(event.schema_version, event.recorded_at, event.occurred_at, event.actor, event.data),
    ]


async def test_a_slow_handler_keeps_its_partitions_far_beyond_the_session(
    garden: Garden, kafka: KafkaBus, database: Database
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def react(_: Sequence[object]) -> None:
        entered.set()
        await go_on.wait()

    await fill(garden, 1)
    source = kafka.member("slow", "duties")
    subscription = Subscription("garden.duties", "garden", react=react)
    async with running(Runner(subscription, database, source)) as consumer:
        await entered.wait()
        before = await source.assignments()
        await database.fetchval("SELECT pg_sleep($1)", 1.5 * SESSION_MS / 1000)
        assert await source.assignments() == before
        go_on.set()
        await catch_up(consumer, garden)
    assert consumer.counters.zombies == 0
    assert len(GARDENS) * 2 == consumer.counters.events
