"""What probes are told: alive, ready, and why not, over HTTP and over gRPC."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.platform import Platform
from okr_chassis.service import Host, Service
from okr_chassis.settings import Settings
from okr_chassis.storage.postgres import EmbeddedPostgres, _processes_in
from okr_chassis.watching.health import STILL_SECONDS
from okr_eventstore.applying import HALT_FLOOR
from okr_eventstore.projection import ProjectedEvent, Projection, Rows
from tests.chassis.conftest import Client, Site, running
from tests.chassis.house import Module, UnitRow
from tests.support.side_door import get

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", "okr.directory.v1.DirectoryService", "okr.operations.v1.OperationsService")


async def over_grpc(client: Client, name: str = "") -> int:
    stub: Any = HealthStub(client.channel)
    answer: health_pb2.HealthCheckResponse = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    return answer.status


async def found(client: Client) -> None:
    await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))


async def test_a_platform_at_work_is_live_and_ready_and_says_what_was_looked_at(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        door = site.platform.watching.address
        ready, live = await get(door, "/readyz"), await get(door, "/livez")
        assert (ready.status, live.status) == (200, 200)
        assert ready.content_type == "application/json"
        names = {"started", "staying", "database directory", "log directory", "consumer directory directory.structure"}
        assert names <= set(ready.checks())
        assert {"event loop", "log directory", "consumer directory directory.chain"} <= set(live.checks())
        assert all(check["ok"] and check["reason"] for check in (ready.checks() | live.checks()).values())
        assert (await get(door, "/health/ready")).status == (await get(door, "/health/live")).status == 200
        assert [await over_grpc(site.client(), name) for name in NAMES] == [SERVING] * 3


class Slow(Module):
    """A service whose preparation waits to be let go."""

    def __init__(self) -> None:
        super().__init__()
        self.preparing, self.prepared = asyncio.Event(), asyncio.Event()

    def build(self, host: Host) -> Service:
        service = super().build(host)
        service.prepare.append(self._prepare)
        return service

    async def _prepare(self) -> None:
        self.preparing.set()
        await self.prepared.wait()


async def test_a_start_that_takes_long_is_live_and_not_ready_and_says_what_it_is_at(
    fresh_dsn: str, tmp_path: Path
) -> None:
    module = Slow()
    settings = Settings(data_dir=tmp_path / "data", grpc_port=0, metrics_port=0)
    platform = Platform(settings, fresh_dsn, [module])
    start = asyncio.create_task(platform.start())
    await module.preparing.wait()
    door = platform.watching.address
    ready, live = await get(door, "/readyz"), await get(door, "/livez")
    assert (ready.status, live.status) == (503, 200)
    assert ready.checks()["started"] == {
        "name": "started",
        "ok": False,
        "counts": True,
        "reason": "preparing the database",
    }
    module.prepared.set()
    await start
    assert (await get(door, "/readyz")).status == 200
    await platform.stop()


async def test_who_leaves_is_not_ready_first_and_finishes_what_runs(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        door, client = site.platform.watching.address, site.client()
        call = asyncio.ensure_future(client.directory.ListPeople(pb.ListPeopleRequest()))
        await site.house.entered.wait()
        stop = asyncio.create_task(site.platform.stop())
        await site.platform.leaving.wait()
        ready, live = await get(door, "/readyz"), await get(door, "/livez")
        assert (ready.status, live.status) == (503, 200)
        assert [name for name, check in ready.checks().items() if not check["ok"]] == ["staying"]
        site.house.go_on.set()
        assert (await call) == pb.ListPeopleResponse()
        await stop


async def test_without_postgres_a_process_lives_and_is_not_ready_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_return = asyncio.Event()
    async with (
        EmbeddedPostgres(tmp_path / "data") as postgres,
        running(postgres.dsn, tmp_path / "data", metrics_port=0) as site,
    ):
        start = postgres._adopt_or_start

        async def when_it_may(binaries: Path) -> None:
            await may_return.wait()
            await start(binaries)

        # It is started again within half a second, and what a probe was told is good for as long.
        monkeypatch.setattr(postgres, "_adopt_or_start", when_it_may)
        door, client = site.platform.watching.address, site.client()
        await found(client)
        for pid in _processes_in(tmp_path / "data" / "postgres"):
            with contextlib.suppress(ProcessLookupError):  # one that went with the others
                os.kill(pid, signal.SIGKILL)
        while (ready := await get(door, "/readyz")).status == 200:
            pass
        assert "database directory" in [name for name, check in ready.checks().items() if not check["ok"]]
        assert (await get(door, "/livez")).status == 200
        while await over_grpc(client) == SERVING:
            pass
        may_return.set()
        while (await get(door, "/readyz")).status != 200:
            pass
        while await over_grpc(client) != SERVING:
            pass


async def test_a_halted_consumer_is_told_of_and_commands_are_taken_all_the_same(fresh_dsn: str, tmp_path: Path) -> None:
    def choke(rows: Rows, event: ProjectedEvent) -> None:
        raise ValueError("what Ana wrote")

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with running(fresh_dsn, tmp_path / "data", module, metrics_port=0) as site:
        [halting] = [task for task in asyncio.all_tasks() if task.get_name() == "directory directory.structure"]
        for _ in range(HALT_FLOOR + 1):
            await found(site.client())
        await asyncio.wait([halting])
        door = site.platform.watching.address
        while (ready := await get(door, "/readyz")).checks()["consumer directory directory.structure"]["ok"]:
            pass
        told = ready.checks()["consumer directory directory.structure"]
        assert ready.status == 200
        assert told["reason"] == f"has halted and has set {HALT_FLOOR + 1} streams aside; `okr status` tells more"
        assert (await get(door, "/livez")).status == 200
        assert b"Ana" not in ready.body, "whoever may probe need not read what people wrote"
        await found(site.client())


async def test_a_consumer_whose_loop_stands_still_makes_the_process_be_restarted(site: Site) -> None:
    [runner] = [each for _, each in site.platform.runners if each.name == "directory.structure"]
    await found(site.client())
    await site.platform.wait_idle()
    assert site.platform.watching.health.live().good
    runner.moved_at -= STILL_SECONDS
    verdict = site.platform.watching.health.live()
    assert not verdict.good
    assert [check.name for check in verdict.checks if not check.ok] == ["consumer directory directory.structure"]


async def test_a_consumer_that_ended_by_itself_makes_the_process_be_restarted(site: Site) -> None:
    await found(site.client())
    await site.platform.wait_idle()
    [runner] = [each for _, each in site.platform.runners if each.name == "directory.chain"]
    await runner.close()
    verdict = site.platform.watching.health.live()
    assert [check.name for check in verdict.checks if not check.ok] == ["consumer directory directory.chain"]


async def test_a_log_that_nobody_writes_any_more_makes_the_process_be_restarted(site: Site) -> None:
    log = site.house.host.log
    assert log is not None
    await log.appender.close()
    assert not site.platform.watching.health.live().good
    assert not (await site.platform.watching.health.ready()).good
