"""What a service is to the chassis, and what the chassis gives to a service.

A service's `__main__.py` holds `NAME`, `MIGRATIONS` and `build(host) -> Service`: the one place
where its parts are put together.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

from okr_chassis.clock import Clock
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.errors import NotCaughtUpError
from okr_chassis.rpc.messages import positions
from okr_chassis.rpc.pages import Pages
from okr_chassis.sealing import Vault
from okr_chassis.settings import Settings
from okr_contracts.errors import InvalidInputError, Violation
from okr_contracts.registry import EVENTS
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import Head, Position, shard_of
from okr_eventstore.refolding import LogReader
from okr_eventstore.runner import Runner, Subscription

if TYPE_CHECKING:
    from okr_chassis.rpc.peers import Peers

CAUGHT_UP_SECONDS = 0.5
"""How long a read waits for its own writes."""

AddToServer = Callable[[Any, Any], None]
"""What protoc generates: `add_GoalsServiceServicer_to_server`."""


@dataclass
class Service:
    """What a service consists of. `jobs` run for as long as the process does; one that ends is not started again.

    Commands sent together are kept in order for each aggregate: the first of `aggregate_fields` that a
    request has names it. A request with none of them belongs to the one of the organisation as a whole.
    """

    name: str
    servicers: list[tuple[AddToServer, Any]]
    subscriptions: list[Subscription] = field(default_factory=list)
    jobs: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    aggregate_fields: tuple[str, ...] = ()
    prepare: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """What must be so before the first call is served; raises StartupError where it is not."""


class Reader:
    """Queries over a service's read models. The pool is shared, the schema is the service's own."""

    def __init__(self, service: str, database: Database) -> None:
        self.service = service
        self._database = database
        self._projections: dict[str, list[Runner]] = {}
        self._epochs: dict[tuple[str, int], int] = {}

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        return await self._database.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        return await self._database.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self._database.fetchval(sql, *args)

    def feed(self, runners: Sequence[Runner]) -> None:
        """The runners whose progress `caught_up` waits for; said by the platform once they exist."""
        self._projections = {}
        for runner in runners:
            if runner.subscription.projection is not None:
                self._projections.setdefault(runner.subscription.to, []).append(runner)

    async def caught_up(self, min_positions: Sequence[str]) -> None:
        """Wait until every read model of this service has passed these positions: read your own writes.

        Raises NotCaughtUpError after half a second, and InvalidInputError for what is no position of
        the caller's organisation.
        """
        if not min_positions:
            return
        wanted = positions(min_positions)
        shard = shard_of(caller().organization_id)
        violations = []
        for index, position in enumerate(wanted):
            fault = _fault(position, shard) or await self._epoch_fault(position)
            if fault is not None:
                violations.append(Violation(f"min_positions.{index}", fault, "POSITION_UNKNOWN"))
        if violations:
            raise InvalidInputError(violations)
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        for position in wanted:
            for runner in self._projections.get(position.service, ()):
                left = max(0.0, deadline - time.monotonic())
                if not await runner.caught_up(position.shard, position.position, left):
                    raise NotCaughtUpError(f"{runner.name} has not reached {position} yet; ask again")

    async def has_heard_all(self, seconds: float) -> bool:
        """Whether every read model of this service comes within so long to where the logs it is fed by end now.

        For whoever judges what is not there: before that, nobody knows that it is not.
        """
        deadline = time.monotonic() + seconds
        for runners in self._projections.values():
            heads = await runners[0].source.heads()
            for runner in runners:
                for shard, head in heads.items():
                    left = max(0.0, deadline - time.monotonic())
                    if head.position and not await runner.caught_up(shard, head.position, left):
                        return False
        return True

    async def _epoch_fault(self, position: Position) -> str | None:
        """Numbers of another epoch were given out before the log was restored from a backup, and mean nothing now.

        An epoch lasts for as long as the log runs, so what was read once is asked again only in doubt.
        """
        known = (position.service, position.shard)
        runners = self._projections.get(position.service)
        if not runners or position.position == 0:
            return None
        if self._epochs.get(known) != position.epoch:
            heads: Mapping[int, Head] = {}
            with contextlib.suppress(StoreUnavailableError, TimeoutError):  # reads go on while the log's owner is away
                async with asyncio.timeout(CAUGHT_UP_SECONDS):
                    heads = await runners[0].source.heads()
            self._epochs.update({(position.service, shard): head.epoch for shard, head in heads.items()})
            if position.shard not in heads:
                self._epochs[known] = position.epoch  # nobody here can tell
        if self._epochs.get(known, position.epoch) != position.epoch:
            return "is of another epoch: the log was restored since; read without it"
        return None


def _fault(position: Position, shard: int) -> str | None:
    if position.service not in EVENTS:
        return f"names no service with a log: {position.service}"
    if position.shard != shard:
        return "belongs to another organisation"
    return None


@dataclass
class Host:
    """What a service builds itself from."""

    name: str
    clock: Clock
    settings: Settings
    database: Database
    log: EventLog | None
    """None for a service that has no events of its own."""
    reader: Reader
    peers: "Peers"
    pages: Pages
    vault: Vault
    """Seals what people write, and opens it for answers."""
    executor: Execute | None = None

    @property
    def execute(self) -> Execute:
        """Runs this service's deciders."""
        if self.executor is None:
            raise RuntimeError(f"{self.name} has no events in okr_contracts.registry.EVENTS, and so nothing to execute")
        return self.executor


@dataclass
class Running:
    """One service of this process, at work."""

    service: Service
    host: Host
    reading: Callable[[str], AbstractAsyncContextManager[LogReader]]
    """The log of the service that is named, from its beginning: for rebuilds and comparisons."""
    runners: list[Runner] = field(default_factory=list)


class Build(Protocol):
    def __call__(self, host: Host) -> Service: ...


class ServiceModule(Protocol):
    """A service's `__main__` module."""

    @property
    def NAME(self) -> str: ...

    @property
    def MIGRATIONS(self) -> Path | None: ...

    def build(self, host: Host) -> Service: ...
