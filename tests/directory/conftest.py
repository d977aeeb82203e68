"""Directory at work, alone: it needs nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from okr_directory import __main__ as directory

from tests.support.house import Desk, House, house


@pytest.fixture
async def directory_house(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house(fresh_dsn, tmp_path, [directory]) as built:
        yield built


@pytest.fixture
async def desk(directory_house: House) -> Desk:
    return directory_house.desk()
