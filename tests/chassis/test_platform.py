"""The platform as a whole: up together, at rest when all is done, down in order, and clear about what hinders it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc

from okr.directory.v1 import directory_pb2 as pb
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.eventlog.v1 import eventlog_pb2
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr_chassis.clock import ManualClock
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.idle import IdleError
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import refusal_of
from okr_chassis.service import Host
from okr_chassis.settings import Settings, SettingsError
from okr_chassis.startup import PortInUseError, StartupError, UnsafeSettingError
from okr_chassis.storage.postgres import EmbeddedPostgres, _processes_in
from okr_contracts.directory import UnitAdded
from okr_eventstore.applying import HALT_FLOOR
from okr_eventstore.projection import ProjectedEvent, Projection, Rows
from tests.chassis.conftest import Client, Site, refused, running
from tests.chassis.house import Module, UnitRow, project

ROOT = Path(__file__).parents[2]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SCRIPT = """
from okr_chassis.process import run
from tests.chassis.house import Module
run("directory", Module().build)
"""


def health_stub(channel: grpc.aio.Channel) -> Any:
    """The stubs of its types know no methods."""
    return health_pb2_grpc.HealthStub(channel)


async def found(client: Client) -> None:
    await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))


async def add(client: Client, name: str) -> str:
    request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)
    return (await client.directory.AddUnit(request)).receipt.position


async def names(client: Client, position: str = "") -> set[str]:
    request = pb.ListUnitsRequest(min_positions=[position] if position else [])
    return {each.name for each in (await client.directory.ListUnits(request)).units}


async def connections(dsn: str) -> int:
    """How many connections anybody but us has open."""
    connection = await asyncpg.connect(dsn)
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return count
    finally:
        await connection.close()


async def test_idle_means_that_events_caused_by_events_are_done_too(site: Site) -> None:
    client = site.client()
    await found(client)
    await add(client, "chain-7")
    await site.platform.wait_idle()
    assert await names(client) == {f"chain-{left}" for left in range(8)}


async def test_a_consumer_that_halted_is_named_by_those_who_wait(fresh_dsn: str, tmp_path: Path) -> None:
    def choke(rows: Rows, event: ProjectedEvent) -> None:
        raise ValueError("cannot swallow anything")

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with running(fresh_dsn, tmp_path / "data", module) as site:
        for _ in range(8):
            await found(site.client())
        with pytest.raises(IdleError, match=r"directory\.structure.*cannot swallow anything"):
            await site.platform.wait_idle()


async def test_everything_is_there_after_a_restart(fresh_dsn: str, tmp_path: Path) -> None:
    organization_id = uuid4()
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client(organization_id=organization_id)
        await found(client)
        position = await add(client, "Sales")
        token = client.token
    async with running(fresh_dsn, tmp_path / "data") as site:
        again = site.client(token=token)
        assert await names(again, position) == {"Sales"}


async def test_a_platform_whose_postgres_dies_carries_on_and_loses_nothing(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "data") as postgres, running(postgres.dsn, tmp_path / "data") as site:
        client = site.client()
        await found(client)
        for index in range(10):
            if index == 5:
                for pid in _processes_in(tmp_path / "data" / "postgres"):
                    with contextlib.suppress(ProcessLookupError):  # one that went with the others
                        os.kill(pid, signal.SIGKILL)
            request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=f"Unit {index}")
            while True:
                try:
                    position = (await client.directory.AddUnit(request, timeout=20)).receipt.position
                    break
                except grpc.RpcError as error:
                    assert refusal_of(error).code == grpc.StatusCode.UNAVAILABLE, refusal_of(error)
        await site.platform.wait_idle()
        assert await names(client, position) == {f"Unit {index}" for index in range(10)}


async def test_a_changed_projection_is_rebuilt_before_it_is_served(fresh_dsn: str, tmp_path: Path) -> None:
    organization_id = uuid4()
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client(organization_id=organization_id)
        await found(client)
        await add(client, "Sales")

    def shout(rows: Rows, event: ProjectedEvent) -> None:
        project(rows, event)
        if isinstance(event.data, UnitAdded):
            rows.put(UnitRow(event.organization_id, event.data.unit_id, event.data.name.upper()))

    changed = Module(projection=Projection("structure", "directory", (UnitRow,), shout, version=2))
    async with running(fresh_dsn, tmp_path / "data", changed) as site:
        client = site.client(organization_id=organization_id)
        assert await names(client) == {"SALES"}
        assert await names(client, await add(client, "Research")) == {"SALES", "RESEARCH"}


async def test_a_fold_that_chokes_does_not_keep_the_platform_from_starting(fresh_dsn: str, tmp_path: Path) -> None:
    """The rows of the release before stay readable, and operators can look at what went wrong."""
    organizations = [uuid4() for _ in range(HALT_FLOOR + 1)]
    async with running(fresh_dsn, tmp_path / "data") as site:
        for organization_id in organizations:
            client = site.client(organization_id=organization_id)
            await found(client)
            await names(client, await add(client, "Sales"))

    def choke(rows: Rows, event: ProjectedEvent) -> None:
        raise ValueError("a fold with a fault")

    broken = Module(projection=Projection("structure", "directory", (UnitRow,), choke, version=2))
    async with running(fresh_dsn, tmp_path / "data", broken) as site:
        for organization_id in organizations:
            assert await names(site.client(organization_id=organization_id)) == {"Sales"}


async def test_a_port_in_use_is_one_clear_line_and_nothing_stays_open(fresh_dsn: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        platform = Platform(Settings(data_dir=tmp_path / "data"), fresh_dsn, [Module()], port=port)
        with pytest.raises(PortInUseError, match=rf"^127\.0\.0\.1:{port} is in use.*OKR_GRPC_PORT"):
            await platform.start()
    assert await connections(fresh_dsn) == 0


async def test_a_second_platform_on_the_same_port_is_refused(site: Site, fresh_dsn: str, tmp_path: Path) -> None:
    port = int(site.platform.address.rsplit(":", 1)[1])
    with pytest.raises(PortInUseError):
        await Platform(Settings(data_dir=tmp_path / "other"), fresh_dsn, [Module()], port=port).start()


async def test_a_service_that_cannot_be_built_leaves_nothing_half_open(fresh_dsn: str, tmp_path: Path) -> None:
    class Broken(Module):
        def build(self, host: Host) -> Any:
            raise LookupError("a part is missing")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LookupError):
        await Platform(Settings(data_dir=tmp_path / "data"), fresh_dsn, [Broken()], port=port).start()
    assert await connections(fresh_dsn) == 0
    async with Platform(Settings(data_dir=tmp_path / "data"), fresh_dsn, [Module()], port=port) as platform:
        assert platform.address == f"127.0.0.1:{port}"


@pytest.mark.parametrize("dsn", ["postgresql://okr:x@127.0.0.1:1/postgres", "postgresql://127.0.0.1/nowhere", "what?"])
async def test_a_database_that_cannot_be_used_is_one_clear_line_without_secrets(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="DATABASE_URL") as caught:
        await Platform(Settings(data_dir=tmp_path / "data", grpc_port=0), dsn, [Module()]).start()
    assert "\n" not in str(caught.value)


async def test_running_calls_finish_when_the_platform_stops(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        call = asyncio.ensure_future(client.directory.ListPeople(pb.ListPeopleRequest()))
        await site.house.entered.wait()
        stopping = asyncio.create_task(site.platform.stop())
        await site.platform.leaving.wait()
        site.house.go_on.set()
        assert await call == pb.ListPeopleResponse()
        await stopping
    assert await connections(fresh_dsn) == 0


async def test_a_platform_that_still_prepares_shows_others_its_log_and_takes_no_calls(
    fresh_dsn: str, tmp_path: Path
) -> None:
    """Two processes that start together may each need the other's log, so neither may wait for the other."""

    class Slow(Module):
        def build(self, host: Host) -> Any:
            service = super().build(host)
            service.prepare.append(self.prepare)
            return service

        async def prepare(self) -> None:
            reached.set()
            await prepared.wait()

    reached, prepared = asyncio.Event(), asyncio.Event()
    async with Platform(Settings(data_dir=tmp_path / "data", grpc_port=0), fresh_dsn, [Module()]) as first:
        assert first.issuer is not None
        token = first.issuer.issue(uuid4(), uuid4())
    platform = Platform(Settings(data_dir=tmp_path / "data", grpc_port=0), fresh_dsn, [Slow()])
    starting = asyncio.create_task(platform.start())
    await reached.wait()
    async with connect(platform.address, lambda: token) as channel:
        health, directory = health_stub(channel), DirectoryServiceStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        tail = eventlog_pb2.TailEventsRequest(service="directory")
        assert [each async for each in EventLogServiceStub(channel).TailEvents(tail)] == []
        refusal = await refused(directory.GetOrganization(pb.GetOrganizationRequest()))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING")
        prepared.set()
        await starting
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        assert (await directory.GetOrganization(pb.GetOrganizationRequest())).organization.name == ""
    await platform.stop()


