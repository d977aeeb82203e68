"""FastStream's batch subscriber with the options that lose nothing, written out once.

By default it would commit before handling, begin at the end of a topic it has never read, and make missing topics
itself, with one partition.
"""

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage, TopicPartition
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.subscriber.usecase import BatchSubscriber

Records = tuple[ConsumerRecord, ...]
Poll = Callable[[AIOKafkaConsumer], Coroutine[Any, Any, Records]]

BATCH_RECORDS = 1000
"""The most records handed over at once."""
FETCH_WAIT_MS = 200
"""How long a broker holds a question open while there is nothing to tell; what comes meanwhile is told at once."""
PARTITION_FETCH_BYTES = 1024 * 1024
"""What is fetched ahead of a partition, give or take one batch of its records."""
SESSION_MS = 30_000
"""How long a member may be silent before its partitions go to others. A restart within it changes nothing, because
membership is static."""
HEARTBEAT_MS = 3_000
REBALANCE_MS = 30_000
METADATA_MS = 5_000
"""How soon a topic that was deleted and made anew is found."""
POLL_INTERVAL_MS = 24 * 60 * 60 * 1000
"""A consumer that waits for its database keeps its partitions: nobody else would get further. Whether it is alive its
heartbeats say, which go on by themselves."""

_errors = logging.getLogger(f"{__name__}.faststream")
_errors.setLevel(logging.ERROR)
"""It warns at every start that it will not make topics, which is as we want it."""


def broker_of(bootstrap: Sequence[str], *, client_id: str = "okr") -> KafkaBroker:
    """FastStream's side of a connection, for reading alone."""
    return KafkaBroker(
        list(bootstrap),
        client_id=client_id,
        consumer_only=True,
        allow_auto_create_topics=False,
        apply_types=False,
        graceful_timeout=5.0,
        logger=_errors,
        # A broker that was away is asked again after a second at most, not after minutes.
        retry_backoff_ms=100,
        metadata_max_age_ms=METADATA_MS,
    )


def subscribe(
    broker: KafkaBroker,
    topic: str,
    *,
    group: str | None,
    instance: str | None = None,
    partitions: int = 0,
    listener: ConsumerRebalanceListener | None = None,
    session_ms: int = SESSION_MS,
    title: str | None = None,
    description: str | None = None,
) -> BatchSubscriber:
    """A member of a group, whose partitions Kafka deals out; or without one a reader of all `partitions`."""
    place: dict[str, Any] = {"partitions": [TopicPartition(topic, n, declare=False) for n in range(partitions)]}
    topics = (topic,) if group is not None else ()
    subscriber = broker.subscriber(
        *topics,
        batch=True,
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        group_id=group,
        group_instance_id=instance if group is not None else None,
        max_records=BATCH_RECORDS,
        max_poll_interval_ms=POLL_INTERVAL_MS,
        rebalance_timeout_ms=REBALANCE_MS,
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=min(HEARTBEAT_MS, session_ms // 3),
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        listener=listener,
        parser=as_it_came,
        decoder=unread,
        title=title,
        description=description,
        **(place if group is None else {}),
    )
    assert isinstance(subscriber, BatchSubscriber), "batch=True makes one"
    return subscriber


def polled_by(subscriber: BatchSubscriber, poll: Poll) -> None:
    """Have the subscriber's loop take its batches from `poll`.

    Its own way of asking sleeps for batch_timeout_ms whenever nothing has come, so that an event would wait half of it
    on average, and a short one keeps an idle processor busy. There is no option for it.
    """
    subscriber.get_msg = poll  # type: ignore[method-assign, assignment]  # of this one, see above


async def as_it_came(records: Records) -> KafkaMessage:
    """No look into headers or bodies: which of the records are new is found out by their place alone."""
    first, last = records[0], records[-1]
    number = f"{first.offset}-{last.offset}-{first.timestamp}"
    # Nobody acknowledges through the message: offsets are committed by hand, and as hints.
    return KafkaMessage(raw_message=records, body=b"", message_id=number, consumer=FAKE_CONSUMER)


async def unread(message: KafkaMessage) -> Records:
    return message.raw_message
