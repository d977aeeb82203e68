"""The operators' side: status, comparison with the log, rebuilds, parked streams; and the log itself."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc

from okr.directory.v1 import directory_pb2 as pb
from okr.eventlog.v1 import eventlog_pb2
from okr.operations.v1 import operations_pb2
from okr_contracts.directory import UnitAdded
from okr_eventstore.projection import ProjectedEvent, Projection, Rows
from tests.chassis.conftest import Client, Site, refused, running
from tests.chassis.house import Module, UnitRow, project


async def filled(site: Site, units: int = 5) -> Client:
    client = site.client()
    await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))
    for index in range(units):
        await add(client, f"Unit {index}")
    await site.platform.wait_idle()
    return client


async def add(client: Client, name: str) -> str:
    request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)
    return (await client.directory.AddUnit(request)).receipt.position


async def test_every_operation_needs_the_operator_scope(site: Site) -> None:
    client = site.client()

    async def drained(stream: object) -> None:
        async for _ in stream:  # type: ignore[attr-defined]  # any of the streams
            raise AssertionError("nothing is said to strangers")

    calls: list[Awaitable[Any]] = [
        client.operations.GetStatus(operations_pb2.GetStatusRequest()),
        client.operations.ListParked(operations_pb2.ListParkedRequest()),
        client.operations.RetryParked(operations_pb2.RetryParkedRequest()),
        drained(client.operations.Verify(operations_pb2.VerifyRequest())),
        drained(client.operations.Rebuild(operations_pb2.RebuildRequest(service="directory"))),
    ]
    for call in calls:
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "OPERATOR_SCOPE_REQUIRED")


async def test_status_tells_of_every_consumer_and_log(site: Site) -> None:
    await filled(site)
    status = await site.client(operator=True).operations.GetStatus(operations_pb2.GetStatusRequest())
    assert status.environment == "development"
    assert int(status.postgres_version.split(".")[0]) >= 14
    assert [(each.service, each.events, each.shards_used) for each in status.logs] == [("directory", 6, 1)]
    assert [(each.consumer, each.source) for each in status.consumers] == [
        ("directory.structure", "directory"),
        ("directory.chain", "directory"),
    ]
    assert all((each.lag_events, each.parked_streams, each.halted) == (0, 0, False) for each in status.consumers)


async def test_rows_that_were_tampered_with_are_found_and_a_rebuild_mends_them(site: Site) -> None:
    client = await filled(site)
    operations = site.client(operator=True).operations

    async def verdict() -> operations_pb2.VerifyResponse.Verdict:
        [found] = [
            each.verdict
            async for each in operations.Verify(operations_pb2.VerifyRequest(service="directory"))
            if each.HasField("verdict")
        ]
        return found

    found = await verdict()
    assert found.equal
    assert found.events == 6
    assert {each.table: each.live_rows for each in found.tables} == {"unit": 5, "unit_history": 5}
    assert all(each.live_digest == each.fresh_digest for each in found.tables)
    assert found.heads[0].startswith("directory:")

    database = site.house.host.database
    await database.execute("UPDATE unit SET name = 'Overwritten' WHERE name = 'Unit 3'")
    assert not (await verdict()).equal

    steps = [each async for each in operations.Rebuild(operations_pb2.RebuildRequest(service="directory"))]
    assert steps[-1].switched
    assert steps[-1].rows == 5
    assert not steps[-1].equal, "the old rows had been tampered with, and a rebuild says so"
    assert (await verdict()).equal

    position = await add(client, "After the switch")
    listed = await client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position]))
    assert {each.name for each in listed.units} >= {"Unit 3", "After the switch"}


async def test_services_that_do_not_exist_are_refused_by_name(site: Site) -> None:
    operations = site.client(operator=True).operations
    refusal = await refused(operations.ListParked(operations_pb2.ListParkedRequest(service="sales")))
    assert [each.field for each in refusal.violations] == ["service"]

    async def rebuilt() -> None:
        async for _ in operations.Rebuild(operations_pb2.RebuildRequest()):
            raise AssertionError("nothing was named")

    assert (await refused(rebuilt())).code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_cannot_be_digested_is_listed_and_healed(fresh_dsn: str, tmp_path: Path) -> None:
    broken = True

    def choke(rows: Rows, event: ProjectedEvent) -> None:
        if broken and isinstance(event.data, UnitAdded) and event.data.name == "Bone":
            raise ValueError("cannot swallow this")
        project(rows, event)

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with running(fresh_dsn, tmp_path / "data", module) as site:
        client = await filled(site, 1)
        await add(client, "Bone")
        await add(client, "Soup")
        await site.platform.wait_idle()
        operations = site.client(operator=True).operations
        [parked] = (await operations.ListParked(operations_pb2.ListParkedRequest())).streams
        assert (parked.service, parked.first_position, parked.events) == ("directory", 3, 2)
        assert parked.organization_id == str(client.organization_id)
        assert "cannot swallow this" in parked.error
        again = await operations.RetryParked(operations_pb2.RetryParkedRequest())
        assert (again.healed_streams, again.still_parked_streams) == (0, 1)
        broken = False
        again = await operations.RetryParked(operations_pb2.RetryParkedRequest(service="directory"))
        assert (again.healed_streams, again.still_parked_streams) == (1, 0)
        listed = await client.directory.ListUnits(pb.ListUnitsRequest())
        assert {each.name for each in listed.units} == {"Unit 0", "Bone", "Soup"}


# --- the log -------------------------------------------------------------------------------------


async def test_an_organisation_reads_its_own_log_and_nobody_elses(site: Site) -> None:
    one, other = await filled(site, 3), await filled(site, 2)
    for client, count in ((one, 4), (other, 3)):
        request = eventlog_pb2.TailEventsRequest(service="directory")
        events = [each.event async for each in client.eventlog.TailEvents(request)]
        assert [each.version for each in events] == list(range(1, count + 1))
        assert {each.stream_id for each in events} == {f"organization-{client.organization_id}"}
        assert {each.actor for each in events} == {f"person:{client.person_id}"}
        assert json.loads(events[0].data)["name"] == "Mint"
        request.after_position = events[1].position
        assert [each.event async for each in client.eventlog.TailEvents(request)] == events[2:]


async def test_a_follower_hears_what_comes_and_ends_when_the_platform_leaves(fresh_dsn: str, tmp_path: Path) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = await filled(site, 0)

        async def follow() -> None:
            request = eventlog_pb2.TailEventsRequest(service="directory", follow=True)
            async for each in client.eventlog.TailEvents(request):
                await heard.put(each.event.type)

        following = asyncio.create_task(refused(follow()))
        assert await heard.get() == "OrganizationFounded"
        await add(client, "Later")
        assert await heard.get() == "UnitAdded"
        started = asyncio.get_running_loop().time()
        await site.platform.stop()
        assert asyncio.get_running_loop().time() - started < 5, "an open stream does not hold the platform up"
        assert (await following).code == grpc.StatusCode.UNAVAILABLE


async def test_questions_about_logs_that_make_no_sense_are_refused(site: Site) -> None:
    client = site.client()

    async def tail(**wrong: object) -> list[str]:
        request = eventlog_pb2.TailEventsRequest(**{"service": "directory", **wrong})  # type: ignore[arg-type]  # as told

        async def read() -> None:
            async for _ in client.eventlog.TailEvents(request):
                raise AssertionError("nothing to tell")

        return [each.field for each in (await refused(read())).violations]

    assert await tail(service="sales", after_position=-1) == ["service", "after_position"]
    assert await tail(service="") == ["service"]
