"""One real PostgreSQL and one real Kafka for the whole run; a schema and topics of its own for every test."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from tests.support.environment import database_url
from tests.support.kafka import LocalBroker, Topics, broker_for_everybody, broker_of_ones_own

UNCHECKED = "NOT CHECKED: "
"""How the reason of a skip begins that is owed to what the machine lacks."""

# How long one example takes says how busy the machine is, and nothing about the rule it tries.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


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


@pytest.fixture(scope="session")
async def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Where a broker answers that all tests share. One that stops or kills it takes `own_broker`."""
    async with broker_for_everybody(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture
async def topics(kafka_bootstrap: str) -> AsyncIterator[Topics]:
    """Names of topics and groups that no other test has; the topics are deleted in the end."""
    topics = Topics(kafka_bootstrap)
    yield topics
    await topics.delete()


@pytest.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[LocalBroker]:
    """A broker to be stopped, killed and paused."""
    async with broker_of_ones_own(tmp_path / "kafka") as broker:
        yield broker


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What this machine could not check stands at the end of every run, where nobody misses it."""
    why = Counter(
        reason.partition(UNCHECKED)[2]
        for report in terminalreporter.stats.get("skipped", [])
        if UNCHECKED in (reason := report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
    )
    if why:
        terminalreporter.section("NOT CHECKED", yellow=True, bold=True)
        for reason, tests in why.items():
            terminalreporter.line(f"{tests} skipped: {reason}", yellow=True)
