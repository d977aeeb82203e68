"""Record batches to the partitions of one topic, acknowledged by all replicas, in the order they were given.

A publisher that failed is never used again: an idempotent producer whose batch failed has lost count of what the
broker has, and may go on sending that batch whenever the broker is back. It is closed for good, and a new one begins.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from okr_chassis.kafka.batches import RecordBatch

CONNECT_SECONDS = 10.0
ACK_SECONDS = 10.0
"""How long all replicas may take. The client itself would try for ever."""
CLOSE_SECONDS = 2.0


class PublishError(Exception):
    """Nobody knows what Kafka holds of what was sent; look, and send the rest again."""


class TooLargeError(PublishError):
    """The topic takes no batch of this size."""

    def __init__(self, partition: int, records: int, limit: str) -> None:
        super().__init__(f"partition {partition}: {records} records, {limit}")
        self.partition = partition
        self.records = records


class Publisher:
    """One producer, from its start to its first error."""

    def __init__(self, bootstrap: Sequence[str], topic: str) -> None:
        self.topic = topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(bootstrap),
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(ACK_SECONDS * 1000),
        )

    async def start(self, partitions: int) -> None:
        """Connect, and see that the topic is cut as expected. Raises PublishError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._producer.start()
                found = await self._producer.partitions_for(self.topic)
        except (KafkaError, OSError, TimeoutError) as error:
            raise PublishError(f"no Kafka, or no topic {self.topic}: {error!r}") from error
        if len(found) != partitions:
            raise PublishError(
                f"topic {self.topic}: expected {partitions} partitions, found {len(found)}; set "
                f"OKR_KAFKA_PARTITIONS={len(found)} everywhere, or make the topic anew"
            )

    async def send(self, batches: Mapping[int, RecordBatch]) -> dict[int, int]:
        """One batch to each partition; returns the offset after each. Raises PublishError at the first that failed."""
        try:
            async with asyncio.timeout(ACK_SECONDS):
                waiting = []
                for partition, batch in batches.items():
                    waiting.append(await self._producer.send_batch(batch, self.topic, partition=partition))
                answers = await asyncio.gather(*waiting, return_exceptions=True)
        except TimeoutError:
            raise PublishError(f"topic {self.topic}: no acknowledgement within {ACK_SECONDS:g} seconds") from None
        except (KafkaError, OSError, AssertionError) as error:
            raise PublishError(f"topic {self.topic}: {error!r}") from error
        ends = {}
        for (partition, batch), answer in zip(batches.items(), answers, strict=True):
            if isinstance(answer, MessageSizeTooLargeError | RecordListTooLargeError):
                raise TooLargeError(partition, len(batch), str(answer))
            if isinstance(answer, BaseException):
                raise PublishError(f"topic {self.topic}, partition {partition}: {answer!r}") from answer
            ends[partition] = answer.offset + len(batch)
        return ends

    async def close(self) -> None:
        """Be gone, whatever the broker does. What was not acknowledged is given up, and never sent by us again."""
        producer = self._producer
        sending = producer._sender.sender_task
        if sending is not None:
            sending.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                # The end of its connections is the end of requests nobody answers; the sender waits for no more.
                await producer.client.close()
                if sending is not None:
                    await asyncio.wait([sending])
        # Else it would wait for the batches given up until the broker is back.
        left = producer._message_accumulator
        left._pending_batches.update(batch for waiting in left._batches.values() for batch in waiting)
        given_up = list(left._pending_batches)
        for batch in given_up:
            batch.drain_ready()
        left.fail_all(PublishError("given up"))
        for batch in given_up:
            batch.future.exception()  # nobody waits for it any more, and the log need not say so
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await producer.stop()
