"""The two buses as the contract sees them: the same log, heard from PostgreSQL or from Kafka.

Both can be told to skip events and to repeat them, and both deal out shards among the members of a consumer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub, add_EventLogServiceServicer_to_server
from okr_chassis.identity.auth import TokenVerifier, caller
from okr_chassis.identity.issuer import InternalIssuer
from okr_chassis.kafka.owner import OwnersLog
from okr_chassis.kafka.reader import KafkaReader
from okr_chassis.kafka.records import Record, record_of
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.kafka.topics import partition_of
from okr_chassis.rpc.channels import connect
from okr_chassis.sealing import Keyring, Vault
from okr_chassis.serving.log_api import EventLogService
from okr_chassis.serving.server import RpcServer
from okr_eventstore.model import SHARDS, RecordedEvent, ShardBatch
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.refolding import LogReader
from okr_eventstore.source import EventSource
from tests.eventstore.garden import Garden
from tests.support.kafka import Topics

PARTITIONS = 4
SESSION_MS = 6000
"""The shortest that brokers allow: so long a member that has left is waited for."""


class Bus(Protocol):
    """What carries the garden's events."""

    skipped: set[int]
    """Positions that get lost on the way, in every shard."""
    repeats: bool
    """Everything comes twice."""
    backfilled: list[tuple[int, int]]
    """What was asked from the log's owner: after, up to."""

    def source(self, consumer: str = "plants") -> EventSource:
        """One that hears all shards by itself."""

    def member(self, instance: str, consumer: str = "plants") -> EventSource:
        """One that shares the shards with the others of the same consumer."""

    def reading(self) -> contextlib.AbstractAsyncContextManager[LogReader]:
        """The log from its beginning, as the bus has it."""


class _TailedSource(PostgresSource):
    """The log itself, tailed, seen through what its bus does to it, and shared with the others of its consumer."""

    def __init__(self, bus: "PostgresBus", share: Callable[[], frozenset[int]], joined: Callable[[EventSource], None]):
        garden = bus.garden
        super().__init__("garden", garden.database, garden.codec, log=garden.log)
        self._bus = bus
        self._share = share
        self._joined = joined

    async def start(self) -> None:
        await super().start()
        self._joined(self)

    async def close(self) -> None:
        self._bus.left(self)
        await super().close()

    async def assignments(self) -> frozenset[int]:
        return self._share()

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        mine = self._share()
        batches = []
        for batch in await super().fetch(min(timeout_seconds, 0.05)):
            events = [event for event in batch.events if event.position not in self._bus.skipped]
            if batch.shard in mine:
                again = events[:2] if self._bus.repeats else []
                batches.append(ShardBatch(batch.shard, batch.epoch, [*again, *events]))
        return batches

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        self._bus.backfilled.append((after, up_to))
        return await super().backfill(shard, after, up_to)


class PostgresBus:
    def __init__(self, garden: Garden) -> None:
        self.garden = garden
        self.skipped: set[int] = set()
        self.repeats = False
        self.backfilled: list[tuple[int, int]] = []
        self._members: list[EventSource] = []

    def source(self, consumer: str = "plants") -> EventSource:
        return _TailedSource(self, lambda: frozenset(range(SHARDS)), lambda _: None)

    def member(self, instance: str, consumer: str = "plants") -> EventSource:
        def share() -> frozenset[int]:
            if source not in self._members:
                return frozenset()
            place, members = self._members.index(source), len(self._members)
            return frozenset(shard for shard in range(SHARDS) if partition_of(shard, PARTITIONS) % members == place)

        source = _TailedSource(self, share, self._members.append)
        return source

    def left(self, source: EventSource) -> None:
        if source in self._members:
            self._members.remove(source)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[LogReader]:
        yield self.garden.source()


