"""Snapshots of long streams equal the full fold, whoever races to keep them and whenever somebody looks."""

import asyncio

from okr_eventstore.database import Database
from okr_eventstore.errors import ConflictError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from tests.chaos.run import Run
from tests.support.shop import MINT, Add, RefusedError, codec, context, counters, long_counters

COMMANDS = 60
LOOKS = 60


async def test_a_snapshot_equals_the_full_fold_at_every_moment_somebody_looks(database: Database) -> None:
    """Three processes write one stream, each keeping snapshots; readers load it at random versions meanwhile."""
    run = Run("snapshots", 0)
    with run.told():
        logs = [EventLog("shop", database, codec()) for _ in range(3)]
        for log in logs:
            await log.start()
        executors = [CommandExecutor(log) for log in logs]

        async def write(index: int) -> None:
            choices = run.choices(f"writer {index}")
            for _ in range(COMMANDS):
                try:
                    await executors[index].execute(long_counters, "counter-1", Add(choices.randint(-9, 9)), context())
                except (ConflictError, RefusedError):
                    continue

        async def look() -> None:
            choices = run.choices("reader")
            for _ in range(LOOKS):
                latest = (await executors[0].load(counters, MINT, "counter-1")).version
                version = choices.randint(0, latest)
                quick = await executors[1].load(long_counters, MINT, "counter-1", at_version=version)
                assert quick == await executors[2].load(counters, MINT, "counter-1", at_version=version)

        await asyncio.gather(*(write(index) for index in range(3)), look())
        assert await executors[0].load(long_counters, MINT, "counter-1") == await executors[0].load(
            counters, MINT, "counter-1"
        )
        assert await database.fetchval("SELECT version FROM snapshot") > 0
        for log in logs:
            await log.close()
