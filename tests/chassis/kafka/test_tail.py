"""A new owner learns from Kafka itself what its predecessor had sent, and notices what is gone."""

from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from okr_chassis.kafka import records
from okr_chassis.kafka import tail as tail_module
from okr_chassis.kafka.batches import RecordBatch, body_of
from okr_chassis.kafka.leases import Cursor, Progress, Standing
from okr_chassis.kafka.publishing import Publisher
from okr_chassis.kafka.records import Headers, Place
from okr_chassis.kafka.tail import TailReader
from tests.support.kafka import Topics

PARTITION = 3


@pytest.fixture
async def topic(topics: Topics) -> str:
    await topics.provision("garden")
    return topics.of("garden")


@pytest.fixture
async def publisher(topics: Topics, topic: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(topics.servers, topic)
    await publisher.start(8)
    yield publisher
    await publisher.close()


@pytest.fixture
async def tails(topics: Topics, topic: str) -> AsyncIterator[TailReader]:
    tails = TailReader(topics.servers, topic)
    await tails.start()
    yield tails
    await tails.close()


async def send(publisher: Publisher, *places: tuple[int, int], epoch: int = 1) -> None:
    """Records of (shard, position)."""
    batch = RecordBatch(10**6)
    for shard, position in places:
        headers = {"ce_shard": shard, "ce_epoch": epoch, "ce_position": position}
        ours = [(name, b"%d" % number) for name, number in headers.items()]
        batch.take([body_of(b"", b"{}", [("ce_id", str(UUID(int=position)).encode()), *ours])])
    await publisher.send({PARTITION: batch})


def standing(next_offset: int, epoch: int = 1, **positions: int) -> Standing:
    """How far shards 100 and 101 had come when that was stored last."""
    return Standing(next_offset, {shard: Cursor(positions.get(f"s{shard}", 0), epoch) for shard in (100, 101)})


def run(shard: int, positions: Iterable[int]) -> list[tuple[int, int]]:
    return [(shard, position) for position in positions]


async def test_an_empty_partition_that_was_never_written_is_as_it_should_be(tails: TailReader) -> None:
    assert (await tails.look(PARTITION, standing(0)))[:2] == (Progress(0, {}), True)


async def test_what_was_sent_before_anything_was_stored_is_found(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, (100, 1), (101, 1), (100, 2))
    assert (await tails.look(PARTITION, standing(0)))[:2] == (Progress(3, {100: 2, 101: 1}), True)


async def test_what_was_sent_since_the_last_cursors_moves_them_on(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, (100, 1), (101, 1))
    await send(publisher, (100, 2), (100, 3))
    assert (await tails.look(PARTITION, standing(2, s100=1, s101=1)))[:2] == (Progress(4, {100: 3}), True)


async def test_the_last_event_of_each_shard_that_was_seen_is_named(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, (100, 1), (101, 1), (101, 2))
    assert (await tails.look(PARTITION, standing(1, s100=1))).events == {100: (1, UUID(int=1)), 101: (2, UUID(int=2))}


async def test_only_what_follows_the_stored_offset_is_read(
    tails: TailReader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(1, 2000, 100):
        await send(publisher, *run(100, range(first, first + 100)))
    seen: list[Place] = []

    def place_of(headers: Headers) -> Place:
        seen.append(records.place_of(headers))
        return seen[-1]

    monkeypatch.setattr(tail_module, "place_of", place_of)
    assert (await tails.look(PARTITION, standing(1900, s100=1900))).progress == Progress(2000, {100: 2000})
    assert [place.position for place in seen] == list(range(1900, 2001))


async def test_repeats_and_strangers_do_not_confuse_it(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, (100, 1), (100, 2))
    stranger = RecordBatch(10**6)
    stranger.take([body_of(b"", b"hello", [])])
    await publisher.send({PARTITION: stranger})
    await send(publisher, (100, 1), (100, 2), (100, 3), (7, 1))
    assert (await tails.look(PARTITION, standing(2, s100=2)))[:2] == (Progress(7, {100: 3}), True)


async def test_an_emptied_topic_is_to_be_filled_from_the_beginning(tails: TailReader) -> None:
    assert (await tails.look(PARTITION, standing(5, s100=5)))[:2] == (Progress(0, {100: 0, 101: 0}), False)


async def test_a_topic_that_lost_its_end_goes_on_where_it_now_ends(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, (100, 1), (101, 1), (100, 2))
    assert (await tails.look(PARTITION, standing(9, s100=6, s101=3)))[:2] == (Progress(3, {100: 2, 101: 1}), False)


async def test_a_topic_that_grew_again_after_it_was_emptied_is_not_mistaken_for_the_old_one(
    tails: TailReader, publisher: Publisher
) -> None:
    """It reaches beyond the stored offset; what lies before that is another record."""
    await send(publisher, (100, 1), (100, 2), (100, 5), (101, 1))
    assert (await tails.look(PARTITION, standing(2, s100=4)))[:2] == (Progress(4, {100: 2, 101: 1}), False)


async def test_a_topic_that_lost_its_beginning_is_filled_again(
    tails: TailReader, publisher: Publisher, topics: Topics, topic: str
) -> None:
    await send(publisher, *run(100, range(1, 6)))
    async with topics.admin() as admin:
        await admin.delete_records({TopicPartition(topic, PARTITION): RecordsToDelete(before_offset=5)})
    assert (await tails.look(PARTITION, standing(5, s100=5)))[:2] == (Progress(5, {100: 0, 101: 0}), False)


async def test_what_another_past_of_the_log_sent_counts_for_nothing(tails: TailReader, publisher: Publisher) -> None:
    await send(publisher, *run(100, range(1, 6)))
    assert (await tails.look(PARTITION, standing(3, epoch=2, s100=3)))[:2] == (Progress(5, {}), True)
    await send(publisher, (100, 4), epoch=2)
    assert (await tails.look(PARTITION, standing(3, epoch=2, s100=3)))[:2] == (Progress(6, {100: 4}), True)
    assert (await tails.look(PARTITION, standing(99, epoch=2, s100=3)))[:2] == (Progress(6, {100: 4, 101: 0}), False)
