"""The consumer runner: every event once in effect and in order. What it owes to any bus stands in tests/bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from okr_eventstore.applying import HALT_FLOOR
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import RecordedEvent, shard_of
from okr_eventstore.parking import retry_parked
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.runner import Runner, Subscription, each_stream
from okr_eventstore.tables import ensure
from tests.eventstore.garden import (
    EVERYTHING,
    GARDEN,
    ORCHARD,
    SHARD,
    Choosy,
    Garden,
    Thinned,
    catch_up,
    planted,
    plants,
    running,
    watered,
)


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    assert await ensure(database, [plants]) == []
    yield garden
    await garden.log.close()


async def test_events_become_rows_their_history_and_a_checkpoint(garden: Garden, database: Database) -> None:
    await garden.append("fern", planted(), watered("1.50"))
    await garden.append("fern", watered("2.25"))
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)

    row = await database.fetchrow("SELECT * FROM plant")
    assert row is not None
    assert (row["litres"], row["waterings"], row["name"]) == (Decimal("3.75"), 2, "fern")
    assert (row["_position"], row["_stream_version"]) == (3, 3)
    history = await database.fetch("SELECT position, event_type, actor, litres FROM plant_history ORDER BY position")
    assert [tuple(version) for version in history] == [
        (1, "Planted", "person:ana", Decimal(0)),
        (2, "Watered", "person:ana", Decimal("1.50")),
        (3, "Watered", "person:ana", Decimal("3.75")),
    ]
    assert await database.fetchval("SELECT position FROM checkpoint WHERE position > 0") == 3
    assert runner.checkpoints[SHARD] == 3
    assert await runner.lag() == 0


async def test_a_waiter_is_woken_by_the_runner_itself(garden: Garden) -> None:
    async with running(garden.runner()) as runner:
        waiting = asyncio.create_task(runner.caught_up(SHARD, 1, 20))
        await garden.append("fern", planted())
        assert await waiting
        assert not await runner.caught_up(SHARD, 2, 0.01)


async def test_a_batch_of_many_shards_and_tables_is_one_statement(garden: Garden, database: Database) -> None:
    """Counted by PostgreSQL: a batch is its prefetches, one SELECT a table, and one write."""
    for organization in (GARDEN, ORCHARD):
        await garden.append("fern", planted(), watered(1), organization_id=organization)
    statements: list[str] = []
    runner = garden.runner(source=garden.source(shards={SHARD, shard_of(ORCHARD)}))
    connect = database.connect

    async def overheard(**options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await connect(**options)
        connection.add_query_logger(lambda query: statements.append(query.query.strip()))
        return connection

    database.connect = overheard  # type: ignore[method-assign]  # listens in on the runner's own connection
    async with running(runner):
        await catch_up(runner, garden)

    assert runner.counters.batches == 1
    assert sum(statement.startswith("WITH moving") for statement in statements) == 1
    assert sum(statement.startswith("SELECT found.") for statement in statements) == 2, "plant and garden, no more"


async def test_a_type_nobody_knows_is_passed_by_and_counted(garden: Garden, database: Database) -> None:
    await database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await garden.append("fern", planted(), watered(1), watered(2))
    await database.execute("UPDATE event SET type = 'Sung' WHERE position = 2")
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)

    assert runner.counters.skipped_unknown == 1
    assert await database.fetchval("SELECT litres FROM plant") == 2


@pytest.mark.parametrize(
    ("harm", "told"),
    [("schema_version = 2", "newer release"), ('data = \'{"litres": "many"}\'', "does not decode")],
    ids=["newer", "damaged"],
)
async def test_an_event_that_cannot_be_read_makes_its_stream_wait_and_no_other(
    garden: Garden, database: Database, harm: str, told: str
) -> None:
    await database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await garden.append("fern", watered(1), watered(2), watered(4))
    await garden.append("moss", watered(8))
    await database.execute(f"UPDATE event SET {harm} WHERE position = 2")
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)

    assert [tuple(row) for row in await database.fetch("SELECT plant, litres FROM plant ORDER BY 1")] == [
        ("fern", 1),
        ("moss", 8),
    ]
    parked = await database.fetch("SELECT position, error FROM parked ORDER BY position")
    assert [row["position"] for row in parked] == [2, 3]
    assert told in parked[0]["error"]


async def test_poison_is_found_by_halving_and_only_its_stream_is_parked(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    for number in range(40):
        await garden.append(f"fern-{number}", planted(), watered(1))
    await garden.append("fern-7", Thinned(-3))
    for number in range(40):
        await garden.append(f"fern-{number}", watered(1))
    async with running(garden.runner(choosy.projection)) as runner:
        await catch_up(runner, garden)

    assert not runner.halted
    assert runner.parked_streams == 1
    parked = await database.fetch("SELECT stream_id, error FROM parked ORDER BY position")
    assert [row["stream_id"] for row in parked] == ["fern-7", "fern-7"]
    assert parked[0]["error"] == "CannotDigestError: fern-7 lost 3 branches"
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == 79


async def test_what_postgresql_refuses_is_poison_as_well(garden: Garden, database: Database) -> None:
    await garden.append("fern", watered(1), watered(1, note="nul \0 inside"), watered(1))
    await garden.append("moss", watered(1), Thinned(2**63 - 1), Thinned(1))
    await garden.append("oak", watered(1))
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)

    assert not runner.halted
    streams = await database.fetch("SELECT stream_id, min(position) AS first FROM parked GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in streams] == [("fern", 2), ("moss", 6)]
    assert await database.fetchval("SELECT waterings FROM plant WHERE plant = 'oak'") == 1


async def test_a_consumer_that_chokes_on_many_streams_halts_and_says_why(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    for number in range(HALT_FLOOR + 5):
        await garden.append(f"fern-{number}", Thinned(-1))
    async with running(garden.runner(choosy.projection)) as runner:
        head = HALT_FLOOR + 5
        assert not await runner.caught_up(SHARD, head, 20)

        assert runner.halted
        assert "CannotDigestError" in runner.reason
        assert not await runner.caught_up(SHARD, head, 20), "nobody waits for a halted consumer"
    assert await database.fetchval("SELECT count(DISTINCT stream_id) FROM parked") == HALT_FLOOR + 1

    choosy.digests_up_to = EVERYTHING
    await retry_parked(runner.subscription, database, garden.source())
    async with running(garden.runner(choosy.projection)) as runner:
        await catch_up(runner, garden)
        assert not runner.halted
        assert await runner.lag() == 0
    assert await database.fetchval("SELECT count(*) FROM plant") == HALT_FLOOR + 5


async def test_a_reaction_is_handed_every_event_at_least_once_and_in_order(garden: Garden, database: Database) -> None:
    seen: dict[str, list[int]] = {}
    failures = iter([True, False, True])

    async def react(events: Sequence[RecordedEvent]) -> None:
        async def note(event: RecordedEvent) -> None:
            seen.setdefault(event.stream_id, []).append(event.version)

        await each_stream(events, note)
        if next(failures, False):
            raise StoreUnavailableError("away for a moment")

    for number in range(30):
        await garden.append(f"fern-{number % 3}", watered(1))
    subscription = Subscription("garden.duties", "garden", react=react)
    async with running(Runner(subscription, database, garden.source())) as runner:
        await catch_up(runner, garden)
        await garden.append("fern-0", watered(1))
        await catch_up(runner, garden)

    assert runner.counters.retries == 2
    for stream, versions in seen.items():
        assert sorted(set(versions)) == list(range(1, 12 if stream == "fern-0" else 11))
        assert all(later <= earlier + 1 for earlier, later in pairwise(versions))


async def test_a_reaction_that_cannot_digest_one_event_parks_its_stream(garden: Garden, database: Database) -> None:
    handled: set[tuple[str, int]] = set()
    tries = 0

    async def react(events: Sequence[RecordedEvent]) -> None:
        nonlocal tries

        async def handle(event: RecordedEvent) -> None:
            nonlocal tries
            if event.stream_id == "fern-1" and event.version == 2:
                tries += 1
                raise ValueError("no")
            handled.add((event.stream_id, event.version))

        await each_stream(events, handle)

    for _ in range(3):
        for number in range(3):
            await garden.append(f"fern-{number}", watered(1))
    async with running(
        Runner(Subscription("garden.duties", "garden", react=react), database, garden.source())
    ) as runner:
        await catch_up(runner, garden)

    assert handled == {(f"fern-{n}", v) for n in range(3) for v in (1, 2, 3)} - {("fern-1", 2), ("fern-1", 3)}
    assert runner.counters.parked_events == 2
    assert tries >= 3


async def test_a_runner_outlives_its_connection(garden: Garden, database: Database, postgres_dsn: str) -> None:
    async with running(garden.runner()) as runner:
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)
        other = await asyncpg.connect(postgres_dsn)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"okr {database.schema}",
        )
        await other.close()
        while True:  # the pool's connections were ended as well, the log's writer says so once
            try:
                await garden.append("fern", watered(1))
                break
            except StoreUnavailableError:
                continue
        assert await runner.caught_up(SHARD, 2, 20)

    assert runner.counters.retries >= 1
    assert not runner.halted


async def test_nobody_is_told_of_rows_that_a_crash_of_the_server_may_have_undone(
    garden: Garden, database: Database, postgres_dsn: str
) -> None:
    """A batch does not wait for the disk. Who wrote and asks for it by its position must not miss it after a crash."""
    back = asyncio.Event()
    connect = database.connect

    async def held_up(**options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        await back.wait()
        return await connect(**options)

    async with running(garden.runner()) as runner:
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)
        database.connect = held_up  # type: ignore[method-assign]  # keeps the runner away while we look
        other = await asyncpg.connect(postgres_dsn, server_settings={"search_path": database.schema})
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"okr {database.schema}",
        )
        await other.execute("UPDATE checkpoint SET position = 0; DELETE FROM plant_g1; DELETE FROM plant_g1_history")
        await other.execute("DELETE FROM watering_g1; DELETE FROM garden_g1")
        await other.close()
        while True:
            try:
                assert not await runner.caught_up(SHARD, 1, 0.01)
                break
            except StoreUnavailableError:
                continue  # that was a connection of the pool, which ended too
        back.set()
        assert await runner.caught_up(SHARD, 1, 20)
        assert await database.fetchval("SELECT waterings FROM plant") == 1


async def test_shards_handed_over_begin_at_their_checkpoint(garden: Garden, database: Database) -> None:
    class Handed(PostgresSource):
        mine = frozenset[int]()

        async def assignments(self) -> frozenset[int]:
            return self.mine

    source = Handed("garden", database, garden.codec, log=garden.log)
    await garden.append("fern", watered(1))
    async with running(garden.runner()) as first:
        await catch_up(first, garden)
    async with running(garden.runner(source=source)) as second:
        while second.consumer is None:
            await second.caught_up(SHARD, 1, 0.01)
        assert await second.caught_up(SHARD, 1, 0.01), "the shard is another's, whose checkpoint says so"
        Handed.mine = frozenset({SHARD})
        await source.seek(SHARD + 1, 0)  # wakes it, as a rebalance would
        await garden.append("fern", watered(2))
        assert await second.caught_up(SHARD, 2, 20)

    assert second.counters.events == 1
    assert await database.fetchval("SELECT litres FROM plant") == 3
    assert set(second.checkpoints) == {SHARD}
    assert not await second.caught_up(SHARD + 1, 1, 0.01)


async def test_a_runner_ends_cleanly_when_cancelled(garden: Garden) -> None:
    runner = garden.runner()
    task = asyncio.create_task(runner.run())
    await garden.append("fern", watered(1))
    assert await runner.caught_up(SHARD, 1, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_changed_row_waits_for_a_rebuild(garden: Garden, database: Database) -> None:
    await database.execute("UPDATE projection SET shape = 'as it was before'")

    assert await ensure(database, [plants]) == [plants]
