from collections.abc import AsyncIterator

import pytest

from okr_eventstore.database import Database
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from tests.support.shop import codec


@pytest.fixture
async def log(database: Database) -> AsyncIterator[EventLog]:
    """A running log of a service called "shop"."""
    log = EventLog("shop", database, codec())
    await log.start()
    yield log
    await log.close()


@pytest.fixture
def executor(log: EventLog) -> CommandExecutor:
    return CommandExecutor(log)
