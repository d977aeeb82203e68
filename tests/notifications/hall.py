"""A running notifications service between two logs that a test writes to, as goals and checkins would."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid4

from msgspec import Struct

from okr_chassis.clock import ManualClock
from okr_chassis.rpc.commands import Execute
from okr_chassis.service import Reader
from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import CommandContext, NewEvent, shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.tables import ensure
from okr_notifications.scheduler import PaceSweep
from okr_notifications.subscribers import subscriptions

ORGANIZATION = UUID(int=7)
SHARD = shard_of(ORGANIZATION)
SERVICES = ("goals", "checkins", "notifications")
PATIENCE_SECONDS = 20.0


def codec_of(service: str) -> Codec:
    return Codec(EVENTS[service], SCHEMA_VERSIONS)


@dataclass
class Hall:
    """The logs of three services, and the consumers of the third."""

    clock: ManualClock
    databases: dict[str, Database]
    logs: dict[str, EventLog]
    runners: list[Runner]

    @property
    def reader(self) -> Reader:
        return Reader("notifications", self.databases["notifications"])

    def sweep(self) -> PaceSweep:
        """A sweep as another process would run it: with a memory of its own."""
        return PaceSweep(CommandExecutor(self.logs["notifications"], cached_streams=0), self.reader, self.clock)

    async def tell(self, service: str, fact: Struct, at: datetime) -> None:
        """`fact` is recorded by that service at that moment."""
        self.clock.set(at)
        key_result_id: UUID = getattr(fact, "key_result_id")  # noqa: B009 - every fact that is told has one
        stream_id, command_id = f"told-{key_result_id}", uuid4()
        context = CommandContext(ORGANIZATION, command_id, sha256(b"told").digest(), "person:ana", command_id)
        log = self.logs[service]
        version = len(await log.read_stream(ORGANIZATION, stream_id))
        await log.append(stream_id, version, [NewEvent(fact)], context)

    async def settle(self) -> None:
        """Wait until everything told was heard, and everything heard is in the inboxes."""
        while True:
            before = await self.heads()
            for runner in self.runners:
                head = before[runner.subscription.to]
                assert await runner.caught_up(SHARD, head, PATIENCE_SECONDS), runner.reason
            if await self.heads() == before:
                return

    async def heads(self) -> dict[str, int]:
        return {
            name: (await log.heads())[SHARD].position if SHARD in await log.heads() else 0
            for name, log in self.logs.items()
        }

    async def inbox(self) -> list[tuple[str, UUID]]:
        """What was told to whom, oldest first."""
        await self.settle()
        rows = await self.reader.fetch("SELECT kind, person_id FROM inbox ORDER BY position")
        return [(row["kind"], row["person_id"]) for row in rows]


@asynccontextmanager
async def hall(dsn: str, now: datetime) -> AsyncIterator[Hall]:
    clock = ManualClock(now)
    async with AsyncExitStack() as stack:
        databases, logs = {}, {}
        for name in SERVICES:
            databases[name] = await Database.open(dsn, name)
            stack.push_async_callback(databases[name].close)
            await migrate(databases[name], LOG_MIGRATIONS)
            logs[name] = EventLog(name, databases[name], codec_of(name), clock)
            await logs[name].start()
            stack.push_async_callback(logs[name].close)
        heard = subscriptions(Execute("notifications", CommandExecutor(logs["notifications"])), clock)
        await ensure(databases["notifications"], [each.projection for each in heard if each.projection is not None])
        runners = await stack.enter_async_context(running(heard, databases, logs))
        yield Hall(clock, databases, logs, runners)


@asynccontextmanager
async def running(
    heard: Sequence[Subscription], databases: dict[str, Database], logs: dict[str, EventLog]
) -> AsyncIterator[list[Runner]]:
    """Consumers at work, as long as the block lasts."""
    runners = [
        Runner(
            each,
            databases["notifications"],
            PostgresSource(each.to, databases[each.to], codec_of(each.to), log=logs[each.to]),
        )
        for each in heard
    ]
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        yield runners
    finally:
        for runner in runners:
            await runner.close()
        await asyncio.gather(*tasks)