async def test_whoever_watches_learns_that_a_platform_leaves_before_it_takes_no_calls(
    fresh_dsn: str, tmp_path: Path
) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        watch = health_stub(client.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.ensure_future(client.directory.ListPeople(pb.ListPeopleRequest()))
        await site.house.entered.wait()
        stopping = asyncio.create_task(site.platform.stop())
        assert (await watch.read()).status == NOT_SERVING
        assert not call.done()
        site.house.go_on.set()
        assert await call == pb.ListPeopleResponse()
        await stopping


async def test_a_job_that_fails_is_started_again(
    fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okr_chassis.tasks.JOB_PAUSE_SECONDS", 0.0)
    runs: list[int] = []
    recovered = asyncio.Event()

    async def job() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ConnectionError("not yet")
        recovered.set()

    async with running(fresh_dsn, tmp_path / "data", Module(jobs=lambda host: [job])):
        await asyncio.wait_for(recovered.wait(), 10)
    assert len(runs) == 3


async def test_the_business_runs_on_the_clock_it_is_given_and_tokens_on_the_real_one(
    fresh_dsn: str, tmp_path: Path
) -> None:
    clock, module = ManualClock(datetime(2019, 4, 1, tzinfo=UTC)), Module()
    settings = Settings(data_dir=tmp_path / "data", grpc_port=0)
    async with Platform(settings, fresh_dsn, [module], clock=clock) as platform:
        site = Site(platform, module)
        client = site.client()
        await found(client)
        clock.advance(timedelta(days=91))
        await add(client, "Sales")
        events = await platform.logs["directory"].read_shard(next(iter(await platform.logs["directory"].heads())))
        assert [event.recorded_at.date().isoformat() for event in events] == ["2019-04-01", "2019-07-01"]
        await site.close()


async def test_production_needs_an_issuer_of_its_own(fresh_dsn: str, tmp_path: Path) -> None:
    lacking: Sequence[dict[str, Any]] = ({}, {"issuer": "https://id.example"})
    for settings in lacking:
        chosen = Settings(env="production", data_dir=tmp_path / "data", grpc_port=0, **settings)
        with pytest.raises(UnsafeSettingError, match="OKR_ISSUER_KEYS"):
            await Platform(chosen, fresh_dsn, [Module()]).start()


def test_settings_come_from_the_environment_and_faults_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OKR_GRPC_PORT": "7500",
        "OKR_PEERS__GOALS": "goals:7400",
        "DATABASE_URL": "postgresql://db/okr",
        "OKR_REFLECTION": "",
        "OKR_ISSUER": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.grpc_port, settings.peers, settings.issuer) == (7500, {"goals": "goals:7400"}, None)
    assert settings.database_url == "postgresql://db/okr"
    assert settings.reflects
    assert not Settings.load(env="production").reflects
    monkeypatch.setenv("OKR_GRPC_PORT", "70000")
    monkeypatch.setenv("OKR_ENV", "staging")
    with pytest.raises(SettingsError, match=r"OKR_ENV.*OKR_GRPC_PORT"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OKR_PEERS", "goals:7400", "OKR_PEERS: expected one JSON object"),
        ("OKR_PEERS__GOALS", "goals", "OKR_PEERS__GOALS: .*expected host:port, separated by commas; found 'goals'"),
        ("OKR_PEERS__GOALS", "10.0.0.1:7400,10.0.0.2", "found '10.0.0.2'"),
    ],
)
def test_an_address_of_a_peer_that_is_none_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        Settings.load()


