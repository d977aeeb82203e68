"""A role for every service: it has its schema, whoever made what is in it, and reaches no other."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.startup import StartupError
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_chassis.storage.roles import keep_passwords, provision_roles
from okr_chassis.storage.schemas import Schemas
from tests.chassis.conftest import running


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Not the one all tests share: roles belong to all databases of a server."""
    async with EmbeddedPostgres(tmp_path_factory.mktemp("roles") / "data") as postgres:
        yield postgres.dsn


async def test_what_one_role_had_for_all_goes_on_with_a_role_for_each(server: str, tmp_path: Path) -> None:
    """Everything in the schema is handed over: tables of every generation, views, types and functions."""
    organization_id = uuid4()
    async with running(server, tmp_path / "data") as site:
        client = site.client(organization_id=organization_id)
        await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))

    passwords = keep_passwords(tmp_path / "roles", ["directory", "goals"])
    urls = await provision_roles(server, passwords)
    assert await provision_roles(server, keep_passwords(tmp_path / "roles", ["directory", "goals"])) == urls

    async with running(urls["directory"], tmp_path / "data") as site:
        client = site.client(organization_id=organization_id, operator=True)
        added = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name="Sales")
        position = (await client.directory.AddUnit(added)).receipt.position
        units = await client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position]))
        assert [each.name for each in units.units] == ["Sales"]
    async with running(server, tmp_path / "data") as site:  # and back
        client = site.client(organization_id=organization_id)
        assert len((await client.directory.ListUnits(pb.ListUnitsRequest())).units) == 1


async def test_a_service_reaches_nothing_of_anothers(server: str, tmp_path: Path) -> None:
    async with running(server, tmp_path / "data"):
        pass
    urls = await provision_roles(server, keep_passwords(tmp_path / "roles", ["directory", "goals"]))
    connection = await asyncpg.connect(urls["goals"])
    try:
        for forbidden in ("SELECT * FROM directory.event", "CREATE TABLE directory.mine ()", "CREATE SCHEMA mine"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()


async def test_a_role_that_may_not_have_a_schema_is_told_the_way_out(server: str, tmp_path: Path) -> None:
    urls = await provision_roles(server, keep_passwords(tmp_path / "roles", ["directory", "goals"]))
    schemas = Schemas(urls["goals"])
    try:
        with pytest.raises(StartupError, match=r"role okr_goals .* schema directory: DATABASE_URL must name the serv"):
            await schemas.open("directory")
        await schemas.open("goals")
        with pytest.raises(StartupError, match=r"role okr_goals .* schema directory: .* set OKR_KAFKA"):
            await schemas.open("directory")
    finally:
        await schemas.close()


async def test_whoever_may_make_no_roles_is_told_so(server: str, tmp_path: Path) -> None:
    urls = await provision_roles(server, keep_passwords(tmp_path / "roles", ["goals"]))
    with pytest.raises(StartupError, match="DATABASE_URL must name somebody who may make roles"):
        await provision_roles(urls["goals"], {"checkins": "secret"})
