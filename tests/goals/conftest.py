"""Goals at work with those it asks and those it tells: directory, alignment, checkins."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from okr_alignment import __main__ as alignment
from okr_chassis.clock import ManualClock
from okr_checkins import __main__ as checkins
from okr_directory import __main__ as directory
from okr_goals import __main__ as goals
from tests.goals.office import Office
from tests.support.house import House, database_of_its_own, house

SERVICES = [directory, goals, checkins, alignment]
NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
"""Of a day in the middle of the first quarter."""


@pytest.fixture(scope="session")
async def goals_house(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests here: each brings an organisation of its own, and those do not see each other."""
    async with (
        database_of_its_own(postgres_dsn) as dsn,
        house(dsn, tmp_path_factory.mktemp("goals"), SERVICES, ManualClock(NOON)) as built,
    ):
        yield built


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
async def own_house(fresh_dsn: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[House]:
    """For tests that set the clock, stop a consumer or delete rows."""
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as built:
        yield built


@pytest.fixture
async def office(goals_house: House) -> Office:
    """A founded organisation with a unit and two people."""
    return await Office.open(goals_house)
