"""Many commands in a call: each is answered as by its own RPC, those of one aggregate keep their order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from okr.commands.v1 import commands_pb2 as bulk_pb
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr.directory.v1 import directory_pb2 as pb
from okr.operations.v1 import operations_pb2
from okr_chassis.rpc.bulk import (
    BATCH_COMMANDS,
    STREAM_IN_FLIGHT,
    CommandStream,
    answer_of,
    batches,
    command_of,
    execute_all,
)
from okr_chassis.rpc.errors import CommandRefusedError, Refusal, refusal_of
from okr_chassis.service import Host, Service
from okr_contracts.errors import NotFoundError
from okr_eventstore.errors import StoreUnavailableError
from tests.chassis.conftest import Client, Site, refused, running
from tests.chassis.house import Context, House, Module


class PatientHouse(House):
    """People move only when the test lets them: by name of their unit, or all of them."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.moving: list[UUID] = []
        self.most_moving = 0
        self.moved: list[tuple[str, str]] = []
        self.came = asyncio.Condition()
        self.let_go: dict[str, asyncio.Event] = {}

    def gate(self, unit_id: str) -> asyncio.Event:
        return self.let_go.setdefault(unit_id, asyncio.Event())

    async def arrivals(self, count: int) -> None:
        """Wait until so many are on their way."""
        async with self.came:
            await self.came.wait_for(lambda: len(self.moving) >= count)

    async def MovePerson(self, request: pb.MovePersonRequest, context: Context) -> Any:
        async with self.came:
            self.moving.append(UUID(request.person_id))
            self.came.notify_all()
        self.most_moving = max(self.most_moving, len(self.moving) - len(self.moved))
        await self.gate(request.unit_id).wait()
        self.moved.append((request.person_id, request.request_id))
        return pb.MovePersonResponse()


class PatientModule(Module):
    def build(self, host: Host) -> Service:
        service = super().build(host)
        self.house = PatientHouse(host)
        service.servicers = [(service.servicers[0][0], self.house)]
        service.aggregate_fields = ("person_id",)
        return service


@pytest.fixture
async def patient(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(fresh_dsn, tmp_path / "data", PatientModule()) as site:
        yield site


def house_of(site: Site) -> PatientHouse:
    assert isinstance(site.house, PatientHouse)
    return site.house


def stub(client: Client) -> CommandsServiceStub:
    return CommandsServiceStub(client.channel)


def found(name: str = "Mint") -> pb.FoundOrganizationRequest:
    return pb.FoundOrganizationRequest(request_id=str(uuid4()), name=name)


def unit(name: str) -> pb.AddUnitRequest:
    return pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name, kind=pb.UNIT_KIND_TEAM)


def move(person_id: UUID, unit_id: UUID) -> pb.MovePersonRequest:
    return pb.MovePersonRequest(request_id=str(uuid4()), person_id=str(person_id), unit_id=str(unit_id))


def refusal(outcome: bulk_pb.Outcome) -> Refusal:
    try:
        answer = answer_of(outcome, pb.AddUnitResponse)
    except CommandRefusedError as error:
        return error.refusal
    raise AssertionError(f"the command was answered with {answer!r}")


def reasons(outcomes: Sequence[bulk_pb.Outcome]) -> list[str]:
    return [refusal(each).reason if each.HasField("refusal") else "" for each in outcomes]


# --- batches -------------------------------------------------------------------------------------


async def test_commands_of_a_batch_are_answered_each_on_its_own(site: Site) -> None:
    client = site.client()
    broken = command_of(unit("Broken"))
    broken.request.value = b"\xff\xff"
    commands = [
        command_of(found(), "founded"),
        command_of(unit("Sales"), "added"),
        command_of(unit("Sales"), "ruled out"),
        command_of(pb.AddUnitRequest(request_id="no", unit_id="no", name="\x00"), "invalid"),
        command_of(pb.GetUnitRequest(unit_id=str(uuid4())), "read"),
        command_of(operations_pb2.RetryParkedRequest(), "of nobody's"),
        bulk_pb.Command(id="unknown", request=AnyMessage(type_url="type.googleapis.com/okr.no.Such")),
        bulk_pb.Command(id="empty"),
        broken,
        command_of(unit("L" * 1024 * 1024), "too large"),
        command_of(unit("Marketing"), "added as well"),
    ]
    answer = await stub(client).ExecuteBatch(bulk_pb.ExecuteBatchRequest(commands=commands))
    assert [each.id for each in answer.outcomes] == [each.id for each in commands]
    assert reasons(answer.outcomes) == [
        "",
        "",
        "UNIT_NAME_TAKEN",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "REQUEST_TOO_LARGE",
        "",
    ]
    whys = [[each.reason for each in refusal(outcome).violations] for outcome in answer.outcomes[4:9]]
    assert whys == [
        ["NOT_A_COMMAND"],
        ["UNKNOWN_COMMAND"],
        ["UNKNOWN_COMMAND"],
        ["UNKNOWN_COMMAND"],
        ["MESSAGE_MALFORMED"],
    ]
    assert answer_of(answer.outcomes[0], pb.FoundOrganizationResponse).organization_id == str(client.organization_id)
    assert answer_of(answer.outcomes[10], pb.AddUnitResponse).receipt.version == 3


