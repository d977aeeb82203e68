"""One copy of a service that listens: a projection and a reaction over Kafka, in a process of its own.

It can be told to stop itself at a moment of its next batch, where it is then killed or woken late, and to be slow.
What it says are lines of JSON.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from okr_chassis.identity.issuer import InternalIssuer
from okr_chassis.kafka import source as source_module
from okr_chassis.kafka.owner import OwnersLog
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.telemetry import logs
from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent, ShardBatch
from okr_eventstore.projection import ProjectedEvent, Rows
from okr_eventstore.runner import Runner, Subscription
from tests.bus.buses import SESSION_MS, asking_log
from tests.chaos.kafka.chronicle import REACTION, chronicle, hear
from tests.eventstore.garden import codec
from tests.support.told_process import ToldProcess, say

BEFORE = "before"
DURING = "during"
AFTER = "after"
MOMENTS = (BEFORE, DURING, AFTER)
SLOW_SECONDS = SESSION_MS / 1000 * 1.2
"""Longer than Kafka waits for a sign of life."""


class Consumer:
    """Both subscriptions, and what a test does to them."""

    def __init__(self, settings: Mapping[str, Any], database: Database, owner: OwnersLog) -> None:
        self._database = database
        self._hold_at = ""
        self._slow = 0
        fold = replace(chronicle, project=self._project)
        self.runners = [
            Runner(subscription, database, self._source(settings, subscription.name, owner), witness=self._witness)
            for subscription in (
                Subscription("garden.chronicle", "garden", projection=fold),
                Subscription(REACTION, "garden", react=self._react),
            )
        ]

    def _source(self, settings: Mapping[str, Any], consumer: str, owner: OwnersLog) -> KafkaSource:
        return KafkaSource(
            *("garden", settings["bootstrap"], owner, codec()),
            group=f"{settings['prefix']}.{consumer}",
            instance=settings["instance"],
            prefix=settings["prefix"],
            session_ms=SESSION_MS,
        )

    def obey(self, words: str) -> None:
        match words.split():
            case ["hold", moment]:
                self._hold_at = moment
            case ["slow", times]:
                self._slow = int(times)
            case ["status"]:
                say(
                    instance=os.getpid(),
                    events=[runner.counters.events for runner in self.runners],
                    duplicates=[runner.duplicates for runner in self.runners],
                    gaps=[runner.counters.gaps for runner in self.runners],
                    zombies=[runner.counters.zombies for runner in self.runners],
                    filled=[getattr(runner.source, "filled", 0) for runner in self.runners],
                    reasons=[runner.reason for runner in self.runners],
                    halted=[runner.halted for runner in self.runners],
                )

    def _reach(self, moment: str) -> None:
        if self._hold_at == moment:
            self._hold_at = ""
            say(held=moment)
            os.kill(os.getpid(), signal.SIGSTOP)

    @contextmanager
    def _witness(self, runner: Runner, _: Sequence[ShardBatch]) -> Iterator[None]:
        if runner is not self.runners[0]:
            yield
            return
        self._reach(BEFORE)
        yield
        self._reach(AFTER)

    def _project(self, rows: Rows, event: ProjectedEvent) -> None:
        self._reach(DURING)
        chronicle.project(rows, event)

    async def _react(self, events: Sequence[RecordedEvent]) -> None:
        if self._slow:
            self._slow -= 1
            await self._database.fetchval("SELECT pg_sleep($1)", SLOW_SECONDS)
        await hear(self._database, events)


async def main(settings: Mapping[str, Any]) -> None:
    logs.configure("warning", terminal=False)
    source_module.OVERDUE_SECONDS = settings["overdue_seconds"]
    database = await Database.open(settings["dsn"], settings["schema"])
    async with asking_log(settings["owner"], InternalIssuer(Path(settings["key_file"]))) as stub:
        consumer = Consumer(settings, database, OwnersLog("garden", "garden", stub, codec()))
        running = [asyncio.create_task(runner.run()) for runner in consumer.runners]
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            consumer.obey(line.decode())
        for runner in consumer.runners:
            await runner.close()
        await asyncio.gather(*running)
    await database.close()


class ConsumerProcess(ToldProcess):
    """The other end: how a test sees and treats it."""

    async def status(self) -> dict[str, Any]:
        await self.tell("status")
        return await self.heard()

    async def hold(self, moment: str) -> None:
        """Wait until it has stopped itself there. It must have events to come to."""
        await self.tell(f"hold {moment}")
        assert (await self.heard())["held"] == moment

    async def be_slow(self, times: int) -> None:
        """So many of the reaction's next batches take longer than Kafka waits for a sign of life."""
        await self.tell(f"slow {times}")


@asynccontextmanager
async def consumer_process(settings: Mapping[str, Any], complaints: IO[bytes]) -> AsyncIterator[ConsumerProcess]:
    """A copy elsewhere on this machine; killed in the end if it still lives."""
    consumer = ConsumerProcess(await ToldProcess.start("tests.chaos.kafka.consumer_process", settings, complaints))
    try:
        yield consumer
    finally:
        if consumer.lives:
            await consumer.kill()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
