"""What a process tells Prometheus about itself: exact, understandable, and in few series."""

import re
from pathlib import Path
from uuid import uuid4

import grpc
import msgspec
import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.startup import StartupError
from okr_chassis.telemetry.calls import service_of
from okr_chassis.telemetry.loop_lag import WINDOW_SECONDS, LoopLag
from okr_chassis.watching.metrics import METRICS
from okr_contracts.directory import UnitAdded
from okr_eventstore.applying import HALT_FLOOR
from okr_eventstore.errors import CommandIdReusedError, ConflictError, EventRejectedError
from okr_eventstore.model import CommandContext, NewEvent
from okr_eventstore.projection import ProjectedEvent, Projection, Rows
from tests.chassis.conftest import Client, Site, refused, running
from tests.chassis.house import Module, UnitRow, project
from tests.support.side_door import get, say, scrape

STRUCTURE = {"service": "directory", "consumer": "directory.structure", "source": "directory"}


async def found(client: Client) -> None:
    await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))


def adding(name: str) -> pb.AddUnitRequest:
    return pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)


async def test_commands_calls_and_events_are_counted_exactly(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        client = site.client()
        await found(client)
        twice = adding("Sales")
        await client.directory.AddUnit(twice)
        await client.directory.AddUnit(twice)
        await refused(client.directory.AddUnit(adding("Sales")))
        await refused(site.client(token="nonsense").directory.AddUnit(adding("Sales")))
        await site.platform.wait_idle()

        told = await scrape(site.platform)

        method = "okr.directory.v1.DirectoryService/AddUnit"
        assert told("okr_append_commands_total", service="directory", outcome="ok") == 2
        assert told("okr_append_commands_total", service="directory", outcome="conflict") == 0
        assert told("okr_append_batch_commands_count", service="directory") == 2
        assert told("okr_append_batch_commands_sum", service="directory") == 2
        assert told("okr_append_batch_commands_bucket", service="directory", le="1") == 2
        assert told("okr_append_batch_commands_bucket", service="directory", le="+Inf") == 2
        assert told("okr_log_events", service="directory") == 2
        assert told("okr_grpc_requests_total", method=method, code="OK") == 2
        assert told("okr_grpc_requests_total", method=method, code="FAILED_PRECONDITION") == 1
        assert told("okr_grpc_requests_total", method=method, code="UNAUTHENTICATED") == 1
        assert told("okr_grpc_request_seconds_count", method=method) == 4
        assert told("okr_grpc_request_seconds_bucket", method=method, le="30") == 4
        assert told("okr_consumer_events_total", **STRUCTURE) == 2
        assert told("okr_consumer_lag_events", **STRUCTURE) == 0
        assert told("okr_ready") == 1
        assert told("okr_postgres_pool_limit", service="directory") >= 1
        assert told("process_resident_memory_bytes") > 0
        assert service_of(f"/{method}") == "directory"


async def test_every_outcome_of_an_append_has_its_own_count(site: Site) -> None:
    log = site.house.host.log
    assert log is not None
    fact = NewEvent(UnitAdded(uuid4(), "Sales", "team", None), None)
    context = CommandContext(uuid4(), uuid4(), b"one", "person:x", uuid4())

    await log.append("unit-1", 0, [fact], context)
    await log.append("unit-1", 0, [fact], context)
    with pytest.raises(CommandIdReusedError):
        await log.append("unit-1", 0, [fact], msgspec.structs.replace(context, fingerprint=b"two"))
    with pytest.raises(ConflictError):
        await log.append("unit-1", 0, [fact], msgspec.structs.replace(context, command_id=uuid4()))
    with pytest.raises(EventRejectedError):
        await log.append("nul \0", 0, [fact], msgspec.structs.replace(context, command_id=uuid4()))

    outcomes = {"ok": 1, "duplicate": 1, "reused_id": 1, "conflict": 1, "rejected": 1, "unavailable": 0}
    assert log.appender.outcomes == outcomes


async def test_the_lag_is_what_is_not_applied_yet(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        client = site.client()
        await found(client)
        await site.platform.wait_idle()
        async with site.platform.consumers_resting():
            for index in range(5):
                await client.directory.AddUnit(adding(f"Unit {index}"))
            assert (await scrape(site.platform))("okr_consumer_lag_events", **STRUCTURE) == 5
        await site.platform.wait_idle()
        assert (await scrape(site.platform))("okr_consumer_lag_events", **STRUCTURE) == 0


async def test_more_organisations_make_no_more_series(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        await found(site.client())
        before = set((await scrape(site.platform)).series)
        for _ in range(5):
            await found(site.client())
        after = await scrape(site.platform)
        assert set(after.series) == before
        labels = {value for _, labels in after.series for _, value in labels}
        assert not [value for value in labels if re.search("[0-9a-f]{8}-[0-9a-f]{4}", value)]


async def test_parked_streams_and_halted_consumers_are_told(fresh_dsn: str, tmp_path: Path) -> None:
    def choke(rows: Rows, event: ProjectedEvent) -> None:
        if isinstance(event.data, UnitAdded) and event.data.name == "Bone":
            raise ValueError("cannot swallow this")
        project(rows, event)

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with running(fresh_dsn, tmp_path / "data", module, metrics_port=0) as site:
        [runner] = [each for _, each in site.platform.runners if each.name == "directory.structure"]
        clients = [site.client() for _ in range(HALT_FLOOR + 1)]
        for client in clients:
            await found(client)
        await clients[0].directory.AddUnit(adding("Bone"))
        await site.platform.wait_idle()
        told = await scrape(site.platform)
        assert told("okr_parked_streams", **STRUCTURE) == 1
        assert told("okr_consumer_halted", **STRUCTURE) == 0
        for client in clients[1:]:
            done = await client.directory.AddUnit(adding("Bone"))
            shard, position = (int(part) for part in done.receipt.position.split(":")[1::2])
            await runner.caught_up(shard, position, 20)
        told = await scrape(site.platform)
        assert told("okr_consumer_halted", **STRUCTURE) == 1
        assert STRUCTURE not in told.labelled("okr_consumer_still_seconds")


async def test_without_postgres_the_page_comes_with_a_hole_and_says_so(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        await found(site.client())
        await site.platform.wait_idle()
        await site.house.host.database.close()
        while (told := await scrape(site.platform))("okr_ready"):
            pass  # what a probe was told is good for half a second
        assert told.labelled("okr_consumer_lag_events") == []
        assert told("okr_scrape_failures_total", source="log directory") >= 1
        assert told("okr_append_commands_total", service="directory", outcome="ok") == 1


async def test_every_metric_is_on_the_page_with_a_help_that_is_a_sentence(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        told = await scrape(site.platform)
    assert {metric.name for metric in METRICS} == {name for name in told.names if name.startswith("okr_")}
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert told.help[metric.name] == metric.help
        assert metric.help.endswith("."), metric
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric


async def test_the_side_door_has_few_pages_and_takes_no_nonsense(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        door = site.platform.watching.address
        missing = await get(door, "/secrets")
        assert (missing.status, b"/metrics" in missing.body) == (404, True)
        assert (await get(door, "/metrics", "DELETE")).status == 405
        assert (await say(door, b"hello\r\n\r\n")).status == 400
        assert (await get(door, "/livez?verbose", "HEAD")).body == b""
        assert (await get(door, "/metrics")).status == 200
        port = int((door or "").rpartition(":")[2])
        with pytest.raises(StartupError, match=r"the port is in use.*OKR_METRICS_PORT"):
            async with running(fresh_dsn, tmp_path / "other", metrics_port=port):
                raise AssertionError("two processes have one port")


async def test_without_a_port_no_door_is_open(site: Site) -> None:
    assert site.platform.watching.address is None


async def test_a_call_that_nobody_waits_for_any_more_is_counted_as_cancelled(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0) as site:
        call = site.client().directory.ListPeople(pb.ListPeopleRequest())
        await site.house.entered.wait()
        call.cancel()
        method = "okr.directory.v1.DirectoryService/ListPeople"
        while True:
            told = await scrape(site.platform)
            if {"method": method, "code": "CANCELLED"} in told.labelled("okr_grpc_requests_total"):
                break
        assert told("okr_grpc_requests_total", method=method, code=grpc.StatusCode.CANCELLED.name) == 1


def test_the_worst_delay_of_the_loop_is_remembered_for_a_while_and_no_longer() -> None:
    lag = LoopLag()
    now = lag._since
    lag.was_late(0.4, now + 1)
    lag.was_late(0.1, now + 2)
    assert lag.seconds == 0.4
    lag.was_late(0.2, now + WINDOW_SECONDS)
    assert lag.seconds == 0.4, "a scraper may not have come by yet"
    lag.was_late(0.0, now + 2 * WINDOW_SECONDS)
    assert lag.seconds == 0.2
