from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.checkins.town import Firm, Town, a_town


@pytest.fixture(scope="module")
async def town(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One platform for a module's tests; each founds an organisation of its own in it."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        dsn = urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
        async with a_town(dsn, tmp_path_factory.mktemp("town")) as town:
            yield town
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture
async def firm(town: Town) -> Firm:
    return await town.firm()
