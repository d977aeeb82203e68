"""Readers beside rebuilds: none ever sees a torn row, a half-filled table, or less than it saw before."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace as replaced
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from okr_eventstore.database import Database
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_eventstore.rebuild import rebuild, rollback, verify
from okr_eventstore.tables import ensure
from tests.eventstore.garden import EVERYTHING, GARDEN, SHARD, Garden, Watered, catch_up, plants, running, watered

REBUILDS = 6
PLANTS = 5


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    await ensure(database, [plants])
    yield garden
    await garden.log.close()


class Reader:
    """Asks one question again and again. All waterings are of one litre, so that litres count them."""

    QUESTION = """SELECT (SELECT coalesce(sum(waterings), 0) FROM plant) AS waterings,
                         (SELECT coalesce(sum(litres), 0) FROM plant) AS litres,
                         (SELECT coalesce(sum(litres), 0) FROM garden) AS garden,
                         (SELECT count(*) FROM watering) AS rows,
                         (SELECT count(*) FROM plant_history) AS past"""

    def __init__(self, database: Database) -> None:
        self.seen: list[int] = []
        self._database = database

    async def read_until(self, finished: asyncio.Event) -> None:
        while not finished.is_set():
            row = await self._database.fetchrow(self.QUESTION)
            assert row is not None
            assert len(set(map(int, row))) == 1, f"torn: {dict(row)}"
            assert not self.seen or row["waterings"] >= self.seen[-1], (
                f"older: {row['waterings']} after {self.seen[-1]}"
            )
            self.seen.append(int(row["waterings"]))


async def write_until(garden: Garden, finished: asyncio.Event) -> int:
    number = 0
    while not finished.is_set():
        await garden.append(f"fern-{number % PLANTS}", watered(1))
        number += 1
    return number


async def test_readers_beside_rebuilds_see_whole_rows_that_never_go_back(garden: Garden, database: Database) -> None:
    finished = asyncio.Event()
    readers = [Reader(database) for _ in range(3)]
    async with running(garden.runner()) as runner:
        await garden.append("fern-0", *(watered(1) for _ in range(500)))
        await catch_up(runner, garden)
        reading = [asyncio.create_task(reader.read_until(finished)) for reader in readers]
        writing = asyncio.create_task(write_until(garden, finished))
        rebuilt = [await rebuild(plants, database, garden.source()) for _ in range(REBUILDS)]
        finished.set()
        written = await writing
        await asyncio.gather(*reading)
        await catch_up(runner, garden)

    assert [each.equal for each in rebuilt] == [True] * REBUILDS, "the digests of both sides were equal at each switch"
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == 500 + written
    assert all(reader.seen[-1] > reader.seen[0] for reader in readers), "the readers saw the writers at work"
    assert (await verify(plants, database, garden.source())).equal


async def test_rows_that_are_changed_table_by_table_are_seen_torn(garden: Garden, database: Database) -> None:
    """The control: what a rebuild in place would do, one table after the other, the same question catches."""
    async with running(garden.runner()) as runner:
        await garden.append("fern-0", *(watered(1) for _ in range(50)))
        await catch_up(runner, garden)
    reader, finished = Reader(database), asyncio.Event()
    reading = asyncio.create_task(reader.read_until(finished))
    await database.execute("UPDATE plant_g1 SET waterings = 10, litres = 10")

    with pytest.raises(AssertionError, match="torn"):
        await reading


async def test_a_new_version_of_another_shape_takes_over_beside_writers_and_back_again(
    garden: Garden, database: Database
) -> None:
    class TallPlantRow(Row, frozen=True):
        __table__ = "plant"
        __key__ = ("organization_id", "plant")
        organization_id: UUID
        plant: str
        waterings: int = 0
        longest_note: str = ""

    def tall(rows: Rows, event: ProjectedEvent) -> None:
        row = rows.get(TallPlantRow, event.organization_id, event.stream_id)
        if isinstance(event.data, Watered):
            rows.put(
                replace(
                    row,
                    waterings=row.waterings + 1,
                    longest_note=max(row.longest_note, event.data.note, key=len),
                )
            )

    changed = replaced(Projection("plants", "garden", (TallPlantRow,), tall), version=2)
    async with running(garden.runner()) as old:
        await garden.append("fern-0", *(watered(1, "in the evening") for _ in range(50)))
        await catch_up(old, garden)
        finished = asyncio.Event()
        writing = asyncio.create_task(write_until(garden, finished))
        seen: list[int] = []

        async def read() -> None:
            while not finished.is_set():
                row: Any = await database.fetchrow("SELECT sum(waterings) AS waterings FROM plant")
                seen.append(int(row["waterings"]))

        reading = asyncio.create_task(read())
        assert await ensure(database, [changed]) == [changed]
        assert (await rebuild(changed, database, garden.source())).equal is None
        assert await ensure(database, [changed]) == []
        async with running(garden.runner(changed)) as new:
            await new.caught_up(SHARD, (await garden.log.heads())[SHARD].position, 20)
            finished.set()
            written = await writing
            await reading
            await catch_up(new, garden)
        assert seen == sorted(seen)
        assert await database.fetchval("SELECT sum(waterings) FROM plant") == 50 + written
        assert await database.fetchval("SELECT max(longest_note) FROM plant") == "in the evening"

        assert (await rollback(changed, database)).number == 1
        while old.consumer != "plants@1" or not await old.caught_up(SHARD, 50 + written, 0.05):
            assert not await old.caught_up(SHARD, EVERYTHING, 0.05)
    assert await database.fetchval("SELECT litres FROM garden WHERE organization_id = $1", GARDEN) == 50 + written
    assert (await verify(plants, database, garden.source())).equal
