"""The roles that deploy/postgres/roles.sh makes: each service has its schema, and nobody else's."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from okr_chassis.postgres import EmbeddedPostgres, _binaries
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from tests.deploy.compose import SERVICES
from tests.deploy.recipe import PROJECT

SCRIPT = PROJECT / "deploy" / "postgres" / "roles.sh"
PASSWORD = 'it\'s a "secret"'


@pytest.fixture(scope="module")
async def roles(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A PostgreSQL in which the script has run, twice: not the one all share, for roles belong to all databases."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("roles") / "data") as postgres:
        address = urlsplit(postgres.dsn)
        environment = os.environ | {
            "PATH": f"{_binaries()}:{os.environ['PATH']}",
            "PGHOST": str(address.hostname),
            "PGPORT": str(address.port),
            "PGPASSWORD": str(address.password),
            "POSTGRES_USER": str(address.username),
            "POSTGRES_DB": address.path.removeprefix("/"),
            "OKR_DATABASE_PASSWORD": PASSWORD,
        }
        for _ in range(2):
            done = await asyncio.to_thread(run_script, environment)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
        yield postgres.dsn


def run_script(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, text=True)


def as_service(dsn: str, service: str) -> str:
    """The same database, as a service comes to it."""
    address = urlsplit(dsn)
    return urlunsplit(address._replace(netloc=f"okr_{service}:{quote(PASSWORD)}@{address.hostname}:{address.port}"))


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_makes_its_tables_in_its_schema(service: str, roles: str) -> None:
    database = await Database.open(as_service(roles, service), service)
    try:
        await migrate(database, LOG_MIGRATIONS)
        assert await database.fetchval("SELECT count(*) FROM event") == 0
    finally:
        await database.close()


async def test_a_service_sees_nothing_of_anothers(roles: str) -> None:
    goals = await Database.open(as_service(roles, "goals"), "goals")
    try:
        await migrate(goals, LOG_MIGRATIONS)
    finally:
        await goals.close()
    connection = await asyncpg.connect(as_service(roles, "checkins"))
    try:
        for forbidden in (
            "SELECT * FROM goals.event",
            "CREATE TABLE goals.mine ()",
            "CREATE TABLE public.mine ()",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()


def test_without_a_password_no_role_is_made() -> None:
    given = {"PATH": os.environ["PATH"], "POSTGRES_USER": "postgres", "POSTGRES_DB": "okr"}
    done = run_script(given)
    assert done.returncode != 0
    assert "OKR_DATABASE_PASSWORD" in done.stderr
