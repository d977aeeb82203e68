"""Topics are made as events need them, and those that would lose or mix up events are refused."""

import asyncio
from collections import Counter

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from okr_chassis.kafka.topics import BrokersAwayError, Provisioned, TopicsError, partition_of, provision, topic_of
from okr_eventstore.model import SHARDS
from tests.support.kafka import Topics
from tools.kafka.broker import free_port

FOR_EVER = {"retention.ms": "-1"}


def test_a_topic_is_named_by_its_service_and_the_version_of_its_records() -> None:
    assert topic_of("goals") == "okr.goals.v1"
    assert topic_of("goals", prefix="staging.okr") == "staging.okr.goals.v1"


@pytest.mark.parametrize("partitions", [1, 2, 8, 64, 256])
def test_every_partition_holds_equally_many_shards_in_order(partitions: int) -> None:
    placed = [partition_of(shard, partitions) for shard in range(SHARDS)]
    assert placed == sorted(placed)
    assert Counter(placed) == dict.fromkeys(range(partitions), SHARDS // partitions)


@pytest.mark.parametrize("partitions", [3, 12, 100])
def test_a_number_of_partitions_that_divides_nothing_still_leaves_none_empty(partitions: int) -> None:
    sizes = Counter(partition_of(shard, partitions) for shard in range(SHARDS))
    assert set(sizes) == set(range(partitions))
    assert max(sizes.values()) - min(sizes.values()) <= 1


async def test_topics_are_made_once_and_found_as_they_should_be_ever_after(topics: Topics) -> None:
    first = await topics.provision("goals", "checkins")
    second = await topics.provision("goals", "checkins", "insights")
    assert first == [
        Provisioned(topics.of("goals"), partitions=8, replication=1, created=True),
        Provisioned(topics.of("checkins"), partitions=8, replication=1, created=True),
    ]
    assert [each.created for each in second] == [False, False, True]
    assert await topics.names() == {topics.of(service) for service in ("goals", "checkins", "insights")}


async def test_what_is_made_keeps_every_event_whatever_its_moment(topics: Topics) -> None:
    await topics.provision("goals")
    async with topics.admin() as admin:
        asked = ConfigResource(ConfigResourceType.TOPIC, topics.of("goals"))
        (answer,) = await admin.describe_configs([asked])
    settings = {name: value for name, value, *_ in answer.resources[0][4]}
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    assert {name: settings[name] for name in kept} == kept
    assert settings["message.timestamp.after.max.ms"] == str(2**63 - 1)


async def test_any_number_may_provision_at_once(topics: Topics) -> None:
    all_told = await asyncio.gather(*(topics.provision("goals", "directory") for _ in range(6)))
    assert {tuple(each.topic for each in told) for told in all_told} == {(topics.of("goals"), topics.of("directory"))}
    assert await topics.names() == {topics.of("goals"), topics.of("directory")}


async def test_a_topic_cut_otherwise_is_refused_with_both_numbers_and_the_way_out(topics: Topics) -> None:
    await topics.provision("goals", partitions=4)
    with pytest.raises(TopicsError) as refused:
        await topics.provision("goals", partitions=8)
    told = str(refused.value)
    assert f"topic {topics.of('goals')}: expected 8 partitions, found 4" in told
    assert "OKR_KAFKA_PARTITIONS=4" in told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"retention.ms": "604800000"}, "expected retention.ms=-1, found 604800000"),
        (FOR_EVER | {"retention.bytes": "1073741824"}, "expected retention.bytes=-1, found 1073741824"),
        (FOR_EVER | {"cleanup.policy": "compact"}, "expected cleanup.policy=delete, found compact"),
        (FOR_EVER | {"cleanup.policy": "compact,delete"}, "expected cleanup.policy=delete, found compact,delete"),
    ],
)
async def test_a_topic_that_forgets_is_refused(settings: dict[str, str], told: str, topics: Topics) -> None:
    await topics.create(NewTopic(topics.of("goals"), 8, 1, topic_configs=settings))
    with pytest.raises(TopicsError, match="which loses events") as refused:
        await topics.provision("goals")
    assert f"topic {topics.of('goals')}: {told}" in str(refused.value)


async def test_all_that_is_wrong_is_told_at_once_and_nothing_of_it_is_changed(topics: Topics) -> None:
    await topics.create(NewTopic(topics.of("goals"), 2, 1, topic_configs={"retention.ms": "1000"}))
    await topics.provision("checkins", partitions=4)
    for _ in range(2):
        with pytest.raises(TopicsError) as refused:
            await topics.provision("goals", "checkins")
        assert str(refused.value).count("; topic") == 2


async def test_more_copies_than_there_are_brokers_are_refused_in_kafkas_own_words(topics: Topics) -> None:
    with pytest.raises(TopicsError, match=r"replication 300.*only .* broker.*OKR_KAFKA_REPLICATION"):
        await provision(topics.servers, ["goals"], replication=300, prefix=topics.prefix)
    assert await topics.names() == set()


async def test_fewer_copies_than_asked_for_are_not_passed_over(topics: Topics) -> None:
    await topics.provision("goals")
    with pytest.raises(TopicsError, match="expected replication 3, found 1"):
        await provision(topics.servers, ["goals"], replication=3, prefix=topics.prefix)


async def test_a_broker_that_is_away_is_told_by_its_address() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokersAwayError, match=f"no Kafka broker answers at {nowhere};.*OKR_KAFKA"):
        await provision([nowhere], ["goals"])


async def test_one_broker_that_answers_is_enough(topics: Topics) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    (made,) = await provision([nowhere, *topics.servers], ["goals"], prefix=topics.prefix)
    assert made.created
