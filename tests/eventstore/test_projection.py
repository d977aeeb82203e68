"""Folding: the same fold, live in batches or afresh in memory, ends in the same rows, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, field
from msgspec.structs import replace

from okr_eventstore.database import Database
from okr_eventstore.folding import FoldedRows, Key, fold_batch
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import RecordedEvent
from okr_eventstore.parking import retry_parked
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_eventstore.rebuild import rebuild, verify
from okr_eventstore.tables import ensure, shape_of, table_of
from tests.conftest import drop_schema
from tests.eventstore.garden import (
    EVERYTHING,
    GARDEN,
    MEADOW,
    MOMENT,
    ORCHARD,
    Choosy,
    Garden,
    GardenRow,
    Planted,
    PlantRow,
    Tagged,
    Thinned,
    Watered,
    catch_up,
    planted,
    plants,
    running,
    table,
    watered,
)


def recorded(position: int, data: Struct, stream: str = "fern", organization_id: UUID = GARDEN) -> RecordedEvent:
    return RecordedEvent(
        shard=1,
        position=position,
        organization_id=organization_id,
        stream_id=stream,
        version=position,
        event_id=uuid4(),
        type=type(data).__name__,
        schema_version=1,
        recorded_at=MOMENT,
        occurred_at=MOMENT,
        command_id=uuid4(),
        causation_id=None,
        correlation_id=uuid4(),
        actor="person:ana",
        data=data,
    )


class Shelf:
    """Rows that are there already, and a count of how often they were asked for."""

    def __init__(self, *rows: Row) -> None:
        self.rows = {(type(row), table_of(type(row)).values(row)[: len(row.__key__)]): row for row in rows}
        self.loads: list[type[Row]] = []

    async def load(self, kind: type[Row], keys: list[Key] | tuple[Key, ...] | object) -> list[Row]:
        assert isinstance(keys, list)
        self.loads.append(kind)
        return [self.rows[kind, key] for key in keys if (kind, key) in self.rows]


async def test_a_batch_loads_all_the_rows_it_needs_with_one_select_a_table() -> None:
    shelf = Shelf(PlantRow(GARDEN, "fern", litres=Decimal(10)), GardenRow(GARDEN, Decimal(100)))
    events = [recorded(n, watered(1), stream) for n, stream in enumerate(["fern", "moss", "fern", "oak"], start=1)]

    rows = await fold_batch(plants, events, shelf.load)

    assert sorted(kind.__name__ for kind in shelf.loads) == ["GardenRow", "PlantRow"]
    litres = {row.plant: row.litres for row, _ in rows.kept[PlantRow].final()}
    assert litres == {"fern": 12, "moss": 1, "oak": 1}
    assert [row.litres for row, _ in rows.kept[GardenRow].final()] == [104]


class Step(Row, frozen=True):
    __table__ = "step"
    __key__ = ("organization_id", "number")

    organization_id: UUID
    number: int
    following: int | None = None
    reached: bool = False


async def test_a_row_that_leads_to_another_is_loaded_before_the_other() -> None:
    def walk(rows: Rows, event: ProjectedEvent) -> None:
        number: int | None = 1
        while number is not None:
            step = rows.find(Step, event.organization_id, number)
            if step is None:
                raise LookupError(f"there is no step {number}")
            rows.put(replace(step, reached=True))
            number = step.following

    shelf = Shelf(Step(GARDEN, 1, 5), Step(GARDEN, 5, 9), Step(GARDEN, 9))
    rows = await fold_batch(Projection("walk", "garden", (Step,), walk), [recorded(1, watered())], shelf.load)
    assert [row.number for row, _ in rows.kept[Step].final()] == [1, 5, 9]

    with pytest.raises(LookupError, match="no step 7"):
        await fold_batch(
            Projection("walk", "garden", (Step,), walk), [recorded(1, watered())], Shelf(Step(GARDEN, 1, 7)).load
        )


def test_an_event_that_puts_a_row_twice_makes_one_version_of_it() -> None:
    def twice(rows: Rows, event: ProjectedEvent) -> None:
        for name in ("first", "second"):
            rows.put(replace(rows.get(PlantRow, event.organization_id, "fern"), name=name))
            rows.put(replace(rows.get(PlantRow, event.organization_id, "moss"), name=name))

    rows = FoldedRows((PlantRow,), complete=True)
    assert rows.fold(twice, [recorded(1, watered()), recorded(2, watered())]) is None
    versions = [(row.plant, row.name, stamp.position) for row, stamp in rows.kept[PlantRow].versions]
    assert versions == [("fern", "second", 1), ("moss", "second", 1), ("fern", "second", 2), ("moss", "second", 2)]


def test_a_fold_cannot_touch_the_rows_of_another_organisation() -> None:
    def stray(rows: Rows, event: ProjectedEvent) -> None:
        rows.put(PlantRow(ORCHARD, "fern"))

    error = FoldedRows((PlantRow,), complete=True).fold(stray, [recorded(1, watered())])
    assert isinstance(error, ValueError)
    assert "belongs to the organisation" in str(error)


def test_a_fold_may_only_touch_the_rows_of_its_projection() -> None:
    error = FoldedRows((GardenRow,), complete=True).fold(plants.project, [recorded(1, watered())])
    assert isinstance(error, TypeError)
    assert "PlantRow is not among the rows" in str(error)


class Everything(Row, frozen=True):
    __table__ = "everything"
    __key__ = ("organization_id",)

    organization_id: UUID
    text: str = ""
    choice: Literal["a", "b"] = "a"
    maybe_choice: Literal["a", "b"] | None = None
    number: int = 0
    yes: bool = False
    decimal: Decimal | None = None
    day: date | None = None
    moment: datetime | None = None
    ids: tuple[UUID, ...] = ()
    pairs: dict[str, Decimal] = field(default_factory=dict)
    plant: Planted | None = None


async def test_every_kind_of_field_survives_the_table(database: Database) -> None:
    full = Everything(
        GARDEN,
        'tab\t "quoted" ü €',
        "b",
        "a",
        -(2**63),
        True,
        Decimal("-12.3400"),
        date(2026, 2, 28),
        datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        (ORCHARD, MEADOW),
        {"b": Decimal("1.10"), "a": Decimal("1E+3")},
        Planted("fern", date(2026, 1, 1)),
    )
    rows = {GARDEN: full, ORCHARD: Everything(ORCHARD)}

    def keep(store: Rows, event: ProjectedEvent) -> None:
        found = store.find(Everything, event.organization_id)
        assert found in (None, rows[event.organization_id]), found
        store.put(rows[event.organization_id])

    everything = Projection("everything", "garden", (Everything,), keep)
    garden = Garden(database)
    await garden.log.start()
    await ensure(database, [everything])
    async with running(garden.runner(everything)) as runner:
        for _ in range(2):  # the second time the fold compares what it finds with what it put
            await garden.append("fern", watered(), organization_id=GARDEN)
            await garden.append("fern", watered(), organization_id=ORCHARD)
            await catch_up(runner, garden)
        assert runner.parked_streams == 0
        verdict = await verify(everything, database, garden.source())
    await garden.log.close()
    assert verdict.equal, verdict
    assert await database.fetchval("SELECT decimal::text FROM everything WHERE decimal IS NOT NULL") == "-12.3400"


def test_a_row_that_makes_no_table_is_refused_with_the_reason() -> None:
    class Floating(Row, frozen=True):
        __table__ = "floating"
        __key__ = ("organization_id",)
        organization_id: UUID
        share: float = 0.0

    class Keyless(Row, frozen=True):
        __table__ = "keyless"
        __key__ = ("plant",)
        plant: str

    class Clashing(Row, frozen=True):
        __table__ = "clashing"
        __key__ = ("organization_id",)
        organization_id: UUID
        recorded_at: datetime | None = None

    for kind, reason in ((Floating, "float"), (Keyless, "organization_id"), (Clashing, "recorded_at")):
        with pytest.raises(TypeError, match=reason):
            table_of(kind)


def test_the_shape_changes_with_a_column_and_not_with_the_fold() -> None:
    class PlantRow2(PlantRow, frozen=True):
        __table__ = "plant"
        __history__: ClassVar[bool] = True
        height: int = 0

    other_fold = Projection("plants", "garden", plants.rows, lambda rows, event: None)
    assert shape_of(other_fold) == shape_of(plants)
    assert shape_of(Projection("plants", "garden", (PlantRow2, *plants.rows[1:]), plants.project)) != shape_of(plants)


# --- live equals rebuilt ------------------------------------------------------------------------------

amounts = st.decimals(min_value="0.001", max_value="99999", places=3) | st.sampled_from(
    [Decimal("1E+3"), Decimal("1.50"), Decimal("2"), Decimal("0.00")]
)
facts = st.one_of(
    st.builds(Planted, st.text("abcé€ \\\"'", max_size=5), st.dates(date(2020, 1, 1), date(2030, 1, 1))),
    st.builds(Watered, amounts, st.text("xyz\t\n", max_size=4)),
    st.builds(Tagged, st.text("tag", max_size=3), st.sampled_from([ORCHARD, MEADOW])),
    st.builds(Thinned, st.integers(0, 5)),
)
histories = st.lists(
    st.tuples(
        st.sampled_from([GARDEN, ORCHARD, MEADOW]),
        st.sampled_from(["fern", "moss", "oak"]),
        st.lists(facts, min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


NAMES = ("plant", "plant_history", "watering", "garden")


@asynccontextmanager
async def fresh_garden(dsn: str) -> AsyncIterator[Garden]:
    database = await Database.open(dsn, f"test_{uuid4().hex}")
    await migrate(database, LOG_MIGRATIONS)
    garden = Garden(database)
    await garden.log.start()
    try:
        yield garden
    finally:
        await garden.log.close()
        await database.close()
        await drop_schema(dsn, database.schema)


async def live_and_rebuilt(dsn: str, history: list[tuple[UUID, str, list[Struct], bool]]) -> None:
    async with fresh_garden(dsn) as garden:
        await ensure(garden.database, [plants])
        async with running(garden.runner()) as runner:
            for organization_id, stream, events, pause in history:
                await garden.append(stream, *events, organization_id=organization_id)
                if pause:  # so that batches are cut at random
                    await catch_up(runner, garden)
            await catch_up(runner, garden)
        live = {name: await table(garden.database, name) for name in NAMES}

        rebuilt = await rebuild(plants, garden.database, garden.source())

        assert rebuilt.equal, rebuilt
        assert {name: await table(garden.database, name) for name in NAMES} == live
        assert (await verify(plants, garden.database, garden.source())).equal


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
async def test_a_fold_in_batches_and_a_fold_from_nothing_end_in_the_same_bytes(
    postgres_dsn: str, history: list[tuple[UUID, str, list[Struct], bool]]
) -> None:
    await live_and_rebuilt(postgres_dsn, history)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, poisoned=st.sets(st.integers(0, 24), min_size=1, max_size=3))
async def test_streams_parked_and_healed_at_any_time_end_in_the_same_bytes(
    postgres_dsn: str, history: list[tuple[UUID, str, list[Struct], bool]], poisoned: set[int]
) -> None:
    choosy = Choosy()
    async with fresh_garden(postgres_dsn) as garden:
        database, source = garden.database, garden.source()
        await ensure(database, [choosy.projection])
        async with running(garden.runner(choosy.projection)) as runner:
            for number, (organization_id, stream, events, pause) in enumerate(history):
                poison = [Thinned(-1)] if number in poisoned else []
                await garden.append(stream, *poison, *events, organization_id=organization_id)
                if pause:
                    await catch_up(runner, garden)
            await catch_up(runner, garden)
            assert (await verify(choosy.projection, database, source)).equal, "what is parked is left out on both sides"

            choosy.digests_up_to = EVERYTHING
            retried = await retry_parked(runner.subscription, database, source)
            assert retried.still_parked_streams == 0
        live = {name: await table(database, name) for name in NAMES}

        rebuilt = await rebuild(choosy.projection, database, source)

        assert rebuilt.equal, rebuilt
        assert {name: await table(database, name) for name in NAMES} == live


async def test_rows_of_many_streams_at_once_are_the_sum_of_their_events(postgres_dsn: str) -> None:
    async with fresh_garden(postgres_dsn) as garden:
        await ensure(garden.database, [plants])
        async with running(garden.runner()) as runner:

            async def tend(stream: str) -> None:
                await garden.append(stream, planted())
                for _ in range(20):
                    await garden.append(stream, watered(2))

            await asyncio.gather(*(tend(f"fern-{number}") for number in range(10)))
            await catch_up(runner, garden)
        assert await garden.database.fetchval("SELECT litres FROM garden") == 400
