"""Callers over a network that falls silent: none waits beyond its deadline, and all get through again by themselves."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import StatusCode, aio

from okr.directory.v1 import directory_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr_chassis.rpc.channels import connect
from tests.chassis.conftest import running
from tests.support.proxy import Proxy

DEADLINE_SECONDS = 1.0
OVERTIME_SECONDS = 0.25
BACK_SECONDS = 20.0


async def test_a_silent_connection_costs_callers_their_deadline_and_is_then_replaced(
    fresh_dsn: str, tmp_path: Path
) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        host, _, port = site.platform.address.rpartition(":")
        async with Proxy(host, int(port)) as proxy:
            token = site.client().token
            channel = connect(f"{host}:{proxy.port}", lambda: token, deadline_seconds=DEADLINE_SECONDS)
            stub = DirectoryServiceStub(channel)
            request = directory_pb2.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint")
            first = await stub.FoundOrganization(request)
            proxy.swallow()

            loop = asyncio.get_running_loop()
            called = loop.time()
            with pytest.raises(aio.AioRpcError) as raised:
                await stub.FoundOrganization(request)
            assert raised.value.code() == StatusCode.DEADLINE_EXCEEDED
            assert loop.time() - called <= DEADLINE_SECONDS + OVERTIME_SECONDS

            async with asyncio.timeout(BACK_SECONDS):
                while True:
                    try:
                        again = await stub.FoundOrganization(request)
                        break
                    except aio.AioRpcError:
                        continue
            assert again.receipt == first.receipt
            await channel.close()


async def test_callers_get_through_within_seconds_of_an_outage_however_often_they_were_turned_away(
    fresh_dsn: str, tmp_path: Path
) -> None:
    """Left to itself a channel doubles its pauses up to two minutes."""
    async with running(fresh_dsn, tmp_path / "data") as site:
        host, _, port = site.platform.address.rpartition(":")
        async with Proxy(host, int(port)) as proxy:
            token = site.client().token
            channel = connect(f"{host}:{proxy.port}", lambda: token, deadline_seconds=DEADLINE_SECONDS)
            stub = DirectoryServiceStub(channel)
            request = directory_pb2.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint")
            turned_away = 8
            proxy.refuse(turned_away)

            async with asyncio.timeout(BACK_SECONDS):
                while True:
                    try:
                        await stub.FoundOrganization(request)
                        break
                    except aio.AioRpcError:
                        continue
            assert proxy.connections > turned_away
            await channel.close()
