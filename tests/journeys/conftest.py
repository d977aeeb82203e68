from collections.abc import AsyncIterator

import pytest

from okr_chassis.clock import ManualClock
from tests.conftest import fresh_database
from tests.journeys.town import NEW_YEAR, SERVICES, Town, organization_of_a_new_shard, settle_in
from tests.support.house import House, house


@pytest.fixture(scope="module")
async def clock() -> ManualClock:
    return ManualClock(NEW_YEAR)


@pytest.fixture(scope="module")
async def platform_house(
    postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> AsyncIterator[House]:
    """The whole platform, for all tests of a module; each settles in with an organisation of its own."""
    data_dir = tmp_path_factory.mktemp("house") / "data"
    async with fresh_database(postgres_dsn) as dsn, house(dsn, data_dir, SERVICES, clock) as built:
        yield built


@pytest.fixture
async def place(platform_house: House, clock: ManualClock) -> Town:
    """One small organisation, on New Year's morning 2026."""
    clock.set(NEW_YEAR)
    return await settle_in(platform_house, clock, organization_of_a_new_shard())
