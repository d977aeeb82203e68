from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.journeys.town import Town, town


@pytest.fixture
async def place(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Town]:
    """The whole platform with one small organisation, on New Year's morning 2026."""
    async with town(fresh_dsn, tmp_path / "data") as settled:
        yield settled
