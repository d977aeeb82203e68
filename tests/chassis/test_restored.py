"""A restore from a backup: what was lost stays lost, is never mistaken for what follows, and everything goes on."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import grpc
import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.startup import StartupError
from okr_chassis.storage.restored import begin_new_epoch
from tests.chassis.conftest import Client, refused, running

SERVICES = ("directory", "goals")


async def add(client: Client, name: str) -> str:
    request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)
    return (await client.directory.AddUnit(request)).receipt.position


async def names(client: Client, position: str) -> set[str]:
    return {
        each.name for each in (await client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position]))).units
    }


async def test_a_restored_platform_goes_on_in_a_new_epoch(postgres_dsn: str, fresh_dsn: str, tmp_path: Path) -> None:
    organization_id = uuid4()
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client(organization_id=organization_id)
        await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))
        await add(client, "chain-1")
        await site.platform.wait_idle()

    backup = f"backup_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{backup}" TEMPLATE "{urlsplit(fresh_dsn).path[1:]}"')
        async with running(fresh_dsn, tmp_path / "data") as site:
            client = site.client(organization_id=organization_id)
            lost = await add(client, "Written after the backup")
            await site.platform.wait_idle()

        dsn = urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{backup}"))
        [restored] = await begin_new_epoch(dsn, SERVICES)
        assert (restored.service, restored.epoch, restored.events, restored.projections) == ("directory", 2, 3, 1)

        async with running(dsn, tmp_path / "data") as site:
            client = site.client(organization_id=organization_id)
            position = await add(client, "Sales")
            assert position.split(":")[2:] == ["2", "4"], "the number is given out again, in another epoch"
            assert lost.split(":")[2:] == ["1", "4"]
            assert await names(client, position) == {"chain-1", "chain-0", "Sales"}
            refusal = await refused(client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[lost])))
            assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
            assert [each.reason for each in refusal.violations] == ["POSITION_UNKNOWN"]
            await site.platform.wait_idle()
            assert [runner.halted for _, runner in site.platform.runners] == [False, False]
    finally:
        await connection.execute(f'DROP DATABASE IF EXISTS "{backup}" WITH (FORCE)')
        await connection.close()


async def test_nothing_is_touched_while_a_service_runs(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        with pytest.raises(StartupError, match=r"okr directory.*stop all of them first"):
            await begin_new_epoch(fresh_dsn, SERVICES)
        assert await site.house.host.database.fetchval("SELECT max(epoch) FROM shard") == 1


async def test_a_database_of_nobodys_is_told_as_such(fresh_dsn: str) -> None:
    with pytest.raises(StartupError, match="no schema of any service"):
        await begin_new_epoch(fresh_dsn, SERVICES)
