"""The consumer runner over Kafka, beside a bare client that executes the same SQL, and FastStream by message."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from msgspec import Struct

from bench.harness import TOLD, Case, Rounds, Sample, Work
from bench.kafka.stage import SERVICE, Stage, until
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.kafka.subscriber import BATCH_RECORDS
from okr_chassis.kafka.topics import topic_of
from okr_contracts.checkins import CheckInRecorded
from okr_eventstore.applying import digest
from okr_eventstore.checkpoints import Checkpoint, Ledger, Move, open_ledger
from okr_eventstore.database import Connection, Database
from okr_eventstore.folding import FoldedRows
from okr_eventstore.model import SHARDS
from okr_eventstore.projection import Projection
from okr_eventstore.recent_rows import RecentRows
from okr_eventstore.runner import Runner, Subscription
from okr_goals import replica as goals
from okr_insights import read_model as insights

PROJECTIONS = (goals.check_ins, insights.check_ins)
"""The last value of each key result, and every version of each; the first leaves PostgreSQL least to do."""
EACH = "FastStream, one message a call, the same SQL"
PATIENCE_SECONDS = 120.0


def ours(projection: Projection) -> str:
    return f"runner, {projection.name}"


def bare(projection: Projection) -> str:
    return f"getmany + the same SQL, {projection.name}"


async def measure(stage: Stage) -> Rounds:
    """Each round reads the whole topic into tables that are empty."""
    prefix = await stage.filled()
    few = max(10, stage.meter.scale.bus_peer_events // 10)
    cases = [Case(EACH, _one_by_one(stage, prefix, goals.check_ins, few))]
    for projection in PROJECTIONS:
        cases += [
            Case(ours(projection), _consuming(stage, prefix, projection)),
            Case(bare(projection), _getting(stage, prefix, projection)),
        ]
    found = await stage.meter.rounds(f"Consumers: {stage.events:,} events from Kafka into PostgreSQL", cases)
    for projection in PROJECTIONS:
        name = f"consumer, {projection.name} / getmany + the same SQL"
        found.compare(name, ours(projection), bare(projection), ">= 0.8", unit="events/s")
        found.compare(
            f"{name}, CPU", ours(projection), bare(projection), TOLD, unit="µs CPU an event", read=_client_and_postgres
        )
    found.compare("consumer / FastStream, one message a call", ours(goals.check_ins), EACH, ">= 6", unit="events/s")
    return found


def _client_and_postgres(sample: Sample) -> float:
    return 1e6 * (sample.cpu.bench + sample.cpu.postgres) / max(1, sample.operations)


# --- ours ---------------------------------------------------------------------------------------


def _consuming(stage: Stage, prefix: str, projection: Projection) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        async with stage.tables(projection) as database:
            source = KafkaSource(
                SERVICE, stage.bootstrap, stage.owner, stage.codec, group=f"{prefix}.{stage.number()}",
                instance="bench", prefix=prefix,
            )  # fmt: skip
            runner = Runner(Subscription(projection.name, to=SERVICE, projection=projection), database, source)
            task = asyncio.create_task(runner.run())
            try:
                await until(lambda: len(runner.checkpoints) == SHARDS)
                with stage.meter.counted() as span:
                    await _caught_up(stage, runner)
            finally:
                await runner.close()
                await task
            assert runner.counters.events == stage.events, f"{runner.counters.events} of {stage.events} were applied"
        return span.work(stage.events)

    return run


async def _caught_up(stage: Stage, runner: Runner) -> None:
    heads = await stage.owner.heads()
    reached = await asyncio.gather(
        *(runner.caught_up(shard, head.position, PATIENCE_SECONDS) for shard, head in heads.items())
    )
    assert all(reached), runner.reason


# --- a bare client --------------------------------------------------------------------------------


class _Fact(Struct, frozen=True, gc=False):
    """What the fold looks at, no more."""

    shard: int
    position: int
    organization_id: UUID
    stream_id: str
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    occurred_at: datetime
    actor: str
    data: CheckInRecorded


_DECODER = msgspec.json.Decoder(CheckInRecorded)


def _fact_of(record: Any) -> _Fact:
    """For a client that knows what the topic holds: it looks for nothing, checks nothing and remembers nothing."""
    found = dict(record.headers)
    data = _DECODER.decode(record.value)
    return _Fact(
        int(found["ce_shard"]), int(found["ce_position"]), UUID(record.key.decode()), found["ce_subject"].decode(),
        int(found["ce_version"]), "CheckInRecorded", 1, datetime.fromisoformat(found["ce_recordedat"].decode()),
        data.occurred_at, found["ce_actor"].decode(), data,
    )  # fmt: skip


class _Plain:
    """Folds and writes what it is given, in order, with the statements of the runner: rows and checkpoints in one."""

    def __init__(self, projection: Projection, connection: Connection, ledger: Ledger) -> None:
        self._projection = projection
        self._connection = connection
        self._ledger = ledger
        self._checkpoints: dict[int, Checkpoint] = {}
        self.applied = 0

    @classmethod
    async def begin(cls, stack: AsyncExitStack, database: Database, projection: Projection) -> "_Plain":
        connection = await database.connect()
        stack.push_async_callback(connection.close)
        await connection.execute("SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off")
        ledger = await open_ledger(connection, projection.name, SERVICE, projection, RecentRows())
        plain = cls(projection, connection, ledger)
        plain._checkpoints = await ledger.read(connection, range(SHARDS))
        return plain

    async def apply(self, records: Sequence[Any]) -> None:
        facts = [_fact_of(record) for record in records]
        rows: FoldedRows | None = await digest(self._connection, self._ledger, facts, self._projection, None)  # type: ignore[arg-type]  # a fold looks at nothing else
        reached = {fact.shard: fact.position for fact in facts}
        moves = [Move(shard, self._checkpoints[shard], 1, position) for shard, position in reached.items()]
        moved = await self._ledger.move(self._connection, moves, rows)
        assert len(moved) == len(moves), "nobody else moves these checkpoints"
        self._checkpoints.update(moved)
        self.applied += len(facts)


def _getting(stage: Stage, prefix: str, projection: Projection) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(stage.tables(projection))
            plain = await _Plain.begin(stack, database, projection)
            client = await stack.enter_async_context(stage.reading(prefix))
            with stage.meter.counted() as span:
                while plain.applied < stage.events:
                    found = await client.getmany(timeout_ms=200, max_records=BATCH_RECORDS)
                    if found:
                        await plain.apply([record for records in found.values() for record in records])
        return span.work(plain.applied)

    return run


# --- message by message ---------------------------------------------------------------------------


def _one_by_one(stage: Stage, prefix: str, projection: Projection, events: int) -> Callable[[], Awaitable[Work]]:
    """As FastStream's first page has it: a function that is called with each message, acknowledged when it returns."""

    async def run() -> Work:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(stage.tables(projection))
            plain = await _Plain.begin(stack, database, projection)
            broker = KafkaBroker(stage.bootstrap, logger=None, allow_auto_create_topics=False)
            done = asyncio.Event()
            began: list[float] = []
            subscriber = broker.subscriber(
                topic_of(SERVICE, prefix), group_id=f"{prefix}.{stage.number()}", auto_offset_reset="earliest",
                ack_policy=AckPolicy.ACK_FIRST,
            )  # fmt: skip

            @subscriber
            async def handle(data: dict[str, Any], message: KafkaMessage) -> None:
                if not began:
                    began.append(time.perf_counter())
                if plain.applied < events:
                    await plain.apply([message.raw_message])
                else:
                    done.set()

            await broker.start()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await done.wait()
                elapsed = time.perf_counter() - began[0]
            finally:
                await broker.stop()
        return Work(events, elapsed)

    return run
