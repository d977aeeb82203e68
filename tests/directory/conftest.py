"""Directory at work, alone: it needs nobody else."""

from collections.abc import AsyncIterator

import pytest

from okr_directory import __main__ as directory
from tests.support.house import Desk, House, database_of_its_own, house


@pytest.fixture(scope="session")
async def directory_house(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests here: each brings an organisation of its own, and those do not see each other."""
    async with (
        database_of_its_own(postgres_dsn) as dsn,
        house(dsn, tmp_path_factory.mktemp("directory"), [directory]) as built,
    ):
        yield built


@pytest.fixture
async def desk(directory_house: House) -> Desk:
    return directory_house.desk()
