"""Where it happens: one broker, the log of checkins with a year of many small organisations, its topic."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.harness import Meter
from bench.history import Town, towns_apart, write_check_ins
from bench.stage import codec_of, schema
from okr_chassis.kafka.relay import Relay
from okr_chassis.kafka.topics import provision, topic_of
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.log import read_heads, read_page
from okr_eventstore.model import Head, RecordedEvent
from okr_eventstore.projection import Projection
from okr_eventstore.tables import ensure
from tools.kafka.broker import LocalBroker
from tools.kafka.installation import KafkaMissingError

SERVICE = "checkins"
PARTITIONS = 8
ORGANIZATIONS = 60
KEY_RESULTS = 20
PATIENCE_SECONDS = 60.0


class NoKafkaError(Exception):
    """There is no broker, and no Java to start one."""


@dataclass
class Stage:
    """What all figures of Kafka stand on. Every topic of theirs has a prefix nobody else has."""

    meter: Meter
    dsn: str
    bootstrap: list[str]
    broker: LocalBroker | None
    """The broker, if it is ours."""
    database: Database
    towns: Sequence[Town]
    prefix: str = field(default_factory=lambda: f"bench-{uuid4().hex[:8]}")
    _numbers: "count[int]" = field(default_factory=count)
    _filled: bool = False

    @property
    def events(self) -> int:
        return sum(town.events for town in self.towns)

    @property
    def codec(self) -> Codec:
        return codec_of(SERVICE)

    @property
    def owner(self) -> "LogOwner":
        return LogOwner(self.database)

    def number(self) -> int:
        """Another one each time: for names that nobody had before."""
        return next(self._numbers)

    async def new_prefix(self) -> str:
        """A prefix whose topic of checkins is there, and empty."""
        prefix = f"{self.prefix}-{self.number()}"
        await provision(self.bootstrap, [SERVICE], partitions=PARTITIONS, prefix=prefix)
        return prefix

    async def filled(self) -> str:
        """The prefix whose topic holds the whole log: carried once, read by many."""
        if self._filled:
            return self.prefix
        await provision(self.bootstrap, [SERVICE], partitions=PARTITIONS, prefix=self.prefix)
        relay = Relay(
            SERVICE, self.database, self.bootstrap, partitions=PARTITIONS, owner="filling", sink="filled",
            prefix=self.prefix,
        )  # fmt: skip
        async with running(relay):
            await until(lambda: relay.published >= self.events)
        self._filled = True
        return self.prefix

    @asynccontextmanager
    async def tables(self, projection: Projection) -> AsyncIterator[Database]:
        """Empty tables of a projection, in a schema of their own."""
        async with schema(self.dsn, f"reading_{self.number()}") as database:
            await ensure(database, [projection])
            yield database

    @asynccontextmanager
    async def reading(self, prefix: str, topic: str = SERVICE) -> AsyncIterator[AIOKafkaConsumer]:
        """A bare client that reads all partitions from their beginnings."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )  # fmt: skip
        await client.start()
        try:
            client.assign([TopicPartition(topic_of(topic, prefix), number) for number in range(PARTITIONS)])
            yield client
        finally:
            await client.stop()


class LogOwner:
    """The log's owner, asked without gRPC: nothing here lacks an event, so it is asked for heads alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self) -> dict[int, Head]:
        return await read_heads(self._database)

    async def read(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        return await read_page(self._database, codec_of(SERVICE), shard, after, up_to - after)


@asynccontextmanager
async def kafka(meter: Meter, dsn: str) -> AsyncIterator[Stage]:
    """The broker of KAFKA_BOOTSTRAP, or one of our own that leaves nothing behind. Raises NoKafkaError."""
    # The broker goes away on purpose; that clients say so on stderr helps nobody.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    async with AsyncExitStack() as stack:
        given, broker = os.environ.get("KAFKA_BOOTSTRAP"), None
        if not given:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="okr-bench-")))
            broker = LocalBroker(directory, steady=True)
            try:
                await stack.enter_async_context(broker)
            except KafkaMissingError as error:
                raise NoKafkaError(f"{error}; or name a broker with KAFKA_BOOTSTRAP") from error
            watch(meter, broker)
            stack.callback(forget, meter, broker)
        bootstrap = given.split(",") if given else [broker.bootstrap] if broker is not None else []
        database = await stack.enter_async_context(schema(dsn, SERVICE))
        each = max(1, meter.scale.bus_events // (ORGANIZATIONS * KEY_RESULTS))
        towns = towns_apart(ORGANIZATIONS, KEY_RESULTS, each)
        await write_check_ins(database, codec_of(SERVICE), towns)
        await database.execute("VACUUM ANALYZE event")
        stage = Stage(meter, dsn, bootstrap, broker, database, towns)
        if given:
            stack.push_async_callback(_delete_topics, stage)
        yield stage


def watch(meter: Meter, broker: LocalBroker) -> None:
    """The broker's CPU is told beside that of servers."""
    if broker.pid is not None:
        meter.watch(broker.pid)


def forget(meter: Meter, broker: LocalBroker) -> None:
    if broker.pid is not None:
        meter.forget(broker.pid)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """A relay at work, that has given its leases back in the end."""
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        await relay.close()
        await task


async def until(true: Callable[[], object], pause_seconds: float = 0.002) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110  # see above
            await asyncio.sleep(pause_seconds)


async def _delete_topics(stage: Stage) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.bootstrap)
    await admin.start()
    try:
        ours = [topic for topic in await admin.list_topics() if topic.startswith(stage.prefix)]
        if ours:
            await admin.delete_topics(ours)
    finally:
        await admin.close()
