"""A service over Kafka and all it is made of, each part to be broken: PostgreSQL, a broker, relays, consumers."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from okr_chassis.identity.issuer import InternalIssuer, keep_internal_key
from okr_chassis.kafka.leases import LEASE_SECONDS
from okr_chassis.kafka.owner import OwnersLog
from okr_chassis.kafka.reader import KafkaReader
from okr_chassis.kafka.relay import Relay
from okr_chassis.kafka.source import OVERDUE_SECONDS
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.rebuild import Rebuilt, rebuild, verify
from okr_eventstore.tables import ensure
from tests.bus.buses import asking_log, serving_log
from tests.chaos.history import Held, History, Stream, disagreements, read
from tests.chaos.kafka.chronicle import (
    HEARD,
    REACTION,
    came,
    chronicle,
    faults_of_hearing,
    faults_of_rows,
    heard,
)
from tests.chaos.kafka.consumer_process import ConsumerProcess, consumer_process
from tests.chaos.run import PATIENCE_SECONDS, Run
from tests.chaos.writers import SAYS, Writers
from tests.eventstore.garden import Garden
from tests.support.kafka import LocalBroker, Topics, broker_of_ones_own
from tests.support.relay_process import HeldRelay, RelayProcess, relay_process
from tests.support.relays import organizations
from tests.support.waiting import due, look_again

SCHEMA = "garden"
PARTITIONS = 8
CAUGHT_UP_SECONDS = 150.0
"""How long consumers may take to have everything after the worst of faults, on a machine that has more to do."""

ORGANIZATIONS = organizations(16)
"""Two in each partition, each with a shard for itself."""
STREAMS: list[Stream] = [(organization, f"plant-{n}") for organization in ORGANIZATIONS for n in range(2)]


class Patience(NamedTuple):
    """How long relays and consumers wait before they think something wrong."""

    lease_seconds: float
    kafka_seconds: float | None
    overdue_seconds: float


HURRIED = Patience(2.0, 2.0, 3.0)
"""So that a short run sees a lot."""
USUAL = Patience(LEASE_SECONDS, None, OVERDUE_SECONDS)
"""As in production."""


class Turns:
    """Writers take turns at a bounded rate, and can be called to rest."""

    def __init__(self, writers: int, per_second: float) -> None:
        self._writers = writers
        self._pause = 1 / per_second
        self._next = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._resting = 0
        self._all_rest = asyncio.Event()

    async def turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._next = max(self._next + self._pause, loop.time())
        await due(self._next)
        self._resting += 1
        if self._resting == self._writers:
            self._all_rest.set()
        await self._open.wait()
        self._resting -= 1

    async def rest(self) -> None:
        """Return when nobody has a command under way."""
        self._open.clear()
        self._all_rest.clear()
        async with asyncio.timeout(2 * PATIENCE_SECONDS):  # a writer gives up before
            if self._resting < self._writers:
                await self._all_rest.wait()

    def resume(self) -> None:
        self._open.set()


class Site:
    """Relays and consumers as processes; the log, its owner and the writers' side in this one."""

    def __init__(
        self,
        stack: AsyncExitStack,
        directory: Path,
        postgres: EmbeddedPostgres,
        broker: LocalBroker,
        garden: Garden,
        patience: Patience,
    ) -> None:
        self.postgres = postgres
        self.broker = broker
        self.garden = garden
        self.topics = Topics(broker.bootstrap)
        self.topics.prefix = "okr"
        self.logs: list[EventLog] = [garden.log]
        self.relays: dict[str, RelayProcess] = {}
        self.consumers: dict[str, ConsumerProcess] = {}
        self._patience = patience
        self._stack = stack
        self._directory = directory
        self._number = 0
        self._complaints: IO[bytes] = stack.enter_context((directory / "processes.log").open("ab"))
        self.owner: OwnersLog
        self._address = ""
        self._keeper = Relay("garden", garden.database, [broker.bootstrap], partitions=PARTITIONS, owner="nobody")

    @property
    def database(self) -> Database:
        return self.garden.database

    def name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._number}"

    async def serve(self) -> None:
        """The log's owner, whom the consumers may ask."""
        key_file = self._directory / "internal.key"
        await asyncio.to_thread(keep_internal_key, key_file)
        internal = InternalIssuer(key_file)
        self._address = await self._stack.enter_async_context(serving_log(self.garden, internal))
        stub = await self._stack.enter_async_context(asking_log(self._address, internal))
        self.owner = OwnersLog("garden", "garden", stub, self.garden.codec)

    # --- processes ---------------------------------------------------------------------------------

    async def add_relay(self, kind: type[HeldRelay] = HeldRelay, **options: Any) -> RelayProcess:
        owner = self.name("relay")
        relay = await self._stack.enter_async_context(
            relay_process(
                self.database,
                self.topics.servers,
                self.topics.prefix,
                kind=kind,
                owner=owner,
                lease_seconds=self._patience.lease_seconds,
                patience_seconds=self._patience.kafka_seconds,
                complaints=self._complaints,
                **options,
            )
        )
        self.relays[owner] = relay
        return relay

    async def add_consumer(self, instance: str | None = None) -> str:
        """Its name in the group; the name of one that died makes it that one again."""
        instance = instance or self.name("consumer")
        settings: Mapping[str, Any] = {
            "dsn": self.database.dsn,
            "schema": SCHEMA,
            "bootstrap": self.topics.servers,
            "prefix": self.topics.prefix,
            "owner": self._address,
            "key_file": str(self._directory / "internal.key"),
            "instance": instance,
            "overdue_seconds": self._patience.overdue_seconds,
        }
        self.consumers[instance] = await self._stack.enter_async_context(consumer_process(settings, self._complaints))
        return instance

    async def statuses(self) -> dict[str, dict[str, Any]]:
        return {name: await consumer.status() for name, consumer in self.consumers.items()}

    # --- what is so --------------------------------------------------------------------------------

    async def leases_of(self, *owners: str) -> int:
        """How many partitions these relays hold, by the database's clock."""
        with contextlib.suppress(StoreUnavailableError):
            held: int = await self.database.fetchval(
                """SELECT count(*) FROM relay_lease
                    WHERE split_part(owner, ':', 1) = ANY($1) AND leased_until > clock_timestamp()""",
                owners,
            )
            return held
        return 0

    async def caught_up(self) -> None:
        """Wait until Kafka has all of the log, and every consumer all of Kafka."""
        try:
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                await self.carried()
                while await self.behind():
                    pass  # asking takes long enough
        except TimeoutError:
            raise AssertionError(
                f"not caught up within {CAUGHT_UP_SECONDS:.0f} s: Kafka lacks {await self._keeper.behind()} events, "
                f"consumers lack {await self.behind()}: {await self.statuses()}; see {self._complaints.name}"
            ) from None

    async def carried(self) -> None:
        """Wait until Kafka has all of the log."""
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            while await self._keeper.behind():
                pass  # asking takes long enough

    async def behind(self) -> dict[str, int]:
        """By consumer, how many events it has not applied."""
        rows = await self.database.fetch(
            """SELECT each.consumer, sum(shard.head - coalesce(checkpoint.position, 0))::bigint AS events
                 FROM (SELECT name || '@' || generation AS consumer FROM projection WHERE name = $1
                       UNION ALL VALUES ($2)) AS each
                CROSS JOIN shard
                 LEFT JOIN checkpoint
                        ON checkpoint.consumer = each.consumer AND checkpoint.shard = shard.shard AND source = 'garden'
                GROUP BY each.consumer HAVING sum(shard.head - coalesce(checkpoint.position, 0)) > 0""",
            *(chronicle.name, REACTION),
        )
        return {row["consumer"]: row["events"] for row in rows}

    async def faults(self, history: History) -> list[str]:
        """Every broken promise, once everything has caught up."""
        held = await self.held()
        found = [
            *disagreements(history, held),
            *faults_of_rows(await came(self.database), held),
            *faults_of_hearing(await heard(self.database), held),
        ]
        parked = await self.database.fetchval("SELECT count(*) FROM parked")
        if parked:
            found.append(f"{parked} events are parked")
        tailed = await verify(chronicle, self.database, PostgresSource("garden", self.database, self.garden.codec))
        if not tailed.equal:
            found.append(f"the rows are not those of a rebuild from the log: {tailed}")
        async with self._topic() as reader:
            from_kafka = await verify(chronicle, self.database, reader)
        if not from_kafka.equal:
            found.append(f"the rows are not those of a rebuild from offset 0: {from_kafka}")
        return found

    async def rebuild(self) -> Rebuilt:
        """As soon as Kafka and PostgreSQL let us."""
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            while True:
                with contextlib.suppress(StoreUnavailableError):
                    async with self._topic() as reader:
                        return await rebuild(chronicle, self.database, reader)
                await look_again()

    def _topic(self) -> KafkaReader:
        return KafkaReader("garden", self.topics.servers, self.owner, self.garden.codec)

    async def held(self) -> Held:
        return await read(self.database.dsn, SCHEMA, SAYS)


