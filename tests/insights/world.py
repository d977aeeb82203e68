"""Four logs and insights beside them on a real PostgreSQL: facts are told, boards and histories are asked for.

One world serves many tests. Each tells a story of an organisation of its own, in a shard of its own,
because recorded time never goes back inside a shard and every story has its own past.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Any, cast
from uuid import UUID, uuid4

from grpc import aio
from msgspec import Struct

from okr.common.v1 import common_pb2
from okr.insights.v1 import insights_pb2 as pb
from okr_chassis.clock import ManualClock
from okr_chassis.identity.auth import Caller, calling
from okr_chassis.rpc.messages import wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.sealing import Keyring, Vault
from okr_chassis.service import Reader
from okr_contracts.registry import EVENTS
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import CommandContext, NewEvent, Position, shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.runner import Runner
from okr_eventstore.tables import ensure
from okr_insights.api import InsightsService
from okr_insights.read_model import projections
from okr_insights.subscribers import subscriptions
from tests.insights.facts import ANA, NEW_YEAR, Q1, named
from tests.support.sealed import KeyRack, really_sealed

SOURCES = ("directory", "goals", "checkins", "alignment")
CONTEXT = cast(aio.ServicerContext[Any, Any], None)
"""The handlers use nothing of it."""


class World:
    """The logs, the read model that hears them, and the clock they all go by."""

    def __init__(
        self, insights: Database, logs: dict[str, EventLog], runners: list[Runner], clock: ManualClock
    ) -> None:
        self.insights = insights
        self.logs = logs
        self.runners = runners
        self.clock = clock
        self.rack = KeyRack()
        reader = Reader("insights", insights)
        reader.feed(runners)
        self.api = InsightsService(reader, Pages(b"a secret of this test"), clock, Vault(self.rack, Keyring()))
        self._organizations = _in_shards_of_their_own()

    def story(self) -> "Story":
        return Story(self, next(self._organizations))


class Story:
    """One organisation: what became known of it, and what insights answers."""

    def __init__(self, world: World, organization_id: UUID) -> None:
        self.world = world
        self.organization_id = organization_id
        self._versions: dict[tuple[str, str], int] = {}

    async def tell(self, at: datetime, *facts: Struct, actor: str = f"person:{ANA}") -> list[Position]:
        """`facts` became known `at` this moment; insights has heard of them on return."""
        self.world.clock.set(at)
        positions = [await self._append(fact, actor) for fact in facts]
        for position in positions:
            for runner in self.world.runners:
                if runner.subscription.to == position.service:
                    assert await runner.caught_up(position.shard, position.position, 20), runner.reason
        return positions

    async def board(
        self,
        now: datetime,
        as_of: datetime | None = None,
        *,
        unit: UUID | None = None,
        cycle: UUID | None = None,
        size: int = 0,
        token: str = "",
    ) -> pb.GetBoardResponse:
        request = pb.GetBoardRequest(
            cycle_id=wire(cycle),
            unit_id=wire(unit),
            as_of=wire(as_of),
            page=common_pb2.PageRequest(size=size, token=token),
        )
        self.world.clock.set(now)
        with calling(self.caller):
            return await self.world.api.GetBoard(request, CONTEXT)

    async def objective(self, now: datetime, as_of: datetime | None = None) -> pb.BoardObjective:
        """The only objective on the board."""
        (objective,) = (await self.board(now, as_of)).objectives
        return objective

    async def key_result(self, now: datetime, as_of: datetime | None = None) -> pb.BoardKeyResult:
        """The only key result on the board."""
        (key_result,) = (await self.objective(now, as_of)).key_results
        return key_result

    async def history(
        self,
        key_result_id: UUID,
        now: datetime,
        as_of: datetime | None = None,
        *,
        size: int = 0,
        token: str = "",
    ) -> pb.GetKeyResultHistoryResponse:
        request = pb.GetKeyResultHistoryRequest(
            key_result_id=wire(key_result_id), as_of=wire(as_of), page=common_pb2.PageRequest(size=size, token=token)
        )
        self.world.clock.set(now)
        with calling(self.caller):
            return await self.world.api.GetKeyResultHistory(request, CONTEXT)

    @property
    def caller(self) -> Caller:
        return Caller(self.organization_id, ANA, f"person:{ANA}")

    async def _append(self, fact: Struct, actor: str) -> Position:
        service, stream = _home(fact)
        author_id = UUID(actor.removeprefix("person:")) if actor.startswith("person:") else ANA
        fact = really_sealed(fact, self.organization_id, author_id)
        command_id = uuid4()
        context = CommandContext(
            organization_id=self.organization_id,
            command_id=command_id,
            fingerprint=command_id.bytes,
            actor=actor,
            correlation_id=command_id,
        )
        event = NewEvent(fact, getattr(fact, "occurred_at", None))
        done = await self.world.logs[service].append(stream, self._versions.get((service, stream), 0), [event], context)
        self._versions[service, stream] = done.version
        return done.position


def _home(fact: Struct) -> tuple[str, str]:
    """The service and the stream in which a fact is recorded."""
    (service,) = (service for service, events in EVENTS.items() if type(fact) in events)
    match service:
        case "directory":
            return service, "organization"
        case "goals" if hasattr(fact, "objective_id"):
            return service, f"objective-{fact.objective_id}"
        case "checkins":
            return service, f"checkin-{getattr(fact, 'key_result_id', None)}"
        case _:
            return service, f"cycle-{getattr(fact, 'cycle_id', Q1)}"


def _in_shards_of_their_own() -> Iterator[UUID]:
    taken: set[int] = set()
    for number in count():
        organization_id = named(f"organisation {number}")
        if shard_of(organization_id) not in taken:
            taken.add(shard_of(organization_id))
            yield organization_id


@asynccontextmanager
async def a_world(dsn: str, prefix: str) -> AsyncIterator[World]:
    """Schemas, logs and consumers, all running; the schemas are named after the services, behind `prefix`."""
    clock = ManualClock(NEW_YEAR)
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Database:
            database = await Database.open(dsn, f"{prefix}_{name}")
            stack.push_async_callback(database.close)
            await migrate(database, LOG_MIGRATIONS)
            return database

        codecs = {name: Codec(EVENTS[name]) for name in SOURCES}
        logs = {name: EventLog(name, await opened(name), codecs[name], clock=clock) for name in SOURCES}
        for log in logs.values():
            await log.start()
            stack.push_async_callback(log.close)
        insights = await opened("insights")
        assert await ensure(insights, projections) == []
        runners = []
        for subscription in subscriptions:
            log = logs[subscription.to]
            source = PostgresSource(log.service, log.database, log.codec, log=log)
            runner = Runner(subscription, insights, source)
            task = asyncio.create_task(runner.run())
            stack.push_async_callback(_ended, runner, task)
            runners.append(runner)
        yield World(insights, logs, runners, clock)


async def _ended(runner: Runner, task: "asyncio.Task[None]") -> None:
    await runner.close()
    await task
