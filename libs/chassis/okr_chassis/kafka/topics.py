"""A service's log in Kafka: one topic, cut by shard, kept for ever.

Topics are made before anybody writes or reads. A client that came first would get a topic of one partition with
a week's retention, without a word; so `provision` makes them, and refuses those that would lose or mix up events.

TopicsError                 a topic is not, or cannot be made, as events need it
└── BrokersAwayError        nobody answers; the same may be tried again
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from okr_chassis.startup import StartupError
from okr_eventstore.model import SHARDS

PREFIX = "okr"
ANSWER_SECONDS = 5.0
"""How long one broker may take for one answer."""
PROVISION_SECONDS = 60.0
"""How long all of it may take, new topics' leaders included."""
_POLL_SECONDS = 0.1

_KEPT_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Deletion that never comes. Compaction would keep only an organisation's last event."""
_ANY_MOMENT = {"message.timestamp.after.max.ms": str(2**63 - 1)}
"""A log whose clock runs ahead is still a log: brokers refuse records from the future otherwise."""


class TopicsError(StartupError):
    """A topic is not as events need it, or cannot be made."""


class BrokersAwayError(TopicsError):
    """None of the brokers answers."""


class Provisioned(NamedTuple):
    """A topic as it now is."""

    topic: str
    partitions: int
    replication: int
    created: bool
    """False: it was there already, as it should be."""


class _Found(NamedTuple):
    partitions: int
    replication: int
    led: bool
    """Whether every partition has a leader, so that it can be written and read."""


def topic_of(service: str, prefix: str = PREFIX) -> str:
    """The topic that holds a service's events. The version grows if ever records change their shape."""
    return f"{prefix}.{service}.v1"


def partition_of(shard: int, partitions: int) -> int:
    """The partition that holds all events of a shard: neighbours share one, and each holds equally many if it can."""
    return shard * partitions // SHARDS


async def provision(
    bootstrap: Sequence[str],
    services: Iterable[str],
    *,
    partitions: int = 8,
    replication: int = 1,
    prefix: str = PREFIX,
) -> list[Provisioned]:
    """Make the services' topics where they are missing, see that the others are right, and wait until all can be used.

    Any number of times, by any number of callers at once. Nothing that exists is changed. Raises BrokersAwayError,
    or TopicsError naming every topic that is not as it must be, what was expected, what was found, and the way out.
    """
    topics = [topic_of(service, prefix) for service in services]
    try:
        async with asyncio.timeout(PROVISION_SECONDS), _admin(bootstrap) as admin:
            await _counted_on(admin)
            existing = await _describe(admin, topics)
            missing = [topic for topic in topics if topic not in existing]
            if missing:
                await _create(admin, missing, partitions, replication)
            existing = await _led(admin, topics)
            settings = await _settings(admin, topics)
    except TimeoutError:
        raise TopicsError(
            f"the topics {', '.join(topics)} could not be used within {PROVISION_SECONDS:.0f} seconds: some of their "
            "partitions have no leader; see what the brokers log, then give the same command again"
        ) from None
    faults = [*_wrong_shapes(existing, partitions, replication), *_wrong_settings(settings)]
    if faults:
        raise TopicsError("; ".join(faults))
    return [
        Provisioned(topic, existing[topic].partitions, existing[topic].replication, topic in missing)
        for topic in topics
    ]


@asynccontextmanager
async def _admin(bootstrap: Sequence[str]) -> AsyncIterator[AIOKafkaAdminClient]:
    """A conversation with the cluster. Whatever Kafka answers that nobody here foresaw leaves as a TopicsError."""
    servers = ", ".join(bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=list(bootstrap), request_timeout_ms=int(ANSWER_SECONDS * 1000))
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as error:
            raise BrokersAwayError(
                f"no Kafka broker answers at {servers}; start one (`make kafka`) or correct OKR_KAFKA"
            ) from error
        try:
            yield admin
        except (KafkaError, OSError) as error:
            raise BrokersAwayError(f"Kafka at {servers} stopped answering ({error!r}); try again") from error
    finally:
        await admin.close()


async def _counted_on(admin: AIOKafkaAdminClient) -> None:
    """Wait until the controller gives partitions to brokers. They answer a moment before."""
    while True:
        if (await admin.describe_cluster())["brokers"]:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _describe(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, _Found]:
    """Those of the topics that exist. All are asked for: asking for one by name may bring it into being."""
    found = {}
    for topic in await admin.describe_topics():
        if topic["topic"] in topics and topic["error_code"] == 0:
            cut = topic["partitions"]
            found[topic["topic"]] = _Found(
                partitions=len(cut),
                replication=min((len(partition["replicas"]) for partition in cut), default=0),
                led=bool(cut) and all(partition["error_code"] == 0 for partition in cut),
            )
    return found


async def _led(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, _Found]:
    """All of the topics, once each partition of theirs has a leader."""
    while True:
        existing = await _describe(admin, topics)
        if len(existing) == len(topics) and all(found.led for found in existing.values()):
            return existing
        await asyncio.sleep(_POLL_SECONDS)


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[str], partitions: int, replication: int) -> None:
    configs = _KEPT_FOR_EVER | _ANY_MOMENT | {"min.insync.replicas": str(max(1, replication - 1))}
    answer = await admin.create_topics(
        [NewTopic(topic, partitions, replication, topic_configs=configs) for topic in topics]
    )
    refused = {
        str(message or for_code(code).__name__)
        for _, code, message in answer.topic_errors
        # Somebody else was faster. Whether it is the right topic is seen below.
        if code not in (0, TopicAlreadyExistsError.errno)
    }
    if refused:
        raise TopicsError(
            f"Kafka refuses to make {', '.join(topics)} with {partitions} partitions and replication {replication}: "
            f"{'; '.join(sorted(refused))} (OKR_KAFKA_PARTITIONS, OKR_KAFKA_REPLICATION, OKR_KAFKA_PREFIX)"
        )


def _wrong_shapes(existing: Mapping[str, _Found], partitions: int, replication: int) -> list[str]:
    faults = []
    for topic, found in existing.items():
        if found.partitions != partitions:
            faults.append(
                f"topic {topic}: expected {partitions} partitions, found {found.partitions}; set OKR_KAFKA_PARTITIONS="
                f"{found.partitions} everywhere, or delete the topic and let the relay fill it again from the log"
            )
        if found.replication < replication:
            faults.append(
                f"topic {topic}: expected replication {replication}, found {found.replication}; reassign its "
                f"partitions to more brokers, or set OKR_KAFKA_REPLICATION={found.replication}"
            )
    return faults


async def _settings(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each topic is configured to, of that which decides whether events stay."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(_KEPT_FOR_EVER)) for topic in topics]
    (answer,) = await admin.describe_configs(asked)
    found = {}
    for code, message, _, topic, entries in answer.resources:
        if code:
            raise TopicsError(f"topic {topic}: its settings cannot be read: {message or for_code(code).__name__}")
        found[topic] = {name: value for name, value, *_ in entries}
    return found


def _wrong_settings(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"topic {topic}: expected {name}={expected}, found {settings.get(name)}, which loses events; "
        f"set it on the topic, and if events may be lost already, delete the topic and let the relay fill it again"
        for topic, settings in found.items()
        for name, expected in _KEPT_FOR_EVER.items()
        if settings.get(name) != expected
    ]