@asynccontextmanager
async def site(
    directory: Path, *, relays: int = 2, consumers: int = 2, patience: Patience = HURRIED
) -> AsyncIterator[Site]:
    assert len({shard_of(organization) for organization in ORGANIZATIONS}) == len(ORGANIZATIONS)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_of_ones_own(directory / "kafka"))
        postgres = await stack.enter_async_context(EmbeddedPostgres(directory / "data"))
        database = await opened(stack, postgres.dsn)
        await migrate(database, LOG_MIGRATIONS)
        await ensure(database, [chronicle])
        await database.execute(HEARD)
        garden = Garden(database)
        await garden.log.start()
        stack.push_async_callback(garden.log.close)
        built = Site(stack, directory, postgres, broker, garden, patience)
        other = EventLog("garden", await opened(stack, postgres.dsn), garden.codec)
        await other.start()
        stack.push_async_callback(other.close)
        built.logs.append(other)
        await built.topics.provision("garden", partitions=PARTITIONS)
        await built.serve()
        for _ in range(relays):
            await built.add_relay()
        for _ in range(consumers):
            await built.add_consumer()
        yield built


async def opened(stack: AsyncExitStack, dsn: str) -> Database:
    database = await Database.open(dsn, SCHEMA)
    stack.push_async_callback(database.close)
    return database


@asynccontextmanager
async def at_work(writers: Writers, built: Site, count: int, run: Run) -> AsyncIterator["list[asyncio.Task[None]]"]:
    """So many writers, half of them through each log; nobody writes when this is left."""
    writing = [
        asyncio.create_task(writers.write(built.logs[number % 2], run.choices(f"writer {number}")))
        for number in range(count)
    ]
    try:
        yield writing
        writers.stop()
        await asyncio.gather(*writing)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)


def one_of(choices: random.Random, things: Mapping[str, Any]) -> str:
    return choices.choice(sorted(things))
