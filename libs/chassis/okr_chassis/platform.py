"""Services put to work: databases, logs, consumers, jobs and one gRPC server, up together and down in order."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import asyncpg
import uvloop

from okr.commands.v1.commands_pb2 import ExecuteBatchRequest, ExecuteBatchResponse
from okr.commands.v1.commands_pb2_grpc import add_CommandsServiceServicer_to_server
from okr.eventlog.v1.eventlog_pb2_grpc import add_EventLogServiceServicer_to_server
from okr.operations.v1.operations_pb2_grpc import add_OperationsServiceServicer_to_server
from okr_chassis import logs
from okr_chassis.auth import TokenVerifier, TrustedIssuer, public_keys
from okr_chassis.clock import Clock, system_clock
from okr_chassis.commands import Execute
from okr_chassis.commands_api import CommandsService
from okr_chassis.data_directory import claim, keep_secret
from okr_chassis.issuer import DevelopmentIssuer, InternalIssuer
from okr_chassis.log_api import EventLogService
from okr_chassis.memory import settle_memory
from okr_chassis.operations_api import OperationsService
from okr_chassis.pages import Pages
from okr_chassis.peers import Peers, may_answer_later
from okr_chassis.postgres import check_durability
from okr_chassis.sealing import DirectoryKeys, Keyring, Vault
from okr_chassis.server import RpcServer, check_free
from okr_chassis.service import Build, Host, Reader, Running, ServiceModule
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError, UnsafeSettingError
from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS, UPCASTERS
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, MigrationError, migrate
from okr_eventstore.model import Head
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.rebuild import RebuildError, rebuild
from okr_eventstore.runner import Runner
from okr_eventstore.tables import ensure

log = logging.getLogger(__name__)

JOB_PAUSE_SECONDS = 1.0
"""Before a job that failed is started again."""
IDLE_SECONDS = 60.0
REPORTED_EVENTS = 10_000
"""A rebuild of fewer events is over before anybody reads of it."""

Starting = Callable[[str], None]


class IdleError(Exception):
    """The platform did not come to rest: a consumer halted, or events keep causing events."""


class Platform:
    """All services in one process, over one PostgreSQL, behind one gRPC server.

        async with Platform(settings, postgres.dsn, modules) as platform:
            ...  # platform.address

    Either everything is up after `start`, or nothing is left open and StartupError says why.
    """

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        modules: Sequence[ServiceModule],
        *,
        clock: Clock = system_clock,
        port: int | None = None,
        starting: Starting | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.issuer: DevelopmentIssuer | None = None
        """Lets people in while developing; None in production."""
        self.services: dict[str, Running] = {}
        self.logs: dict[str, EventLog] = {}
        self.leaving = asyncio.Event()
        """Set when the platform begins to stop; open streams end then."""
        self._dsn = dsn
        self._modules = modules
        self._wanted_port = settings.grpc_port if port is None else port
        self._port = 0
        self._say = starting or log.debug
        self._databases: dict[str, Database] = {}
        self._keyring = Keyring()
        self._commands: CommandsService | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack: AsyncExitStack | None = None

    @property
    def address(self) -> str:
        """Where to call: host:port."""
        host = self.settings.grpc_host
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1"
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def runners(self) -> list[tuple[str, Runner]]:
        """Every consumer of this process, with its service's name."""
        return [(name, runner) for name, running in self.services.items() for runner in running.runners]

    async def __aenter__(self) -> "Platform":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                await self._start(stack)
            except MigrationError as error:
                raise StartupError(str(error)) from error
            except (StoreUnavailableError, asyncpg.PostgresError, OSError) as error:
                raise StartupError(f"PostgreSQL cannot be used: {error}; see DATABASE_URL") from error
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Take no new work, finish what runs, close everything. Harmless when it is not running."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        internal = InternalIssuer(self.settings.internal_key_file, audience=self.settings.audience)
        server = RpcServer(
            TokenVerifier([*self._people_issuers(), internal.trusted()]), reflects=self.settings.reflects
        )
        check_free(self.settings.grpc_host, self._wanted_port)

        self._say("preparing the database")
        for module in self._modules:
            await self._open(stack, module.NAME, module.MIGRATIONS)
        pages = Pages(page_secret(self.settings))
        for module in self._modules:
            host = await self._host(stack, module.NAME, internal, pages)
            self.services[module.NAME] = Running(module.build(host), host)
        for running in self.services.values():
            await self._prepare(stack, running)

        # What is pushed last stops first: word goes out, jobs and consumers finish while the services they
        # call still answer, then the server waits for its running calls.
        for running in self.services.values():
            server.add(running.service.servicers)
        self._commands = CommandsService([running.service for running in self.services.values()], self.leaving)
        stack.push_async_callback(self._commands.drain)
        server.add([(add_CommandsServiceServicer_to_server, self._commands)])
        tails = EventLogService(self.logs, self._vault(self._peers(stack, "eventlog", internal)), self.leaving)
        server.add([(add_EventLogServiceServicer_to_server, tails)])
        server.add([(add_OperationsServiceServicer_to_server, OperationsService(self.settings, self.services))])
        stack.push_async_callback(server.stop)
        stack.push_async_callback(self._stop_tasks)
        stack.callback(self.leaving.set)
        self._port = await server.start(self.settings.grpc_host, self._wanted_port)
        self._keep(self._keyring.hear(await self._source(stack, "directory")), "keyring")
        for name, runner in self.runners:
            self._keep(runner.run(), f"{name} {runner.name}")
        for running in self.services.values():
            for job in running.service.jobs:
                self._keep(self._work(running.service.name, job), f"{running.service.name} job")

    def _people_issuers(self) -> Iterable[TrustedIssuer]:
        """Whose tokens people may bring."""
        settings = self.settings
        if settings.issuer is not None:
            if settings.issuer_keys is None:
                raise UnsafeSettingError(f"OKR_ISSUER is {settings.issuer}; set OKR_ISSUER_KEYS to its public keys")
            yield TrustedIssuer(settings.issuer, settings.audience, public_keys(settings.issuer_keys))
        elif settings.production:
            raise UnsafeSettingError("OKR_ENV=production needs OKR_ISSUER and OKR_ISSUER_KEYS: whose tokens count?")
        if not settings.production:
            self.issuer = DevelopmentIssuer(settings.data_dir, audience=settings.audience, env=settings.env)
            yield self.issuer.trusted()

    async def _open(self, stack: AsyncExitStack, schema: str, migrations: Path | None = None) -> Database:
        """A service's schema, with the tables of a log and a consumer, and its own where it has some."""
        if schema not in self._databases:
            database = await Database.open(self._dsn, schema)
            stack.push_async_callback(database.close)
            if not self._databases:
                connection = await database.connect()
                try:
                    await check_durability(connection)
                finally:
                    await connection.close()
            await migrate(database, LOG_MIGRATIONS, *([migrations] if migrations else []))
            self._databases[schema] = database
        return self._databases[schema]

    async def _host(self, stack: AsyncExitStack, name: str, internal: InternalIssuer, pages: Pages) -> Host:
        database = self._databases[name]
        peers = self._peers(stack, name, internal)
        event_log, execute = None, None
        if name in EVENTS:
            clock = None if self.clock is system_clock else self.clock
            event_log = self.logs[name] = EventLog(name, database, codec_of(name), clock)
            await event_log.start()
            stack.push_async_callback(event_log.close)
            execute = Execute(name, CommandExecutor(event_log))
            stack.push_async_callback(execute.drain)
        return Host(
            name=name,
            clock=self.clock,
            settings=self.settings,
            database=database,
            log=event_log,
            reader=Reader(name, database),
            peers=peers,
            pages=pages,
            vault=self._vault(peers),
            executor=execute,
        )

    def _peers(self, stack: AsyncExitStack, name: str, internal: InternalIssuer) -> Peers:
        peers = Peers(name, internal, lambda: self.address, self.settings.peers)
        stack.push_async_callback(peers.close)
        return peers

    def _vault(self, peers: Peers) -> Vault:
        """Each service asks for keys in its own name; what one has been given serves all."""
        return Vault(DirectoryKeys(peers), self._keyring)

    async def _prepare(self, stack: AsyncExitStack, running: Running) -> None:
        """What the service itself needs, tables as this release's folds fill them, a runner for each subscription."""
        for prepare in running.service.prepare:
            await prepare()
        subscriptions = running.service.subscriptions
        projections = [each.projection for each in subscriptions if each.projection is not None]
        for projection in await ensure(running.host.database, projections):
            self._say(f"rebuilding {running.service.name}.{projection.name}: its shape or its meaning changed")
            reader = await self._source(stack, projection.source)
            try:
                await rebuild(projection, running.host.database, reader, self._report(projection.name))
            except RebuildError as error:
                # Better yesterday's rows than no platform: the consumer waits, and whoever mends the fold can look.
                self._say(f"{error}; what is read from {projection.name} stays as it was until `okr rebuild` succeeds")
                log.critical("%s could not be rebuilt and stays as it was: %s", projection.name, error)
        await self._appoint(stack, running)

    async def _appoint(self, stack: AsyncExitStack, running: Running) -> None:
        """A runner for each subscription."""
        running.runners = [
            Runner(each, running.host.database, await self._source(stack, each.to), transient=may_answer_later)
            for each in running.service.subscriptions
        ]
        running.host.reader.feed(running.runners)

    async def _source(self, stack: AsyncExitStack, service: str) -> PostgresSource:
        """The log of a service, whoever runs it: woken by calls where it is ours, by NOTIFY else."""
        return PostgresSource(service, await self._open(stack, service), codec_of(service), log=self.logs.get(service))

    def _report(self, name: str) -> Callable[[int, int], None]:
        """Say how a rebuild goes on, each tenth of it."""
        said = -1

        def report(done: int, total: int) -> None:
            nonlocal said
            tenth = 10 * done // total if total else 10
            if tenth > said and total >= REPORTED_EVENTS:
                said = tenth
                self._say(f"rebuilding {name}: {done} of {total} events")

        return report

    # --- tasks -----------------------------------------------------------------------------------

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s ended by an error nobody foresaw", task.get_name(), exc_info=task.exception())

    async def _work(self, service: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job; after an error again, since what failed was most likely a neighbour."""
        while True:
            try:
                await job()
                return
            except Exception as error:
                log.error("a job of %s failed and starts again", service, exc_info=error)
            await asyncio.sleep(JOB_PAUSE_SECONDS)

    async def _stop_tasks(self) -> None:
        await asyncio.gather(*(runner.close() for _, runner in self.runners))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def execute_batch(self, batch: ExecuteBatchRequest) -> ExecuteBatchResponse:
        """Carry out commands in the name of whoever is `calling`, as the RPC does but without a call."""
        if self._commands is None:
            raise RuntimeError("the platform has not started")
        return await self._commands.ExecuteBatch(batch, None)

    @asynccontextmanager
    async def consumers_resting(self) -> AsyncIterator[None]:
        """While inside, commands are carried out and nobody hears of them; afterwards all is heard, in large batches.

        For histories that are written at once: following each day costs several times what the day does.
        Commands that read what others have been told must wait until afterwards.
        """
        if self._stack is None:
            raise RuntimeError("the platform does not run")
        await asyncio.gather(*(runner.close() for _, runner in self.runners))
        try:
            yield
        finally:
            for running in self.services.values():
                await self._appoint(self._stack, running)
            for name, runner in self.runners:
                self._keep(runner.run(), f"{name} {runner.name}")

    # --- rest ------------------------------------------------------------------------------------

    async def wait_idle(self, timeout_seconds: float = IDLE_SECONDS) -> None:
        """Wait until every consumer has applied every event, those caused by reactions included.

        Raises IdleError naming the consumer that halted or stays behind.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        heads = await self._heads()
        while True:
            for name, runner in self.runners:
                for shard, head in heads.get(runner.subscription.to, {}).items():
                    if not await runner.caught_up(shard, head.position, max(0.0, deadline - loop.time())):
                        why = runner.reason or f"not there after {timeout_seconds:.0f} s"
                        where = f"{runner.subscription.to}:{shard}:{head.epoch}:{head.position}"
                        raise IdleError(f"{name}: {runner.name} has not reached {where} ({why})")
            again = await self._heads()
            if again == heads:
                return
            heads = again

    async def _heads(self) -> Mapping[str, Mapping[int, Head]]:
        return {name: await event_log.heads() for name, event_log in self.logs.items()}


def codec_of(service: str) -> Codec:
    """Reads and writes the events of one service."""
    return Codec(EVENTS[service], SCHEMA_VERSIONS, UPCASTERS)


def page_secret(settings: Settings) -> bytes:
    """What seals page tokens: the shared secret where one is set, else this data directory's own."""
    if settings.page_key is not None:
        return settings.page_key.get_secret_value().encode()
    return keep_secret(claim(settings.data_dir) / "pages.key", lambda: os.urandom(32))


# --- one service per process ---------------------------------------------------------------------


class _Part(NamedTuple):
    """A service module, given by its parts."""

    NAME: str
    MIGRATIONS: Path | None
    build: Build


def run(name: str, build: Build, migrations: Path | None = None) -> None:
    """Run one service in a process of its own, as `python -m okr_goals` does, until told to stop.

    DATABASE_URL says where PostgreSQL is, OKR_PEERS__NAME where the other services are,
    OKR_INTERNAL_KEY_FILE holds the key they share, OKR_GRPC_PORT is our own port.
    """
    try:
        settings = Settings.load()
        logs.configure(settings.log_level)
        settle_memory()
        uvloop.run(_serve(settings, _Part(name, migrations, build)))
    except StartupError as error:
        sys.exit(f"{name}: {error}")


async def _serve(settings: Settings, part: _Part) -> None:
    if settings.database_url is None:
        raise StartupError("a service in a process of its own needs DATABASE_URL; `okr up` brings a PostgreSQL along")
    if settings.peers and settings.internal_key_file is None:
        raise StartupError("services that call each other share a key; set OKR_INTERNAL_KEY_FILE")
    async with Platform(settings, settings.database_url, [part]) as platform:
        log.info("%s serves on %s", part.NAME, platform.address)
        await stop_signal()
        log.info("%s stops", part.NAME)


async def stop_signal() -> None:
    """Wait until somebody asks the process to end. Works in the background of scripts as well, where SIGINT
    is ignored from birth and no KeyboardInterrupt ever comes."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in signals:
        loop.add_signal_handler(each, asked.set)
    try:
        await asked.wait()
    finally:
        for each in signals:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(each)
