"""A garden on each of the two buses."""

from collections.abc import AsyncIterator

import pytest

from okr_eventstore.database import Database
from okr_eventstore.tables import ensure
from tests.bus.buses import Bus, KafkaBus, PostgresBus
from tests.eventstore.garden import Garden, plants
from tests.support.kafka import Topics


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    assert await ensure(database, [plants]) == []
    yield garden
    await garden.log.close()


@pytest.fixture
async def kafka(garden: Garden, topics: Topics) -> AsyncIterator[KafkaBus]:
    async with KafkaBus(garden, topics).running() as bus:
        yield bus


@pytest.fixture(params=["postgres", "kafka"])
def bus(request: pytest.FixtureRequest, garden: Garden) -> Bus:
    if request.param == "postgres":
        return PostgresBus(garden)
    found: KafkaBus = request.getfixturevalue("kafka")
    return found
