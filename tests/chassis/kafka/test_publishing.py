"""A publisher that failed is gone for good, and what it had in hand with it."""

import asyncio
import gc
import random

import pytest

from okr_chassis.kafka import publishing
from okr_chassis.kafka.batches import RecordBatch, body_of
from okr_chassis.kafka.publishing import Publisher, PublishError, TooLargeError
from okr_chassis.kafka.topics import provision, topic_of
from tests.support.kafka import LocalBroker, Topics
from tests.support.relays import records_in


def batch(*values: bytes) -> RecordBatch:
    made = RecordBatch(10**7)
    made.take([body_of(b"key", value, [("name", b"text")]) for value in values])
    return made


async def test_batches_go_to_their_partitions_and_offsets_come_back(topics: Topics) -> None:
    await topics.provision("garden")
    publisher = Publisher(topics.servers, topics.of("garden"))
    await publisher.start(8)
    assert await publisher.send({0: batch(b"a", b"b"), 5: batch(b"c")}) == {0: 2, 5: 1}
    assert await publisher.send({0: batch(b"d")}) == {0: 3}
    await publisher.close()
    found = await records_in(topics.bootstrap, topics.of("garden"))
    assert [(record.partition, record.value) for record in found] == [(0, b"a"), (0, b"b"), (0, b"d"), (5, b"c")]


async def test_what_the_topic_does_not_take_is_told_from_other_failures(topics: Topics) -> None:
    await topics.provision("garden")
    publisher = Publisher(topics.servers, topics.of("garden"))
    await publisher.start(8)
    with pytest.raises(TooLargeError) as refused:
        await publisher.send({1: batch(b"a"), 2: batch(random.Random(7).randbytes(2_000_000))})
    assert (refused.value.partition, refused.value.records) == (2, 1)
    await publisher.close()


async def test_a_publisher_that_gave_up_never_sends_what_it_had(
    own_broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client under it would go on until the broker is back, and come between what others send meanwhile."""
    monkeypatch.setattr(publishing, "ACK_SECONDS", 0.5)
    complaints: list[object] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", complaints.append, raising=True)
    servers, topic = [own_broker.bootstrap], topic_of("garden")
    await provision(servers, ["garden"])
    first = Publisher(servers, topic)
    await first.start(8)
    await first.send({0: batch(b"before")})
    await own_broker.kill()
    with pytest.raises(PublishError, match="no acknowledgement"):
        await first.send({0: batch(b"given up")})
    async with asyncio.timeout(10):
        await first.close()
    await own_broker.start()
    del first
    gc.collect()
    assert complaints == []
    second = Publisher(servers, topic)
    await second.start(8)
    for number in range(20):  # time enough for the first, were it still there
        await second.send({0: batch(b"%d" % number)})
    await second.close()
    found = await records_in(own_broker.bootstrap, topic)
    assert [record.value for record in found] == [b"before", *(b"%d" % number for number in range(20))]


async def test_without_a_broker_it_says_so_and_leaves_nothing_behind() -> None:
    publisher = Publisher(["127.0.0.1:1"], topic_of("garden"))
    with pytest.raises(PublishError, match=r"okr\.garden\.v1"):
        await publisher.start(8)
    await publisher.close()
    assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]