class _Owner(OwnersLog):
    """The log's owner over gRPC, and what it was asked for."""

    def __init__(self, bus: "KafkaBus", stub: EventLogServiceStub) -> None:
        super().__init__("garden", "garden", stub, bus.garden.codec)
        self._bus = bus

    async def read(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        self._bus.backfilled.append((after, up_to))
        return await super().read(shard, after, up_to)


class KafkaBus:
    """A topic that a small relay of our own fills, and the log's owner behind gRPC."""

    def __init__(self, garden: Garden, topics: Topics) -> None:
        self.garden = garden
        self.topics = topics
        self.skipped: set[int] = set()
        self.repeats = False
        self.backfilled: list[tuple[int, int]] = []
        self.owner: OwnersLog
        self._woken = asyncio.Event()
        self._carried = dict.fromkeys(range(SHARDS), 0)

    def source(self, consumer: str = "plants", **options: Any) -> KafkaSource:
        return self.member("alone", f"{consumer}-alone", **options)

    def member(self, instance: str, consumer: str = "plants", **options: Any) -> KafkaSource:
        options.setdefault("group", self.topics.group(consumer))
        return KafkaSource(
            *("garden", self.topics.servers, self.owner, self.garden.codec),
            **{"instance": instance, "prefix": self.topics.prefix, "session_ms": SESSION_MS, **options},
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[LogReader]:
        async with KafkaReader(
            "garden", self.topics.servers, self.owner, self.garden.codec, prefix=self.topics.prefix
        ) as reader:
            yield reader

    def forget(self) -> None:
        """Carry everything once more, as after the topic was made anew."""
        self._carried = dict.fromkeys(range(SHARDS), 0)

    async def carry(self) -> None:
        """Publish what has come since the last time."""
        for shard, head in (await self.garden.log.heads()).items():
            while self._carried[shard] < head.position:
                await self._carry_page(shard, head.epoch)

    async def _carry_page(self, shard: int, epoch: int) -> None:
        after = self._carried[shard]
        events = await self.garden.log.read_shard(shard, after)
        stored = await self.garden.database.fetch(
            "SELECT data::text FROM event WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3",
            *(shard, after, len(events)),
        )
        times = 2 if self.repeats else 1
        records = [
            record_of(event, epoch, "garden", row["data"].encode())
            for event, row in zip(events, stored, strict=True)
            if event.position not in self.skipped
        ]
        await asyncio.gather(*[await self.send(record, shard) for record in records for _ in range(times)])
        self._carried[shard] = events[-1].position

    async def send(self, record: Record, shard: int) -> "asyncio.Future[Any]":
        acknowledged: asyncio.Future[Any] = await self._producer.send(
            self.topics.of("garden"),
            record.value,
            record.key,
            partition=partition_of(shard, PARTITIONS),
            headers=list(record.headers),
        )
        return acknowledged

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KafkaBus"]:
        async with AsyncExitStack() as stack:
            await self.topics.provision("garden", partitions=PARTITIONS)
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.topics.servers, acks="all", enable_idempotence=True, linger_ms=0
            )
            await self._producer.start()
            stack.push_async_callback(self._producer.stop)
            self.owner = _Owner(self, await stack.enter_async_context(owner_of(self.garden)))
            stack.callback(self.garden.log.listen(lambda _: self._woken.set()))
            carrying = asyncio.create_task(self._carry())
            try:
                yield self
            finally:
                carrying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await carrying

    async def _carry(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.carry()


@asynccontextmanager
async def owner_of(garden: Garden) -> AsyncIterator[EventLogServiceStub]:
    """The garden's log behind a real gRPC server, as a service that may ask it sees it."""
    internal = InternalIssuer()
    async with serving_log(garden, internal) as address, asking_log(address, internal) as stub:
        yield stub


@asynccontextmanager
async def serving_log(garden: Garden, internal: InternalIssuer) -> AsyncIterator[str]:
    """Where the garden's log answers other services."""
    server = RpcServer(TokenVerifier([internal.trusted()]), reflects=False)
    service = EventLogService({"garden": garden.log}, Vault(_NoKeys(), Keyring()), asyncio.Event())
    server.add([(add_EventLogServiceServicer_to_server, service)])
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def asking_log(address: str, internal: InternalIssuer) -> AsyncIterator[EventLogServiceStub]:
    """Another service's way to it."""
    channel = connect(address, lambda: internal.issue("garden", caller()))
    try:
        yield EventLogServiceStub(channel)
    finally:
        await channel.close()


class _NoKeys:
    """Nothing in a garden is sealed."""

    async def ask(self, person_ids: Sequence[Any], *, make_own: bool) -> dict[Any, Any]:
        return {}
