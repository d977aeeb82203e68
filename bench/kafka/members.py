"""Processes that share the work of one consumer: how two of them compare with one."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from bench.harness import TOLD, Case, Rounds, Work
from bench.kafka.stage import SERVICE, Stage
from bench.kafka_consuming import Task
from okr_eventstore.database import Database
from okr_eventstore.model import SHARDS
from okr_insights.read_model import check_ins

PATIENCE_SECONDS = 120.0
MANY = (1, 2)
ROUNDS = 3


async def measure(stage: Stage) -> Rounds:
    """Each round reads the whole topic into empty tables, once all members have their partitions."""
    prefix = await stage.filled()
    cases = [Case(_name(processes), _sharing(stage, prefix, processes)) for processes in MANY]
    found = await stage.meter.rounds("Consumers in processes of their own", cases, at_most=ROUNDS)
    found.compare("consumer, two processes / one", _name(2), _name(1), TOLD, unit="events/s")
    return found


def _name(processes: int) -> str:
    return f"{check_ins.name}, {processes} process{'es' if processes > 1 else ''}"


def _sharing(stage: Stage, prefix: str, processes: int) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        async with stage.tables(check_ins) as database, members(stage, prefix, database, processes) as begin:
            with stage.meter.counted() as span:
                await begin()
                await applied(database, stage.events)
        return span.work(stage.events)

    return run


@asynccontextmanager
async def members(
    stage: Stage, prefix: str, database: Database, processes: int, dsn: str | None = None
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """So many processes that have their partitions, and begin to consume at a call."""
    group = f"{prefix}.{stage.number()}"
    async with AsyncExitStack() as stack:
        started = []
        for number in range(processes):
            task = Task(dsn or stage.dsn, SERVICE, database.schema, stage.bootstrap, prefix, group, f"bench-{number}")
            started.append(await stack.enter_async_context(_member(stage, task)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(_has(each, SHARDS // processes) for each in started))

        async def begin() -> None:
            for each in started:
                assert each.stdin is not None
                each.stdin.write(b"go\n")
                await each.stdin.drain()

        yield begin


async def applied(database: Database, events: int) -> None:
    """Wait until so many events of the log are in the tables."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await database.fetchval("SELECT coalesce(sum(position), 0) FROM checkpoint")) < events:  # noqa: ASYNC110  # other processes write it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _member(stage: Stage, task: Task) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.kafka_consuming", json.dumps(task),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stage.meter.watch(process.pid)
    try:
        yield process
    finally:
        assert process.stdin is not None
        stage.meter.forget(process.pid)
        process.stdin.close()
        await process.wait()


async def _has(process: asyncio.subprocess.Process, shards: int) -> None:
    """Wait until a member has told that so many shards are its own."""
    assert process.stdout is not None
    while True:
        told = await process.stdout.readline()
        if not told:
            raise RuntimeError(f"a consumer's process did not start; it ended with {await process.wait()}")
        if int(told) == shards:
            return
