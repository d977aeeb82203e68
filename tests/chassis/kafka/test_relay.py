"""Everything in the log comes to Kafka, in order, with as few repeats as can be, whoever carries it."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from okr_chassis.kafka import relay as relay_module
from okr_chassis.kafka.relay import Relay
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import shard_of
from tests.chassis.kafka.conftest import MakeRelay
from tests.eventstore.garden import GARDEN, Garden, Watered
from tests.support.kafka import Topics
from tests.support.relays import carried, cursors, held, organizations, records_in, relaying, whole_log
from tests.support.waiting import eventually

EVERYWHERE = organizations(16)
"""Two in each partition."""


async def water(garden: Garden, times: int, organization_ids: Sequence[UUID] = EVERYWHERE, note: str = "") -> None:
    for organization_id in organization_ids:
        for number in range(times):
            await garden.append("plant", Watered(Decimal(number), note), organization_id=organization_id)


def noise(size: int, seed: int = 0) -> str:
    """Text that shrinks to `size` bytes and no further."""
    return random.Random(seed).randbytes(size).hex()


async def judge(garden: Garden, topics: Topics, repeated: int = 0) -> None:
    """The topic holds the log, with so many repeats."""
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []
    assert found.repeated == repeated


async def test_what_is_in_the_log_and_what_comes_is_carried_in_order_and_once(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    await water(garden, 3)
    carrier = relay()
    async with relaying(carrier):
        await water(garden, 3)
        await carried(carrier)
        assert carrier.reason is None
        await eventually(lambda: carrier.lag == 0)
    await judge(garden, topics)
    assert carrier.published == 96
    assert 8 <= carrier.batches <= 96
    assert (carrier.rewinds, carrier.fenced, carrier.refilled, carrier.takeovers) == (0, 0, 0, 0)
    assert await cursors(garden.database) == {s: h.position for s, h in (await garden.log.heads()).items()}


async def test_a_relay_goes_on_where_the_last_one_stopped(garden: Garden, topics: Topics, relay: MakeRelay) -> None:
    for _ in range(3):
        carrier = relay()
        async with relaying(carrier):
            await water(garden, 2)
            await carried(carrier)
        assert carrier.published == 32
    await judge(garden, topics)


async def test_lag_is_what_kafka_does_not_have(garden: Garden, topics: Topics, relay: MakeRelay) -> None:
    await water(garden, 2)
    carrier = relay()
    assert await carrier.behind() == 32
    async with relaying(carrier):
        await carried(carrier)
    assert await carrier.behind() == 0
    await water(garden, 1)
    assert await carrier.behind() == 16


async def test_commits_of_another_process_are_heard_of(
    garden: Garden, topics: Topics, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls here, and this relay knows no log of its own process."""
    monkeypatch.setattr(relay_module, "POLL_SECONDS", 3600.0)
    carrier = relay(log=None)
    async with relaying(carrier):
        await eventually(lambda: carrier._settled.keys() == set(range(8)))
        await water(garden, 1)
        await eventually(lambda: carrier.published == 16)
    await judge(garden, topics)


class DeafRelay(Relay):
    """Hears nothing, as if the connection were lost."""

    async def _listen(self) -> None:
        await asyncio.Event().wait()


