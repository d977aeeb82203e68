"""How soon a command can be read when services are apart: unary gRPC, append, relay, Kafka, projection.

The service with its relay is one process; this one has the callers and the projection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc import aio

from bench.facts import named
from bench.freshness import BARE, INSERTS, inserting
from bench.harness import Case, Rounds, Work, quantiles, value
from bench.kafka.stage import PARTITIONS, SERVICE, LogOwner, Stage, until
from bench.peer import KeyResults
from bench.rpc import requests_to, served
from bench.stage import codec_of, fresh_database, running_log, schema
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.kafka.source import KafkaSource
from okr_eventstore.database import Database
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import SHARDS, Position
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.tables import ensure
from okr_insights.read_model import check_ins

ORGANIZATIONS = 8
KEY_RESULTS = 2_000
PATIENCE_SECONDS = 30.0


async def measure(stage: Stage) -> Rounds:
    scale = stage.meter.scale
    rate, seconds = scale.bus_rate, 2 * scale.seconds
    key_results = KeyResults("far", min(KEY_RESULTS, scale.streams), organizations=ORGANIZATIONS)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(stage.dsn))
        database = await stack.enter_async_context(schema(dsn, SERVICE))
        async with running_log(SERVICE, database) as log:
            executor = CommandExecutor(log)
            await asyncio.gather(*(key_results.open(executor, number) for number in range(len(key_results.ids))))
        prefix = await stage.new_prefix()
        data_dir = Path(stack.enter_context(TemporaryDirectory(prefix="okr-bench-")))
        apart = {
            "OKR_KAFKA": ",".join(stage.bootstrap), "OKR_KAFKA_PREFIX": prefix,
            "OKR_KAFKA_PARTITIONS": str(PARTITIONS),
        }  # fmt: skip
        server = await stack.enter_async_context(served(dsn, data_dir, **apart))
        stage.meter.watch(server.pid)
        stack.callback(stage.meter.forget, server.pid)
        runner = await stack.enter_async_context(_reading(stage, dsn, prefix, database))
        channel = await stack.enter_async_context(aio.insecure_channel(server.platform))
        connection = await database.connect()
        stack.push_async_callback(connection.close)
        await connection.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data json)")
        ask = _asking(channel, DevelopmentIssuer(data_dir), key_results)
        ours = f"command → readable, {rate:,}/s open loop"
        cases = [
            Case(BARE, lambda: inserting(connection, max(10, int(INSERTS * scale.seconds)))),
            Case(ours, lambda: _open_loop(ask, runner, rate, seconds)),
        ]
        found = await stage.meter.rounds("Freshness: gRPC, log, relay, Kafka, projection", cases)
    for quantile, goal in (("p50", "<= 20"), ("p99", "<= 100")):
        found.compare(
            f"freshness over Kafka, {quantile} at {rate:,} commands/s / INSERT p50", ours, BARE, goal, unit="ms",
            read=value(f"readable {quantile}"), read_other=value("p50"),
        )  # fmt: skip
    return found


@asynccontextmanager
async def _reading(stage: Stage, dsn: str, prefix: str, log: Database) -> AsyncIterator[Runner]:
    """The projection at work, that has read what there is."""
    async with schema(dsn, "insights") as database:
        await ensure(database, [check_ins])
        source = KafkaSource(
            SERVICE, stage.bootstrap, LogOwner(log), codec_of(SERVICE), group=f"{prefix}.{check_ins.name}",
            instance="bench", prefix=prefix,
        )  # fmt: skip
        runner = Runner(Subscription(check_ins.name, to=SERVICE, projection=check_ins), database, source)
        task = asyncio.create_task(runner.run())
        try:
            await until(lambda: len(runner.checkpoints) == SHARDS)
            for shard, head in (await source.heads()).items():
                assert await runner.caught_up(shard, head.position, PATIENCE_SECONDS), runner.reason
            yield runner
        finally:
            await runner.close()
            await task


def _asking(
    channel: aio.Channel, issuer: DevelopmentIssuer, key_results: KeyResults
) -> Callable[[], Awaitable[Position]]:
    """A check-in each time, by the organisations in turn; answers where it stands in the log."""
    record = CheckInsServiceStub(channel).RecordCheckIn
    requests, turns = requests_to(key_results), count()
    tokens = [issuer.issue(key_results.organization(number), named("ana")) for number in range(ORGANIZATIONS)]

    async def ask() -> Position:
        # Key results and organisations go round together, so that each is asked for by its own.
        token = tokens[next(turns) % len(key_results.ids) % ORGANIZATIONS]
        answer = await record(requests(), metadata=(("authorization", f"Bearer {token}"),))
        return Position.parse(answer.receipt.position)

    return ask


async def _open_loop(ask: Callable[[], Awaitable[Position]], runner: Runner, rate: int, seconds: float) -> Work:
    """Commands leave when they are due, whether earlier ones were answered or not; waiting counts as latency."""
    answered: list[float] = []
    readable: list[float] = []

    async def command(due: float) -> None:
        position = await ask()
        answered.append(time.perf_counter() - due)
        assert await runner.caught_up(position.shard, position.position, PATIENCE_SECONDS), runner.reason
        readable.append(time.perf_counter() - due)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, int(rate * seconds))):
            due = started + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(command(due))
    values = {f"answered {key}": value for key, value in quantiles(answered).items()}
    values |= {f"readable {key}": value for key, value in quantiles(readable).items()}
    return Work(len(readable), time.perf_counter() - started, values)
