"""How soon a command can be read: 1,000 of them a second, come what may, from the store to a projection's rows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg

from bench.facts import WORDS
from bench.harness import Case, Meter, Rounds, Work, quantiles, value
from bench.peer import KeyResults
from bench.stage import running_log, schema
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import Done
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.tables import ensure
from okr_insights.read_model import check_ins

KEY_RESULTS = 2_000
SECONDS = 2.5
"""Of the open loop in a round, for scales whose cases run for a second or so."""
INSERTS = 400
PATIENCE_SECONDS = 30.0
BARE = "one bare committed INSERT"


async def measure(meter: Meter, dsn: str) -> Rounds:
    scale = meter.scale
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(schema(dsn, "checkins"))
        log = await stack.enter_async_context(running_log("checkins", database))
        reading = await stack.enter_async_context(schema(dsn, "insights"))
        await ensure(reading, [check_ins])
        executor = CommandExecutor(log)
        key_results = KeyResults("fresh", min(KEY_RESULTS, scale.streams))
        await asyncio.gather(*(key_results.open(executor, number) for number in range(len(key_results.ids))))
        source = PostgresSource("checkins", database, log.codec, log=log)
        runner = Runner(Subscription(check_ins.name, to="checkins", projection=check_ins), reading, source)
        task = asyncio.create_task(runner.run())
        stack.push_async_callback(_ended, runner, task)

        connection = await database.connect()
        stack.push_async_callback(connection.close)
        await connection.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data json)")
        ours = f"command → readable, {scale.rate:,}/s open loop"
        seconds = scale.seconds * SECONDS / 1.2
        cases = [
            Case(BARE, lambda: inserting(connection, max(10, int(INSERTS * scale.seconds)))),
            Case(ours, lambda: _open_loop(key_results.asking(executor), runner, scale.rate, seconds)),
        ]
        found = await meter.rounds("Freshness: store to projection", cases)
    for quantile, goal in (("p50", "<= 6"), ("p99", "<= 40")):
        found.compare(
            f"freshness, {quantile} at {scale.rate:,} commands/s / INSERT p50", ours, BARE, goal, unit="ms",
            read=value(f"readable {quantile}"), read_other=value("p50"),
        )  # fmt: skip
    return found


async def _open_loop(ask: Callable[[int], Awaitable[Done]], runner: Runner, rate: int, seconds: float) -> Work:
    """Commands leave when they are due, whether earlier ones were answered or not; waiting counts as latency."""
    committed: list[float] = []
    readable: list[float] = []

    async def command(number: int, due: float) -> None:
        position = (await ask(number)).position
        committed.append(time.perf_counter() - due)
        assert await runner.caught_up(position.shard, position.position, PATIENCE_SECONDS), runner.reason
        readable.append(time.perf_counter() - due)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = started + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(command(number, due))
    values = {f"committed {key}": value for key, value in quantiles(committed).items()}
    values |= {f"readable {key}": value for key, value in quantiles(readable).items()}
    return Work(len(readable), time.perf_counter() - started, values)


async def inserting(connection: "asyncpg.Connection[asyncpg.Record]", rows: int) -> Work:
    latencies = []
    data = f'{{"note": "{WORDS}"}}'
    started = time.perf_counter()
    for _ in range(rows):
        at = time.perf_counter()
        await connection.execute("INSERT INTO bare (data) VALUES ($1)", data)
        latencies.append(time.perf_counter() - at)
    return Work(rows, time.perf_counter() - started, quantiles(latencies))


async def _ended(runner: Runner, task: "asyncio.Task[None]") -> None:
    await runner.close()
    await task