async def test_commits_that_nobody_told_of_are_found_all_the_same(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    carrier = relay(kind=DeafRelay, log=None)
    async with relaying(carrier):
        await eventually(lambda: carrier._settled.keys() == set(range(8)))
        await water(garden, 1)
        await carried(carrier)
    await judge(garden, topics)


async def test_what_does_not_fit_into_a_batch_follows_in_the_next(
    garden: Garden, topics: Topics, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH_BYTES", 2500)
    monkeypatch.setattr(relay_module, "ROUND_EVENTS", 40)
    await water(garden, 10, note="x" * 300)
    carrier = relay()
    async with relaying(carrier):
        await carried(carrier)
    await judge(garden, topics)
    assert carrier.batches > 30


async def test_copies_share_the_work_and_hand_over_without_repeating_any(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    first, second = relay(), relay()
    async with relaying(first):
        await water(garden, 1)
        await carried(first)
        async with relaying(second):
            await eventually(lambda: len(second._settled) == len(first._settled) == 4)
            await water(garden, 2)
            await carried(first)
            assert first.published == 32
            assert second.published == 16
        await eventually(lambda: len(first._settled) == 8, "the one that stays has everything again")
        await water(garden, 1)
        await carried(first)
    await judge(garden, topics)
    assert second.takeovers == 4
    assert first.takeovers == 4


async def test_who_closes_gives_everything_back_at_once(garden: Garden, topics: Topics, relay: MakeRelay) -> None:
    first = relay(lease_seconds=3600.0)
    async with relaying(first):
        await eventually(lambda: len(first._settled) == 8)
    second = relay(lease_seconds=3600.0)
    async with relaying(second):
        await eventually(lambda: len(second._settled) == 8)
        assert await garden.database.fetchval("SELECT count(*) FROM relay_member") == 1


async def test_a_topic_that_was_emptied_is_filled_again_from_the_log(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    carrier = relay()
    await water(garden, 2)
    async with relaying(carrier):
        await carried(carrier)
    await topics.delete()
    await topics.provision("garden")
    heir = relay()
    async with relaying(heir):
        await eventually(lambda: heir.published == 32)
        await carried(heir)
        assert heir.refilled == 8
    await judge(garden, topics)


@pytest.mark.parametrize("busy", [True, False])
async def test_a_topic_made_anew_while_the_relay_runs_is_filled_again(
    garden: Garden, topics: Topics, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(relay_module, "CHECK_SECONDS", 0.5)
    carrier = relay()
    await water(garden, 2)
    async with relaying(carrier):
        await carried(carrier)
        await topics.delete()
        await topics.provision("garden")
        if busy:
            await water(garden, 1)
        await eventually(lambda: carrier.refilled == 8)
        await carried(carrier)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    # What was sent before anybody knew may stand in front of what belongs before it: nothing is missing in the end.
    assert [fault for fault in found.against(await whole_log(garden)) if fault.endswith("is lost")] == (
        found.faults if busy else []
    )
    assert len({(event.shard, event.position) for event in found.events}) == (48 if busy else 32)


async def test_a_stranger_in_the_topic_does_no_harm(garden: Garden, topics: Topics, relay: MakeRelay) -> None:
    carrier = relay()
    async with relaying(carrier):
        await water(garden, 1)
        await carried(carrier)
    producer = AIOKafkaProducer(bootstrap_servers=topics.servers)
    await producer.start()
    for partition in range(8):
        await producer.send_and_wait(topics.of("garden"), b"hello", partition=partition)
    await producer.stop()
    heir = relay()
    async with relaying(heir):
        await water(garden, 1)
        await carried(heir)
    assert (heir.published, heir.refilled) == (16, 0)


async def test_after_a_restore_the_log_goes_on_in_its_new_epoch(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    """Kafka holds what the restored log never heard of. It is another past, and counts for nothing."""
    carrier = relay()
    async with relaying(carrier):
        await water(garden, 3, [GARDEN])
        await carried(carrier)
    shard = shard_of(GARDEN)
    await garden.database.execute("UPDATE relay SET position = 2 WHERE shard = $1", shard)
    await garden.database.execute("UPDATE relay_lease SET next_offset = 2 WHERE partition = $1", shard * 8 // 256)
    await garden.database.execute("UPDATE shard SET epoch = epoch + 1")
    heir = relay()
    async with relaying(heir):
        await carried(heir)
    assert (heir.published, heir.refilled) == (1, 0)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert [dict(record.headers)["ce_epoch"] for record in found.records] == [b"1", b"1", b"1", b"2"]
    assert [event.position for event in found.events] == [1, 2, 3, 3]


async def test_a_topic_that_another_log_has_filled_is_told_apart_and_left_alone(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    """As after somebody deleted the database and kept Kafka: the new events must not pass for the old ones."""
    first = relay()
    async with relaying(first):
        await water(garden, 2)
        await carried(first)
    other = relay(sink="elsewhere")  # a log that has cursors of its own, and other events in the same places
    await garden.database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await garden.database.execute("UPDATE event SET event_id = gen_random_uuid()")
    async with relaying(other):
        await eventually(lambda: other.reason is not None and other.reason.code == "TOPIC_OF_ANOTHER_LOG")
        assert other.reason is not None
        assert "is not in this log" in other.reason.message
        await water(garden, 1)
        assert other.published == 0
    assert len(await records_in(topics.bootstrap, topics.of("garden"))) == 32


async def test_a_topic_cut_another_way_is_named_and_nothing_is_sent(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    await topics.create(NewTopic(topics.of("orchard"), 3, 1))
    carrier = Relay("orchard", garden.database, topics.servers, partitions=8, owner="test", prefix=topics.prefix)
    async with relaying(carrier):
        await eventually(lambda: carrier.reason is not None)
        assert carrier.reason is not None
        assert "expected 8 partitions, found 3" in carrier.reason.message
        assert carrier.published == 0


async def test_an_event_too_large_for_the_topic_stops_its_shard_alone_and_says_so(
    garden: Garden, topics: Topics, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "TOO_LARGE_SECONDS", (0.2, 0.5))
    await set_largest(topics, 3000)
    carrier = relay()
    beside = next(each for each in organizations(40) if each not in EVERYWHERE)
    async with relaying(carrier):
        await water(garden, 1, [beside], note=noise(6000))
        await water(garden, 2)
        await eventually(lambda: carrier.reason is not None and carrier.reason.code == "RECORD_TOO_LARGE")
        assert carrier.reason is not None
        assert f"garden:{shard_of(beside)}:1" in carrier.reason.message
        await eventually(lambda: carrier.published >= 32, "the others go on")
        await carried(carrier, all_but=1)
        await set_largest(topics, 10**6)
        await carried(carrier)
        await eventually(lambda: carrier.reason is None)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []


async def test_a_topic_that_takes_small_batches_only_gets_small_batches(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    await set_largest(topics, 10_000)
    for number in range(10):
        await water(garden, 1, [GARDEN], note=noise(2000, number))
    carrier = relay()
    async with relaying(carrier):
        await carried(carrier)
    await judge(garden, topics)
    assert carrier.rewinds > 0
    assert 2 < carrier.batches < 10


async def set_largest(topics: Topics, size: int) -> None:
    async with topics.admin() as admin:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topics.of("garden"), {"max.message.bytes": str(size)})]
        )


async def test_a_relay_survives_every_connection_to_postgresql(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    carrier = relay(log=None)
    async with relaying(carrier):
        await water(garden, 1)
        await carried(carrier)
        for _ in range(3):
            await cut_all_connections(garden)
            await retried_water(garden)
        await carried(carrier)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []


async def cut_all_connections(garden: Garden) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(garden.database.dsn)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"okr {garden.database.schema}",
        )
    finally:
        await connection.close()


async def retried_water(garden: Garden) -> None:
    for organization_id in EVERYWHERE:
        async with asyncio.timeout(20):
            while True:
                try:
                    await garden.append("tree", Watered(Decimal(1)), organization_id=organization_id)
                    break
                except StoreUnavailableError:
                    pass
