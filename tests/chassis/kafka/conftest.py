from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from okr_chassis.kafka.relay import Relay
from okr_eventstore.database import Database
from tests.eventstore.garden import Garden
from tests.support.kafka import Topics

MakeRelay = Callable[..., Relay]


@pytest.fixture
async def garden(database: Database, topics: Topics) -> AsyncIterator[Garden]:
    """A log of gardens that takes commands, and a topic for it with nothing in it."""
    await topics.provision("garden")
    garden = Garden(database)
    await garden.log.start()
    yield garden
    await garden.log.close()


@pytest.fixture
def relay(garden: Garden, topics: Topics) -> MakeRelay:
    """Makes relays of that log, as many copies as are asked for."""

    def make(kind: type[Relay] = Relay, **options: Any) -> Relay:
        settings: dict[str, Any] = {
            "partitions": 8,
            "owner": "test",
            "prefix": topics.prefix,
            "log": garden.log,
        } | options
        return kind("garden", garden.database, topics.servers, **settings)

    return make