async def test_a_command_is_refused_as_by_its_own_rpc(site: Site) -> None:
    client = site.client()
    faults = (
        NotFoundError("unit", "x"),
        StoreUnavailableError("away"),
        KeyError("password=hunter2"),
    )
    invalid = pb.AddUnitRequest(request_id="no", unit_id="no", name="\x00", parent_unit_id="no")
    assert refusal((await execute_all(stub(client), [invalid]))[0]) == await refused(client.directory.AddUnit(invalid))
    for fault in faults:
        site.house.fault = fault
        rename = pb.RenameUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name="R")
        [outcome] = await execute_all(stub(client), [rename])
        one, other = refusal(outcome), await refused(client.directory.RenameUnit(rename))
        assert (one.code, one.reason, one.violations) == (other.code, other.reason, other.violations)
        assert "hunter2" not in str(outcome)


async def test_a_batch_that_is_sent_again_changes_nothing(site: Site) -> None:
    client = site.client()
    founding = found()
    requests: list[Message] = [founding, unit("Sales"), unit("Marketing")]
    first = await execute_all(stub(client), requests)
    assert reasons(first) == ["", "", ""]
    assert await execute_all(stub(client), requests) == first
    other = pb.FoundOrganizationRequest(request_id=founding.request_id, name="Peppermint")
    assert reasons(await execute_all(stub(client), [other])) == ["REQUEST_ID_REUSED"]


async def test_a_batch_and_an_rpc_are_the_same_command(site: Site) -> None:
    client, request = site.client(), found()
    [outcome] = await execute_all(stub(client), [request])
    assert answer_of(outcome, pb.FoundOrganizationResponse) == await client.directory.FoundOrganization(request)


async def test_commands_of_one_aggregate_are_carried_out_in_the_order_sent(site: Site) -> None:
    client = site.client()
    requests = [found(), *(unit(f"Unit {number}") for number in range(40))]
    outcomes = await execute_all(stub(client), requests)
    assert reasons(outcomes) == [""] * 41
    versions = [answer_of(outcome, pb.AddUnitResponse).receipt.version for outcome in outcomes[1:]]
    assert versions == list(range(2, 42))


async def test_a_batch_holds_one_to_five_hundred_commands(site: Site) -> None:
    client = site.client()
    for count, reason in ((0, "REQUIRED"), (BATCH_COMMANDS + 1, "TOO_MANY")):
        commands = [command_of(unit("U"))] * count
        refusal = await refused(stub(client).ExecuteBatch(bulk_pb.ExecuteBatchRequest(commands=commands)))
        assert [each.reason for each in refusal.violations] == [reason]


def test_requests_are_parted_into_batches_of_what_the_server_takes() -> None:
    sizes = [len(batch.commands) for batch in batches([unit("U")] * (2 * BATCH_COMMANDS + 1))]
    assert sizes == [BATCH_COMMANDS, BATCH_COMMANDS, 1]
    assert [len(batch.commands) for batch in batches([unit("U" * 1_000_000)] * 9)] == [4, 4, 1]


async def test_whoever_may_not_call_may_not_call_in_bulk(site: Site) -> None:
    stranger = site.client(token="forged")
    refusal = await refused(stub(stranger).ExecuteBatch(bulk_pb.ExecuteBatchRequest()))
    assert refusal.code == grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as raised:
        async with CommandStream(stub(stranger)) as stream:
            await stream.execute(found())
    assert refusal_of(raised.value).code == grpc.StatusCode.UNAUTHENTICATED


# --- streams -------------------------------------------------------------------------------------


async def test_a_stream_answers_many_methods_of_one_caller(site: Site) -> None:
    client = site.client()
    async with CommandStream(stub(client)) as stream:
        requests = [found(), unit("Sales"), unit("Sales"), pb.GetUnitRequest(), unit("Marketing")]
        outcomes = await asyncio.gather(*(stream.execute(request) for request in requests))
    assert reasons(outcomes) == ["", "", "UNIT_NAME_TAKEN", "INVALID_REQUEST", ""]
    assert [each.organization_id for each in site.house.callers] == [client.organization_id]


