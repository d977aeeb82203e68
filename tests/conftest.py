"""One real PostgreSQL for the whole run; a fresh schema for every test that asks for one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from okr_chassis.postgres import EmbeddedPostgres
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from tests.support.environment import database_url


@pytest.fixture(scope="session")
async def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """DATABASE_URL where it is given, else a server of our own that ends with the run."""
    given = database_url()
    if given is not None:
        yield given
        return
    directory: Path = tmp_path_factory.mktemp("postgres")
    async with EmbeddedPostgres(directory / "data") as postgres:
        yield postgres.dsn


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    """A service's schema with the log's tables and nothing in them."""
    schema = f"test_{uuid4().hex}"
    database = await Database.open(postgres_dsn, schema)
    try:
        await migrate(database, LOG_MIGRATIONS)
        yield database
    finally:
        await database.close()
        await drop_schema(postgres_dsn, schema)


@pytest.fixture
async def fresh_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """An empty database of its own, for tests that run whole services with their usual schema names."""
    async with fresh_database(postgres_dsn) as dsn:
        yield dsn


@asynccontextmanager
async def fresh_database(dsn: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


async def drop_schema(dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    finally:
        await connection.close()
