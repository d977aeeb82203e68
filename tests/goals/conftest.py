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
from tests.support.house import House, house


@pytest.fixture
def clock() -> ManualClock:
    """Noon of a day in the middle of the first quarter."""
    return ManualClock(datetime(2026, 2, 14, 12, tzinfo=UTC))


@pytest.fixture
async def goals_house(fresh_dsn: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[House]:
    async with house(fresh_dsn, tmp_path, [directory, goals, checkins, alignment], clock) as built:
        yield built


@pytest.fixture
async def office(goals_house: House) -> Office:
    """A founded organisation with a unit and two people."""
    return await Office.open(goals_house)