async def test_who_waits_holds_up_its_own_aggregate_and_no_other(patient: Site) -> None:
    house, client = house_of(patient), patient.client()
    ana, ben, slow, quick = uuid4(), uuid4(), uuid4(), uuid4()
    house.gate(str(quick)).set()
    first, second, other = move(ana, slow), move(ana, quick), move(ben, quick)
    async with CommandStream(stub(client)) as stream:
        waiting = [asyncio.create_task(stream.execute(request)) for request in (first, second)]
        await house.arrivals(1)
        await stream.execute(other)
        assert not any(task.done() for task in waiting)
        house.gate(str(slow)).set()
        await asyncio.gather(*waiting)
    assert [request_id for _, request_id in house.moved] == [other.request_id, first.request_id, second.request_id]


async def test_ids_that_differ_in_case_name_one_aggregate(patient: Site) -> None:
    house, ana, here = house_of(patient), uuid4(), uuid4()
    house.gate(str(here)).set()
    loud = move(ana, here)
    loud.person_id = loud.person_id.upper()
    outcomes = await execute_all(stub(patient.client()), [loud, move(ana, here)])
    assert reasons(outcomes) == ["", ""]
    assert house.most_moving == 1


async def test_a_stream_has_a_bounded_number_of_commands_in_flight(patient: Site) -> None:
    house, client, here = house_of(patient), patient.client(), uuid4()
    async with CommandStream(stub(client)) as stream:
        waiting = [asyncio.create_task(stream.execute(move(uuid4(), here))) for _ in range(STREAM_IN_FLIGHT + 100)]
        await house.arrivals(STREAM_IN_FLIGHT)
        house.gate(str(here)).set()
        await asyncio.gather(*waiting)
    assert house.most_moving == STREAM_IN_FLIGHT
    assert len(house.moved) == STREAM_IN_FLIGHT + 100


async def test_a_stream_ends_with_its_token(patient: Site) -> None:
    assert patient.platform.issuer is not None
    organization, person, here = uuid4(), uuid4(), uuid4()
    house_of(patient).gate(str(here)).set()
    nearly_over = patient.platform.issuer.issue(organization, person, lifetime=timedelta(seconds=-58))
    client = patient.client(token=nearly_over)
    with pytest.raises(grpc.RpcError) as raised:
        async with CommandStream(stub(client)) as stream:
            while True:
                await stream.execute(move(uuid4(), here))
    refusal = refusal_of(raised.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert house_of(patient).moved, "it was good for a moment"


async def test_a_server_that_stops_answers_what_it_has_begun(patient: Site) -> None:
    house, client, here = house_of(patient), patient.client(), uuid4()
    with pytest.raises(grpc.RpcError) as raised:
        async with CommandStream(stub(client)) as stream:
            begun = asyncio.create_task(stream.execute(move(uuid4(), here)))
            await house.arrivals(1)
            stopping = asyncio.create_task(patient.platform.stop())
            await patient.platform.leaving.wait()
            house.gate(str(here)).set()
            assert (await begun).HasField("response")
            while True:
                await stream.execute(move(uuid4(), here))
    refusal = refusal_of(raised.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_LEAVING")
    await stopping


async def test_what_a_client_began_and_left_is_carried_to_its_end(patient: Site) -> None:
    house, client, here = house_of(patient), patient.client(), uuid4()
    person = uuid4()
    commands = [command_of(move(person, here)) for _ in range(2)]
    batch = stub(client).ExecuteBatch(bulk_pb.ExecuteBatchRequest(commands=commands))
    stream: Any = stub(client).ExecuteStream()
    await stream.write(bulk_pb.ExecuteStreamRequest(commands=[command_of(move(uuid4(), here))]))
    await house.arrivals(2)
    batch.cancel()
    stream.cancel()
    stopping = asyncio.create_task(patient.platform.stop())
    await patient.platform.leaving.wait()
    house.gate(str(here)).set()
    await stopping
    assert len(house.moved) == 3


async def test_a_message_that_is_none_ends_the_stream(site: Site) -> None:
    client = site.client()
    call: Any = client.channel.stream_stream("/okr.commands.v1.CommandsService/ExecuteStream")()
    await call.write(b"\xff\xff\xff")
    with pytest.raises(grpc.RpcError) as raised:
        await call.read()
    assert refusal_of(raised.value).code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_says_nothing_ends_with_nothing(site: Site) -> None:
    async with CommandStream(stub(site.client())):
        pass
