"""Rebuilding beside the live rows, going back, and proving that the rows are what the log says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace as replaced
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from okr_eventstore import runner as runner_module
from okr_eventstore.applying import HALT_FLOOR
from okr_eventstore.checkpoints import Move, open_ledger
from okr_eventstore.database import Database
from okr_eventstore.model import Position
from okr_eventstore.parking import list_parked
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_eventstore.rebuild import RebuildError, rebuild, rollback, verify
from okr_eventstore.tables import ensure, live_generation
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
    table,
    watered,
)

NAMES = ("plant", "plant_history", "watering", "garden")


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    await ensure(database, [plants])
    yield garden
    await garden.log.close()


class Broken(PostgresSource):
    """A log whose owner goes away as soon as it is read."""

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        raise ConnectionError("the log's owner is away")


async def tend(garden: Garden, rounds: int = 5) -> None:
    for number in range(rounds):
        for organization_id in (GARDEN, ORCHARD):
            for plant in ("fern", "moss", "oak"):
                event = planted(plant) if number == 0 else watered(f"{number}.50", note="in the evening")
                await garden.append(plant, event, organization_id=organization_id)


async def read_until(finished: asyncio.Task[None], database: Database) -> None:
    while not finished.done():
        assert await database.fetchval("SELECT count(*) FROM plant") == 6
        assert await database.fetchval("SELECT count(*) FROM plant_history") >= 30


async def tables(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {name: await table(database, name) for name in NAMES}


async def generations(database: Database) -> list[int]:
    rows = await database.fetch("SELECT generation FROM projection_generation ORDER BY 1")
    return [row["generation"] for row in rows]


async def test_a_rebuild_ends_in_equal_rows_and_the_live_runner_moves_over(garden: Garden, database: Database) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        before = await tables(database)
        seen: list[tuple[int, int]] = []

        rebuilt = await rebuild(plants, database, garden.source(), lambda done, total: seen.append((done, total)))

        assert (rebuilt.generation, rebuilt.equal, rebuilt.events, rebuilt.rows) == (2, True, 30, 6 + 24 + 2)
        assert await tables(database) == before
        assert seen[0] == (0, 30) and seen[-1] == (30, 30)
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)
        assert runner.consumer == "plants@2"
    assert await database.fetchval("SELECT waterings FROM plant_g2 WHERE plant = 'fern' ORDER BY 1 DESC LIMIT 1") == 5
    assert (await verify(plants, database, garden.source())).equal


async def test_a_rebuild_goes_on_beside_live_writes(garden: Garden, database: Database) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        writing = asyncio.create_task(tend(garden, 30))
        reading = asyncio.create_task(read_until(writing, database))
        for _ in range(3):
            rebuilt = await rebuild(plants, database, garden.source())
            assert rebuilt.equal, rebuilt
        await writing
        await reading  # no reader has seen an error or a table that was not full
        await catch_up(runner, garden)
    assert not runner.halted
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == 6 * (4 + 29)
    assert (await verify(plants, database, garden.source())).equal


async def test_a_batch_for_a_generation_that_is_no_longer_live_writes_nothing(
    garden: Garden, database: Database
) -> None:
    await garden.append("fern", watered(1))
    connection = await database.connect()
    ledger = await open_ledger(connection, "garden.plants", "garden", plants)
    checkpoint = (await ledger.read(connection, [SHARD]))[SHARD]
    await rebuild(plants, database, garden.source())

    assert await ledger.move(connection, [Move(SHARD, checkpoint, 1, 1)]) == {}
    assert await database.fetchval("SELECT max(position) FROM checkpoint") == 0
    await connection.close()


async def test_a_checkpoint_that_another_moved_lets_none_of_the_batch_through(
    garden: Garden, database: Database
) -> None:
    """All shards or none, and a writer that waited for the other one is refused as well."""
    connection = await database.connect()
    ledger = await open_ledger(connection, "garden.plants", "garden", plants)
    at = await ledger.read(connection, [1, 2])
    async with database.transaction() as other:
        assert len(await ledger.move(other, [Move(2, at[2], 1, 7)])) == 1
        waiting = asyncio.create_task(ledger.move(connection, [Move(1, at[1], 1, 5), Move(2, at[2], 1, 5)]))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
    assert await waiting == {}
    rows = await database.fetch(
        "SELECT shard, position FROM checkpoint WHERE consumer = $1 ORDER BY 1", ledger.consumer
    )
    assert [tuple(row) for row in rows] == [(1, 0), (2, 7)]
    await connection.close()


async def test_a_changed_shape_is_rebuilt_and_then_served(garden: Garden, database: Database) -> None:
    class TallPlantRow(Row, frozen=True):
        __table__ = "plant"
        __key__ = ("organization_id", "plant")
        organization_id: UUID
        plant: str
        events: int = 0

    def count(rows: Rows, event: ProjectedEvent) -> None:
        row = rows.get(TallPlantRow, event.organization_id, event.stream_id)
        rows.put(replace(row, events=row.events + 1))

    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
    changed = Projection("plants", "garden", (TallPlantRow,), count)

    assert await ensure(database, [changed]) == [changed]
    assert len(await table(database, "plant")) == 6, "the old rows are read until the new ones are there"
    rebuilt = await rebuild(changed, database, garden.source())
    assert rebuilt.equal is None, "what has another shape cannot be compared"
    assert await ensure(database, [changed]) == []
    async with running(garden.runner(changed)) as runner:
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)
    assert await database.fetchval("SELECT max(events) FROM plant") == 6
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("SELECT * FROM watering")


async def test_a_changed_version_is_rebuilt(garden: Garden, database: Database) -> None:
    changed = replaced(plants, version=2)
    assert await ensure(database, [changed]) == [changed]
    await tend(garden)
    rebuilt = await rebuild(changed, database, garden.source())
    assert (rebuilt.events, rebuilt.rows) == (30, 32)
    assert await ensure(database, [changed]) == []


async def test_going_back_is_at_once_and_catches_up(garden: Garden, database: Database) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        await rebuild(plants, database, garden.source())
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)

        assert (await rollback(plants, database)).number == 1
        await garden.append("fern", watered(1))
        while runner.consumer != "plants@1":
            await runner.caught_up(SHARD, EVERYTHING, 0.01)
        await catch_up(runner, garden)
        assert runner.counters.zombies == 2, "once for the rebuild, once for the way back"

        assert await table(database, "plant") == await table(database, "plant_g1")
        assert (await verify(plants, database, garden.source())).equal
        assert (await rollback(plants, database)).number == 2


async def test_a_runner_without_events_notices_that_another_generation_went_live(
    garden: Garden, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "FETCH_SECONDS", 0.05)
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        await rebuild(plants, database, garden.source())
        while runner.consumer != "plants@2":
            await runner.caught_up(SHARD, EVERYTHING, 0.01)


async def test_there_is_nothing_to_go_back_to_before_the_first_rebuild(garden: Garden, database: Database) -> None:
    with pytest.raises(RebuildError, match="no earlier generation"):
        await rollback(plants, database)


async def test_only_the_last_two_generations_are_kept(garden: Garden, database: Database) -> None:
    for _ in range(3):
        await rebuild(plants, database, garden.source())
    assert await generations(database) == [3, 4]
    left = await database.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename ~ '_g[0-9]'", database.schema
    )
    assert {row["tablename"] for row in left} == {
        f"{name}_g{number}{past}"
        for name, past in (("plant", ""), ("plant", "_history"), ("watering", ""), ("garden", ""))
        for number in (3, 4)
    }


async def test_a_rebuild_that_breaks_off_leaves_the_live_rows_and_the_next_one_cleans_up(
    garden: Garden, database: Database
) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        before = await tables(database)

        with pytest.raises(ConnectionError):
            await rebuild(plants, database, Broken("garden", database, garden.codec))
        assert await tables(database) == before
        assert await generations(database) == [1, 2]

        assert (await rebuild(plants, database, garden.source())).equal
        assert await generations(database) == [1, 3]


async def test_of_two_rebuilds_at_once_one_is_refused(garden: Garden, database: Database) -> None:
    await tend(garden)
    outcomes = await asyncio.gather(
        *(rebuild(plants, database, garden.source()) for _ in range(2)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, RebuildError)]
    assert len(refused) == 1
    assert "being rebuilt already" in str(refused[0])


async def test_a_rebuild_parks_what_the_live_one_parked_and_is_equal(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    async with running(garden.runner(choosy.projection)) as runner:
        await tend(garden)
        await garden.append("fern", Thinned(-1), watered(1))
        await catch_up(runner, garden)
        rebuilt = await rebuild(choosy.projection, database, garden.source())

    assert rebuilt.equal, rebuilt
    (stream,) = await list_parked(database)
    assert (stream.stream_id, stream.events) == ("fern", 2)
    verdict = await verify(choosy.projection, database, garden.source())
    assert verdict.equal, verdict


async def test_a_rebuild_lets_the_stream_of_a_newer_event_wait_too(garden: Garden, database: Database) -> None:
    await database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await garden.append("fern", watered(1), watered(2), watered(4))
    await garden.append("moss", watered(8))
    await database.execute("UPDATE event SET schema_version = 2 WHERE position = 2")
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)
        rebuilt = await rebuild(plants, database, garden.source())

    assert rebuilt.equal, rebuilt
    (stream,) = await list_parked(database)
    assert (stream.stream_id, stream.first_position, stream.events) == ("fern", 2, 2)
    assert await database.fetchval("SELECT litres FROM garden") == 9


async def test_a_rebuild_after_the_cure_has_nothing_parked(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    async with running(garden.runner(choosy.projection)) as runner:
        await garden.append("fern", watered(1), Thinned(-1), watered(1))
        await catch_up(runner, garden)
        choosy.digests_up_to = EVERYTHING
        rebuilt = await rebuild(choosy.projection, database, garden.source())
        assert rebuilt.equal is False, "the new rows know more than the old ones did"
        assert await list_parked(database) == []
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)
        assert runner.parked_streams == 0
    assert await database.fetchval("SELECT litres FROM plant") == 3


async def test_a_fold_that_chokes_on_what_was_digested_does_not_go_live(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    choosy.digests_up_to = EVERYTHING
    async with running(garden.runner(choosy.projection)) as runner:
        for number in range(HALT_FLOOR + 1):
            await garden.append(f"fern-{number}", Thinned(-1))
        await catch_up(runner, garden)
        choosy.digests_up_to = 0
        with pytest.raises(RebuildError, match="could not be digested"):
            await rebuild(choosy.projection, database, garden.source())
    generation = await live_generation(database, "plants")
    assert generation is not None
    assert generation.number == 1


# --- verify ------------------------------------------------------------------------------------------


async def test_verify_says_how_much_it_compared(garden: Garden, database: Database) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
        seen: list[tuple[int, int]] = []
        verdict = await verify(plants, database, garden.source(), lambda done, total: seen.append((done, total)))

    assert (verdict.equal, verdict.events, verdict.problem) == (True, 30, "")
    assert Position("garden", SHARD, 1, 15) in verdict.heads
    assert [(t.table, t.live.rows, t.fresh.rows) for t in verdict.tables] == [
        ("plant", 6, 6),
        ("plant_history", 30, 30),
        ("watering", 24, 24),
        ("garden", 2, 2),
    ]
    assert all(len(t.live.digest) == 32 for t in verdict.tables)
    assert seen[-1] == (30, 30)


@pytest.mark.parametrize(
    ("tampering", "tampered"),
    [
        ("UPDATE plant_g1 SET litres = litres + 0.01 WHERE plant = 'fern'", "plant"),
        ("UPDATE plant_g1 SET litres = litres + 0.00 + 0.000 WHERE plant = 'fern'", "plant"),
        ("UPDATE plant_g1_history SET actor = 'person:eve' WHERE position = 3", "plant_history"),
        ("DELETE FROM watering_g1 WHERE position = 4", "watering"),
        ("INSERT INTO garden_g1 SELECT gen_random_uuid(), 1, 1, now(), 1", "garden"),
    ],
    ids=["a changed value", "a changed scale", "a changed past", "a missing row", "an extra row"],
)
async def test_verify_catches(garden: Garden, database: Database, tampering: str, tampered: str) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        await catch_up(runner, garden)
    await database.execute(tampering)

    verdict = await verify(plants, database, garden.source())

    assert not verdict.equal
    assert [t.table for t in verdict.tables if t.live != t.fresh] == [tampered]
    repaired = await rebuild(plants, database, garden.source())
    assert repaired.equal is False
    assert (await verify(plants, database, garden.source())).equal


async def test_verify_compares_one_instant_while_rows_go_on_changing(garden: Garden, database: Database) -> None:
    async with running(garden.runner()) as runner:
        await tend(garden)
        writing = asyncio.create_task(tend(garden, 20))
        verdicts = [await verify(plants, database, garden.source()) for _ in range(4)]
        await writing
        await catch_up(runner, garden)
    assert all(verdict.equal for verdict in verdicts), verdicts
    assert verdicts[0].events <= verdicts[-1].events


async def test_verify_reports_a_log_that_cannot_be_folded(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    choosy.digests_up_to = EVERYTHING
    async with running(garden.runner(choosy.projection)) as runner:
        await garden.append("fern", watered(1), Thinned(-1))
        await catch_up(runner, garden)
    choosy.digests_up_to = 0

    verdict = await verify(choosy.projection, database, garden.source())

    assert not verdict.equal
    assert "CannotDigestError" in verdict.problem
