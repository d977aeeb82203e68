"""Passwords of roles in a file: whoever reads a DATABASE_URL learns none."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from okr_chassis.startup import StartupError
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_chassis.storage.roles import provision_roles, told_by_file, write_passfile

PASSWORDS = {"goals": "plain", "checkins": 'it\'s "quoted"', "insights": "% and / and @"}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A PostgreSQL of its own: roles belong to the whole server."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("roles") / "data") as postgres:
        yield postgres.dsn


async def test_every_role_comes_in_by_the_file_whatever_its_password(server: str, tmp_path: Path) -> None:
    passfile = tmp_path / "pass file"
    urls = await provision_roles(server, PASSWORDS)
    write_passfile(passfile, PASSWORDS)
    for service, url in urls.items():
        told = told_by_file(url, passfile)
        assert PASSWORDS[service] not in told
        connection = await asyncpg.connect(told)
        assert await connection.fetchval("SELECT current_user") == f"okr_{service}"
        await connection.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_passfile(tmp_path / "passfile", PASSWORDS)
    assert (tmp_path / "passfile").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("password", ["a:b", "a\\b", "a\nb"])
def test_a_password_that_a_file_cannot_tell_is_refused(password: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="okr_goals cannot stand in a file"):
        write_passfile(tmp_path / "passfile", {"goals": password})
    assert not (tmp_path / "passfile").exists()