async def test_a_service_runs_in_a_process_of_its_own(fresh_dsn: str, tmp_path: Path) -> None:
    """As `python -m okr_goals` does: ready, called with a person's token, stopped by SIGTERM."""
    (tmp_path / "key.pem").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": fresh_dsn,
        "OKR_DATA_DIR": str(tmp_path / "data"),
        "OKR_GRPC_PORT": str(port),
        "OKR_PEERS__DIRECTORY": f"127.0.0.1:{port}",
        "OKR_INTERNAL_KEY_FILE": str(tmp_path / "key.pem"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None, "it was asked for"
    said = (await process.stderr.readline()).decode()
    assert f"directory serves on 127.0.0.1:{port}" in said
    organization_id: UUID = uuid4()
    token = DevelopmentIssuer(tmp_path / "data").issue(organization_id, uuid4())
    async with connect(f"127.0.0.1:{port}", lambda: token) as channel:
        stub = DirectoryServiceStub(channel)
        await stub.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))
        assert (await stub.GetOrganization(pb.GetOrganizationRequest())).organization.name == "Mint"
        try:
            await stub.GetUnit(pb.GetUnitRequest(unit_id="x"))
        except grpc.RpcError as error:
            assert refusal_of(error).code == grpc.StatusCode.INVALID_ARGUMENT
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_process_that_cannot_start_says_why_and_ends(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().startswith("directory: ")
    assert "DATABASE_URL" in err.decode()
    assert err.count(b"\n") == 1
