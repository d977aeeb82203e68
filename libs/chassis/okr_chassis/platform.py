"""Services put to work: databases, logs, consumers, jobs and one gRPC server, up together and down in order."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import chain
from types import TracebackType

import asyncpg

from okr.commands.v1.commands_pb2 import ExecuteBatchRequest, ExecuteBatchResponse
from okr.commands.v1.commands_pb2_grpc import add_CommandsServiceServicer_to_server
from okr.eventlog.v1.eventlog_pb2_grpc import add_EventLogServiceServicer_to_server
from okr.operations.v1.operations_pb2_grpc import add_OperationsServiceServicer_to_server
from okr_chassis.buses.bus import Bus, PostgresBus
from okr_chassis.buses.sharing import Shares
from okr_chassis.clock import Clock, system_clock
from okr_chassis.codecs import codec_of
from okr_chassis.identity.auth import TokenVerifier
from okr_chassis.identity.issuer import DevelopmentIssuer, InternalIssuer, development_issuer, people_issuers
from okr_chassis.idle import wait_idle
from okr_chassis.preparing import Starting, prepare
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.pages import Pages
from okr_chassis.rpc.peers import Peers, may_answer_later
from okr_chassis.sealing import DirectoryKeys, Keyring, Vault
from okr_chassis.service import Host, Reader, Running, ServiceModule
from okr_chassis.serving.commands_api import CommandsService
from okr_chassis.serving.log_api import EventLogService
from okr_chassis.serving.operations_api import OperationsService
from okr_chassis.serving.server import RpcServer, check_free
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_chassis.storage.data_directory import claim, keep_secret
from okr_chassis.storage.schemas import Schemas
from okr_chassis.tasks import Tasks
from okr_chassis.telemetry import trail
from okr_chassis.telemetry.running import for_service
from okr_chassis.watching.watch import Watching
from okr_contracts.registry import EVENTS
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import MigrationError
from okr_eventstore.runner import Runner

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
KEYS_OF = "directory"
"""Whose log tells that somebody's key exists no more."""


