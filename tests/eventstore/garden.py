"""A small domain for tests of projections: plants that are planted, watered, tagged, and moved about.

A projection over it makes one row a plant (its own stream), one row a watering, and one sum a garden,
which all its plants' streams add to and which is therefore an exact commutative sum without history.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID, uuid4

from msgspec import Struct
from msgspec.structs import replace

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, NewEvent, Position, shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_eventstore.runner import Runner, Subscription

GARDEN = UUID("00000000-0000-4000-8000-000000000001")
ORCHARD = UUID("00000000-0000-4000-8000-000000000002")
MEADOW = UUID("00000000-0000-4000-8000-000000000003")
MOMENT = datetime(2026, 5, 1, 6, 30, 0, 123456, tzinfo=UTC)


class Planted(Struct, frozen=True):
    name: str
    planted_on: date


class Watered(Struct, frozen=True):
    litres: Decimal
    note: str = ""


class Tagged(Struct, frozen=True):
    tag: str
    by: UUID


class Thinned(Struct, frozen=True):
    """What Choosy may choke on."""

    branches: int


class Tag(Struct, frozen=True):
    tag: str
    by: UUID
    at: datetime


class PlantRow(Row, frozen=True):
    __table__ = "plant"
    __key__ = ("organization_id", "plant")
    __indexes__ = (("organization_id", "name"),)

    organization_id: UUID
    plant: str
    name: str | None = None
    planted_on: date | None = None
    litres: Decimal = Decimal(0)
    waterings: int = 0
    branches: int = 0
    thirsty: bool = True
    watered_at: datetime | None = None
    tags: tuple[Tag, ...] = ()


class WateringRow(Row, frozen=True):
    __table__ = "watering"
    __key__ = ("organization_id", "plant", "position")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    plant: str
    position: int
    litres: Decimal = Decimal(0)
    note: str = ""


class GardenRow(Row, frozen=True):
    __table__ = "garden"
    __key__ = ("organization_id",)
    __history__: ClassVar[bool] = False

    organization_id: UUID
    litres: Decimal = Decimal(0)


class CannotDigestError(Exception):
    pass


def project(rows: Rows, event: ProjectedEvent) -> None:
    plant = rows.get(PlantRow, event.organization_id, event.stream_id)
    match event.data:
        case Planted() as fact:
            rows.put(replace(plant, name=fact.name, planted_on=fact.planted_on))
        case Watered() as fact:
            rows.put(
                replace(
                    plant,
                    litres=plant.litres + fact.litres,
                    waterings=plant.waterings + 1,
                    thirsty=False,
                    watered_at=event.occurred_at,
                )
            )
            rows.put(WateringRow(event.organization_id, event.stream_id, event.position, fact.litres, fact.note))
            garden = rows.get(GardenRow, event.organization_id)
            rows.put(replace(garden, litres=garden.litres + fact.litres))
        case Tagged() as fact:
            rows.put(replace(plant, tags=(*plant.tags, Tag(fact.tag, fact.by, event.occurred_at))))
        case Thinned() as fact:
            rows.put(replace(plant, branches=plant.branches + fact.branches))


plants = Projection("plants", "garden", (PlantRow, WateringRow, GardenRow), project)


EVERYTHING = 2**63


class Choosy:
    """A fold that cannot digest negative thinnings behind `digests_up_to`, a position."""

    def __init__(self) -> None:
        self.digests_up_to = 0
        self.projection = replaced(plants, project=self.project)

    def project(self, rows: Rows, event: ProjectedEvent) -> None:
        match event.data:
            case Thinned(branches) if branches < 0 and event.position > self.digests_up_to:
                raise CannotDigestError(f"{event.stream_id} lost {-branches} branches")
        project(rows, event)


def codec(*more: type[Struct]) -> Codec:
    return Codec([Planted, Watered, Tagged, Thinned, *more])


class Garden:
    """A log of gardens, and the versions of its streams, so that tests need not count."""

    def __init__(self, database: Database, *more: type[Struct]) -> None:
        self.database = database
        self.codec = codec(*more)
        self.now = MOMENT
        self.log = EventLog("garden", database, self.codec, clock=self._tick)
        self._versions: dict[tuple[UUID, str], int] = {}

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    async def append(self, stream: str, *events: Struct, organization_id: UUID = GARDEN) -> Position:
        """Append to a stream and answer the position of the last event."""
        version = self._versions.get((organization_id, stream), 0)
        command_id = uuid4()
        context = CommandContext(
            organization_id=organization_id,
            command_id=command_id,
            fingerprint=command_id.bytes,
            actor="person:ana",
            correlation_id=command_id,
        )
        done = await self.log.append(stream, version, [NewEvent(event) for event in events], context)
        self._versions[organization_id, stream] = done.version
        return done.position

    def source(self, **options: Any) -> PostgresSource:
        return PostgresSource("garden", self.database, self.codec, log=self.log, **options)

    def runner(self, projection: Projection = plants, **options: Any) -> Runner:
        source = options.pop("source", None) or self.source()
        return Runner(Subscription("garden.plants", "garden", projection=projection), self.database, source, **options)


@asynccontextmanager
async def running(runner: Runner) -> AsyncIterator[Runner]:
    """A runner at work, closed at the end; what it raises fails the test."""
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        await runner.close()
        await task


async def catch_up(runner: Runner, garden: Garden) -> None:
    """Wait until everything in the log is applied."""
    for shard, head in (await garden.log.heads()).items():
        assert await runner.caught_up(shard, head.position, 20), runner.reason


async def table(database: Database, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table or view as text, in a stable order."""
    return [row[0] for row in await database.fetch(f'SELECT t::text FROM "{name}" t ORDER BY 1')]


def watered(litres: int | str = 1, note: str = "") -> Watered:
    return Watered(Decimal(litres), note)


def planted(name: str = "fern") -> Planted:
    return Planted(name, date(2026, 5, 1))


SHARD = shard_of(GARDEN)
