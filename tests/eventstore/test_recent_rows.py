"""Rows that a consumer remembers between batches: it must never fold on one that somebody else has changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from okr_eventstore.applying import Applier, SupersededError
from okr_eventstore.checkpoints import Ledger
from okr_eventstore.database import Connection, Database
from okr_eventstore.folding import FoldedRows, Key
from okr_eventstore.model import RecordedEvent, ShardBatch
from okr_eventstore.projection import Row
from okr_eventstore.recent_rows import RecentRows
from okr_eventstore.tables import ensure, live_generation
from tests.eventstore.garden import (
    GARDEN,
    SHARD,
    Choosy,
    Garden,
    GardenRow,
    PlantRow,
    Thinned,
    planted,
    plants,
    table,
    watered,
)


class CountingLedger(Ledger):
    """Notes which rows it was made to read."""

    loads: list[type[Row]]

    async def load(self, connection: Connection, kind: type[Row], keys: Sequence[Key]) -> list[Row]:
        self.loads.append(kind)
        return await super().load(connection, kind, keys)


class Consumer:
    """An applier of the garden's plants on a connection of its own."""

    def __init__(self, connection: Connection, ledger: CountingLedger, fold: Choosy) -> None:
        self.connection = connection
        self.ledger = ledger
        self.applier = Applier(ledger, projection=fold.projection)

    async def apply(self, events: Sequence[RecordedEvent]) -> list[type[Row]]:
        """Apply them as one batch, and say which rows had to be read."""
        self.ledger.loads = []
        await self.applier.apply(self.connection, [ShardBatch(SHARD, 1, events)])
        return self.ledger.loads


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    await ensure(database, [plants])
    garden = Garden(database)
    await garden.log.start()
    yield garden
    await garden.log.close()


async def consumer(database: Database, *, recent: RecentRows | None = None, fold: Choosy | None = None) -> Consumer:
    connection = await database.connect()
    generation = await live_generation(connection, plants.name)
    ledger = CountingLedger(
        f"{plants.name}@1", "garden", projection=plants, generation=generation, recent=recent or RecentRows()
    )
    found = Consumer(connection, ledger, fold or Choosy())
    await found.applier.read(connection, [SHARD])
    return found


async def litres(database: Database) -> tuple[int, int]:
    """Of the one plant, and of the garden it stands in."""
    row = await database.fetchrow("SELECT p.litres, g.litres FROM plant p, garden g WHERE p.plant = 'fern'")
    assert row is not None
    return int(row[0]), int(row[1])


async def test_rows_that_a_batch_left_behind_are_not_read_again(garden: Garden, database: Database) -> None:
    for amount in (1, 2, 3):
        await garden.append("fern", watered(amount))
    first, second, third = await garden.log.read_shard(SHARD)
    applying = await consumer(database)

    assert set(await applying.apply([first])) == {PlantRow, GardenRow}
    assert await applying.apply([second]) == []
    assert await applying.apply([third]) == []

    assert await litres(database) == (6, 6)
    assert len(await table(database, "plant_history")) == 3
    await applying.connection.close()


async def test_who_gets_a_shard_back_reads_its_rows_again(garden: Garden, database: Database) -> None:
    """Positions alone would not tell: the checkpoint is read anew, and from then on it is as expected."""
    for amount in (1, 2, 4):
        await garden.append("fern", watered(amount))
    first, second, third = await garden.log.read_shard(SHARD)
    one, other = await consumer(database), await consumer(database)
    await one.apply([first])
    one.applier.forget([SHARD])
    await other.applier.read(other.connection, [SHARD])
    await other.apply([second])
    await one.applier.read(one.connection, [SHARD])

    assert set(await one.apply([third])) == {PlantRow, GardenRow}

    assert await litres(database) == (7, 7)
    await asyncio.gather(one.connection.close(), other.connection.close())


async def test_a_batch_that_was_refused_leaves_nothing_to_remember(garden: Garden, database: Database) -> None:
    for amount in (1, 2, 4):
        await garden.append("fern", watered(amount))
    first, second, third = await garden.log.read_shard(SHARD)
    recent = RecentRows()
    one, other = await consumer(database, recent=recent), await consumer(database)
    await one.apply([first])
    assert (PlantRow, (GARDEN, "fern")) in recent
    await other.applier.read(other.connection, [SHARD])
    await other.apply([second])

    with pytest.raises(SupersededError):
        await one.apply([second])
    assert (PlantRow, (GARDEN, "fern")) not in recent

    await one.applier.read(one.connection, [SHARD])
    await one.apply([third])
    assert await litres(database) == (7, 7)
    await asyncio.gather(one.connection.close(), other.connection.close())


async def test_poison_in_a_batch_does_not_reach_what_is_remembered(garden: Garden, database: Database) -> None:
    await garden.append("fern", watered(1))
    await garden.append("fern", watered(2))
    await garden.append("moss", planted("moss"), Thinned(-1))
    await garden.append("fern", watered(4))
    first, *poisoned, last = await garden.log.read_shard(SHARD)
    applying = await consumer(database)
    await applying.apply([first])

    await applying.apply(poisoned)  # folded in part, refused, halved: moss is parked
    await applying.apply([last])

    assert await litres(database) == (7, 7)
    assert applying.applier.parked[SHARD] == {(GARDEN, "moss")}
    await applying.connection.close()


async def test_a_row_that_no_batch_asked_for_is_read_when_one_does(garden: Garden, database: Database) -> None:
    await garden.append("fern", Thinned(1))
    await garden.append("fern", watered(1))
    first, second = await garden.log.read_shard(SHARD)
    recent = RecentRows()
    applying = await consumer(database, recent=recent)

    await applying.apply([first])
    assert (GardenRow, (GARDEN,)) not in recent
    assert await applying.apply([second]) == [GardenRow]
    await applying.connection.close()


def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    recent = RecentRows(most=3)

    def learn(*names: str) -> None:
        rows = FoldedRows((PlantRow,), complete=False)
        rows.kept[PlantRow].loaded = {(GARDEN, name): PlantRow(GARDEN, name) for name in names}
        recent.learn(rows)

    learn("fern", "moss", "oak")
    learn("fern")
    learn("ivy")

    assert [name for name in ("fern", "moss", "oak", "ivy") if (PlantRow, (GARDEN, name)) in recent] == [
        "fern",
        "oak",
        "ivy",
    ]