class Platform:
    """Services in one process, over one PostgreSQL, behind one gRPC server: all of them, or one of many processes.

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
        among_others: bool = False,
    ) -> None:
        """`among_others` is a process that shares the work with copies of itself, and waits for other services."""
        self.settings = settings
        self.clock = clock
        self.issuer: DevelopmentIssuer | None = None
        """Lets people in while developing; None in production."""
        self.services: dict[str, Running] = {}
        self.logs: dict[str, EventLog] = {}
        self.leaving = asyncio.Event()
        """Set when the platform begins to stop; open streams end then."""
        self._modules = modules
        self._wanted_port = settings.grpc_port if port is None else port
        self._port = 0
        self.watching = Watching(self.services)
        self._say = self.watching.health.steps(starting or log.debug)
        self._schemas = Schemas(dsn)
        self._among_others = among_others
        self._shares: dict[str, Shares] = {}
        self._bus = self._chosen_bus()
        self._keyring = Keyring()
        self._commands: CommandsService | None = None
        self._tasks = Tasks()
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

    # --- up and down -----------------------------------------------------------------------------

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
        self.issuer = development_issuer(self.settings)
        server = RpcServer(
            TokenVerifier([*people_issuers(self.settings, self.issuer), internal.trusted()]),
            reflects=self.settings.reflects,
            calls=self.watching.calls,
        )
        check_free(self.settings.grpc_host, self._wanted_port)
        stack.push_async_callback(self.watching.close)
        await self.watching.open(self.settings.grpc_host, self.settings.metrics_port)

        self._say("preparing the database")
        stack.push_async_callback(self._schemas.close)
        for module in self._modules:
            await self._schemas.open(module.NAME, module.MIGRATIONS)
        pages = Pages(page_secret(self.settings))
        for module in self._modules:
            host = await self._host(stack, module.NAME, internal, pages)
            reading = partial(self._bus.reading, module.NAME)
            self.services[module.NAME] = Running(module.build(host), host, reading)
        await stack.enter_async_context(self._bus.carrying(self._heard(), patient=self._among_others))

        # What is pushed last stops first: word goes out, jobs and consumers finish while the services they
        # call still answer, then the server waits for its running calls. It answers before all is prepared: two
        # processes that start together may each need the other's log.
        for running in self.services.values():
            server.add(running.service.servicers)
        self._commands = CommandsService([running.service for running in self.services.values()], self.leaving)
        stack.push_async_callback(self._commands.drain)
        server.add([(add_CommandsServiceServicer_to_server, self._commands)])
        tails = EventLogService(self.logs, self._vault(self._peers(stack, "eventlog", internal)), self.leaving)
        server.add([(add_EventLogServiceServicer_to_server, tails)])
        self.watching.carried_by(self._bus.relays)
        operations = OperationsService(self.settings, self.services, self._bus.relays, self.watching.health.faults)
        server.add([(add_OperationsServiceServicer_to_server, operations)])
        stack.push_async_callback(server.stop)
        self._port = await server.start(self.settings.grpc_host, self._wanted_port)

        if self._among_others:
            await self._share(stack)
        stack.push_async_callback(self._stop_tasks)
        for running in self.services.values():
            await prepare(running, self._say, patient=self._among_others or bool(self.settings.kafka))
            await self._appoint(running)
        await server.open()
        stack.callback(self.leaving.set)
        stack.push_async_callback(server.leave)
        self._tasks.keep(self._keyring.hear(await self._bus.listen(self._modules[0].NAME, KEYS_OF)), "keyring")
        self._consume()
        for running in self.services.values():
            for job in running.service.jobs:
                self._tasks.keep_job(running.service.name, job)
        self.watching.started(server, self._tasks)
        stack.callback(self.watching.health.leave)

    async def _stop_tasks(self) -> None:
        await asyncio.gather(*(runner.close() for _, runner in self.runners))
        await self._tasks.cancel()

    # --- parts -----------------------------------------------------------------------------------

    def _chosen_bus(self) -> Bus:
        tails = PostgresBus(self._schemas, self.logs, self._shares)
        if not self.settings.kafka:
            return tails
        from okr_chassis.buses.kafka_bus import KafkaBus  # takes a second, which only those wait for who have Kafka

        return KafkaBus(self.settings, tails, self.logs, self._peers_of)

    async def _host(self, stack: AsyncExitStack, name: str, internal: InternalIssuer, pages: Pages) -> Host:
        database = await self._schemas.open(name)
        peers = self._peers(stack, name, internal)
        event_log, execute = None, None
        if name in EVENTS:
            clock = None if self.clock is system_clock else self.clock
            event_log = self.logs[name] = trail.event_log()(name, database, codec_of(name), clock)
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

    def _heard(self) -> set[str]:
        """Whose logs are heard in this process."""
        subscriptions = chain.from_iterable(running.service.subscriptions for running in self.services.values())
        return {KEYS_OF, *(each.to for each in subscriptions)}

    async def _share(self, stack: AsyncExitStack) -> None:
        """Find the other copies of our services, and take our part of what their consumers do."""
        for name, running in self.services.items():
            shares = Shares(running.host.database, self.settings.instance)
            await shares.start()
            stack.push_async_callback(shares.close)
            self._shares[name] = shares
            self._tasks.keep(shares.run(), f"{name} shares")

    def _peers_of(self, name: str) -> Peers:
        return self.services[name].host.peers

    def _peers(self, stack: AsyncExitStack, name: str, internal: InternalIssuer) -> Peers:
        peers = Peers(name, internal, lambda: self.address, self.settings.peers)
        stack.push_async_callback(peers.close)
        return peers

    def _vault(self, peers: Peers) -> Vault:
        """Each service asks for keys in its own name; what one has been given serves all."""
        return Vault(DirectoryKeys(peers), self._keyring)

    async def _appoint(self, running: Running) -> None:
        """A runner for each subscription."""
        name, database = running.service.name, running.host.database
        running.runners = [
            Runner(
                each,
                database,
                await self._bus.subscribe(name, each.name, each.to),
                transient=may_answer_later,
                witness=trail.witness(),
            )
            for each in running.service.subscriptions
        ]
        running.host.reader.feed(running.runners)

    def _consume(self) -> None:
        for name, runner in self.runners:
            self._tasks.keep(for_service(name, runner.run()), f"{name} {runner.name}")

    # --- for those who hold it in hand -----------------------------------------------------------

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
                await self._appoint(running)
            self._consume()

    async def wait_idle(self, timeout_seconds: float = IDLE_SECONDS) -> None:
        """Wait until every consumer has applied every event, those caused by reactions included.

        Raises IdleError naming the consumer that halted or stays behind.
        """
        await wait_idle(self.logs, self.runners, timeout_seconds)


def page_secret(settings: Settings) -> bytes:
    """What seals page tokens: the shared secret where one is set, else this data directory's own."""
    if settings.page_key is not None:
        return settings.page_key.get_secret_value().encode()
    return keep_secret(claim(settings.data_dir) / "pages.key", lambda: os.urandom(32))
