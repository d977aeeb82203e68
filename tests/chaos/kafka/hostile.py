"""Somebody who writes to the topic what no relay would: copies, swaps, everything once more."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.support.kafka import Topics
from tests.support.relays import records_in


class Hostile:
    def __init__(self, topics: Topics, producer: AIOKafkaProducer) -> None:
        self._topics = topics
        self._producer = producer

    async def records(self) -> list[Any]:
        """All there is, partition by partition."""
        return await records_in(self._topics.bootstrap, self._topics.of("garden"))

    async def write(self, records: Sequence[Any]) -> None:
        """In this order, each to the partition it came from, unchanged."""
        for record in records:
            await self._producer.send(
                record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
            )
        await self._producer.flush()


@asynccontextmanager
async def hostile(topics: Topics) -> AsyncIterator[Hostile]:
    producer = AIOKafkaProducer(bootstrap_servers=topics.servers, acks="all", linger_ms=5)
    await producer.start()
    try:
        yield Hostile(topics, producer)
    finally:
        await producer.stop()


def swapped(records: Sequence[Any], choices: random.Random) -> list[Any]:
    """About a quarter change places with their neighbours."""
    found = list(records)
    for place in range(1, len(found)):
        if choices.random() < 0.25:
            found[place - 1], found[place] = found[place], found[place - 1]
    return found
