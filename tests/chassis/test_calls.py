"""Calls on a real server: order of refusal, every violation at once, deadlines, resends, pages, positions."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.telemetry.correlation import HEADER
from okr_contracts.errors import InvalidInputError, Violation
from tests.chassis.conftest import Client, Site, refused

INVALID, UNAUTHENTICATED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED


def found(name: str = "Mint", request_id: UUID | str | None = None) -> pb.FoundOrganizationRequest:
    return pb.FoundOrganizationRequest(request_id=str(request_id or uuid4()), name=name)


def unit(name: str, unit_id: UUID | None = None) -> pb.AddUnitRequest:
    return pb.AddUnitRequest(
        request_id=str(uuid4()), unit_id=str(unit_id or uuid4()), name=name, kind=pb.UNIT_KIND_TEAM
    )


def raw(client: Client, method: str, data: bytes) -> Awaitable[bytes]:
    """A call that sends bytes as they are."""
    call: Any = client.channel.unary_unary(f"/okr.directory.v1.{method}")
    answer: Awaitable[bytes] = call(data)
    return answer


async def test_organisation_and_person_come_from_the_token(site: Site) -> None:
    client = site.client()
    answer = await client.directory.FoundOrganization(found())
    assert answer.organization_id == str(client.organization_id)
    assert answer.receipt.position.startswith("directory:")
    [who] = site.house.callers
    assert (who.organization_id, who.person_id) == (client.organization_id, client.person_id)
    assert who.actor == f"person:{client.person_id}"


async def test_every_violation_is_reported_at_once(site: Site) -> None:
    request = pb.AddUnitRequest(request_id="no", unit_id="no", name="\x00", parent_unit_id="no")
    refusal = await refused(site.client().directory.AddUnit(request))
    assert refusal.code == INVALID
    assert refusal.reason == "INVALID_REQUEST"
    assert [each.field for each in refusal.violations] == ["request_id", "unit_id", "name", "parent_unit_id"]
    assert all(each.message and each.reason for each in refusal.violations)


async def test_the_token_is_looked_at_before_the_request_is(site: Site) -> None:
    refusal = await refused(site.client(token="forged").directory.AddUnit(pb.AddUnitRequest()))
    assert refusal.code == UNAUTHENTICATED
    assert refusal.violations == ()


async def test_bytes_that_are_no_message_are_refused_after_the_token(site: Site) -> None:
    for client, code in ((site.client(), INVALID), (site.client(token="forged"), UNAUTHENTICATED)):
        assert (await refused(raw(client, "DirectoryService/AddUnit", b"\xff\xff\xff"))).code == code


async def test_a_text_of_a_mebibyte_is_too_large_and_nothing_breaks(site: Site) -> None:
    client = site.client()
    refusal = await refused(client.directory.FoundOrganization(found("M" * 1024 * 1024)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")
    refusal = await refused(client.directory.FoundOrganization(found("M" * 10 * 1024 * 1024)))
    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    refusal = await refused(client.directory.FoundOrganization(found("M" * 1_000_000)))
    assert [each.reason for each in refusal.violations] == ["TEXT_TOO_LONG"]


async def test_more_violations_than_headers_carry_are_counted(site: Site) -> None:
    site.house.fault = InvalidInputError([Violation(f"rows.{n}.title", "is required" * 9) for n in range(5000)])
    refusal = await refused(site.client().directory.RenameUnit(pb.RenameUnitRequest()))
    assert refusal.code == INVALID
    assert 20 < len(refusal.violations) < 100
    assert refusal.violations[-1].reason == "MORE_VIOLATIONS"
    assert str(5000 - len(refusal.violations) + 1) in refusal.violations[-1].message


async def test_what_nobody_foresaw_is_internal_and_tells_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    site.house.fault = KeyError("password=hunter2")
    correlation = uuid4()
    call = site.client().directory.RenameUnit(pb.RenameUnitRequest(), metadata=((HEADER, str(correlation)),))
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert refusal.metadata["correlation_id"] == str(correlation)
    for _, value in await call.trailing_metadata():
        assert b"hunter2" not in (value if isinstance(value, bytes) else value.encode())
    assert "hunter2" not in refusal.message
    logged = caplog.text + "".join(capsys.readouterr())
    assert str(correlation) in logged
    assert "hunter2" in logged


async def test_a_resend_gets_the_stored_answer_and_another_body_is_refused(site: Site) -> None:
    client, request_id = site.client(), uuid4()
    first = await client.directory.FoundOrganization(found(request_id=request_id))
    again = await client.directory.FoundOrganization(found(request_id=request_id))
    assert again == first
    refusal = await refused(client.directory.FoundOrganization(found("Peppermint", request_id)))
    assert (refusal.code, refusal.reason) == (INVALID, "REQUEST_ID_REUSED")


async def test_a_request_id_of_one_organisation_says_nothing_in_another(site: Site) -> None:
    request_id = uuid4()
    one, other = site.client(), site.client()
    await one.directory.FoundOrganization(found("One", request_id))
    await other.directory.FoundOrganization(found("Other", request_id))
    assert (await other.directory.GetOrganization(pb.GetOrganizationRequest())).organization.name == "Other"


async def test_refusals_by_rules_carry_their_family_and_reason(site: Site) -> None:
    client = site.client()
    refusal = await refused(client.directory.AddUnit(unit("Sales")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    await client.directory.FoundOrganization(found())
    refusal = await refused(client.directory.FoundOrganization(found()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ORGANIZATION_ALREADY_EXISTS")
    await client.directory.AddUnit(unit("Sales"))
    refusal = await refused(client.directory.AddUnit(unit("Sales")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNIT_NAME_TAKEN")
    assert "Sales" in refusal.message


async def test_a_read_sees_the_callers_own_write(site: Site) -> None:
    client = site.client()
    await client.directory.FoundOrganization(found())
    for index in range(20):
        request = unit(f"Unit {index}")
        position = (await client.directory.AddUnit(request)).receipt.position
        answer = await client.directory.GetUnit(pb.GetUnitRequest(unit_id=request.unit_id, min_positions=[position]))
        assert answer.unit.name == f"Unit {index}"


async def test_positions_that_make_no_sense_are_refused_by_name(site: Site) -> None:
    client = site.client()
    position = (await client.directory.FoundOrganization(found())).receipt.position
    shard = int(position.split(":")[1])
    _, _, epoch, _ = position.split(":")
    wrong = [
        "nonsense",
        "directory:1:1",
        f"directory:{shard}:{epoch}:-1",
        f"directory:999:{epoch}:1",
        f"directory:{shard}:{epoch}:99999999999999999999999",
        f"directory:{(shard + 1) % 256}:{epoch}:1",
        f"nowhere:{shard}:{epoch}:1",
        f"directory:{shard}:{int(epoch) + 1}:1",
        "",
    ]
    for token in wrong:
        refusal = await refused(client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position, token])))
        assert (refusal.code, [each.field for each in refusal.violations]) == (INVALID, ["min_positions.1"]), token
    refusal = await refused(client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position] * 17)))
    assert refusal.code == INVALID


async def test_a_position_that_is_not_reached_in_time_is_unavailable(site: Site) -> None:
    client = site.client()
    position = (await client.directory.FoundOrganization(found())).receipt.position
    ahead = position.rsplit(":", 1)[0] + ":1000000"
    refusal = await refused(
        client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[ahead]), timeout=10, wait_for_ready=True)
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_CAUGHT_UP")


async def test_a_list_is_read_page_by_page_without_holes(site: Site) -> None:
    client = site.client()
    await client.directory.FoundOrganization(found())
    names = {f"Unit {index}" for index in range(23)}
    for name in sorted(names):
        position = (await client.directory.AddUnit(unit(name))).receipt.position
    seen: list[str] = []
    request = pb.ListUnitsRequest(min_positions=[position])
    request.page.size = 10
    while True:
        answer = await client.directory.ListUnits(request)
        assert len(answer.units) <= 10
        seen += [each.unit_id for each in answer.units]
        if not answer.next_page_token:
            break
        request.page.token = answer.next_page_token
    assert len(seen) == len(set(seen)) == 23
    assert seen == sorted(seen)


async def test_a_page_token_continues_only_the_question_it_came_from(site: Site) -> None:
    client = site.client()
    await client.directory.FoundOrganization(found())
    for index in range(3):
        position = (await client.directory.AddUnit(unit(f"Unit {index}"))).receipt.position
    request = pb.ListUnitsRequest(min_positions=[position])
    request.page.size = 1
    token = (await client.directory.ListUnits(request)).next_page_token

    async def asked_by(who: Client, token: str) -> grpc.StatusCode | int:
        try:
            request = pb.ListUnitsRequest()
            request.page.token = token
            return len((await who.directory.ListUnits(request)).units)
        except grpc.RpcError as error:
            assert isinstance(error, aio.AioRpcError)
            return error.code()

    assert await asked_by(client, token) == 2
    assert await asked_by(site.client(), token) == INVALID
    for forged in (token[:-4], token + "AAAA", "A" * 60, "é", "%%%", "A" * 100_000, token.swapcase()):
        assert await asked_by(client, forged) == INVALID, forged[:80]
    negative = pb.ListUnitsRequest()
    negative.page.size = -1
    refusal = await refused(client.directory.ListUnits(negative))
    assert [each.field for each in refusal.violations] == ["page.size"]


async def test_a_call_cut_off_in_the_middle_is_carried_to_its_end(site: Site) -> None:
    """The call is cancelled while its command is on the way to the log; the resend gets the stored answer."""
    client, request = site.client(), found()
    log = site.platform.logs["directory"]
    entered, go_on = asyncio.Event(), asyncio.Event()
    append = log.append

    async def slow_append(*args: object, **more: object) -> object:
        entered.set()
        await go_on.wait()
        return await append(*args, **more)  # type: ignore[arg-type]  # the same arguments, handed on

    log.append = slow_append  # type: ignore[method-assign, assignment]  # the pause a slow disk would make
    call = client.directory.FoundOrganization(request)
    running = asyncio.ensure_future(refused(call))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    log.append = append  # type: ignore[method-assign]  # as it was
    await site.house.host.execute.drain()
    assert (await log.heads()).keys(), "the command was carried out although nobody waited for it"
    answer = await client.directory.FoundOrganization(request)
    assert answer.receipt.version == 1


async def test_at_the_deadline_the_handler_is_told_and_the_caller_too(site: Site) -> None:
    call = site.client().directory.ListPeople(pb.ListPeopleRequest(), timeout=0.2)
    assert (await refused(call)).code == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_service_asks_its_peers_on_behalf_of_the_caller(site: Site) -> None:
    client = site.client()
    await client.directory.GetOrganization(pb.GetOrganizationRequest())
    [who] = site.house.callers
    assert (who.organization_id, who.person_id) == (client.organization_id, client.person_id)


async def test_a_peers_refusal_is_the_callers_answer_and_its_failure_is_not(site: Site) -> None:
    client = site.client()
    site.house.fault = InvalidInputError([Violation("person_id", "is odd", "ODD")])
    refusal = await refused(client.directory.GetOrganization(pb.GetOrganizationRequest()))
    assert (refusal.code, refusal.violations) == (INVALID, (Violation("person_id", "is odd", "ODD"),))
    site.house.fault = RuntimeError("secret")
    refusal = await refused(client.directory.GetOrganization(pb.GetOrganizationRequest()))
    assert refusal.code == grpc.StatusCode.INTERNAL
    assert "secret" not in refusal.message


async def test_health_and_reflection_are_open(site: Site) -> None:
    async with aio.insecure_channel(site.platform.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", "okr.directory.v1.DirectoryService", "okr.eventlog.v1.EventLogService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
        open_channel: Any = channel
        reflected: Any = reflection_pb2_grpc.ServerReflectionStub(open_channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in reflected.ServerReflectionInfo(iter([asked])):
            names = {each.name for each in answer.list_services_response.service}
            assert "okr.directory.v1.DirectoryService" in names
            break


async def test_an_unknown_method_is_unimplemented(site: Site) -> None:
    call = raw(site.client(), "DirectoryService/DropEverything", b"")
    assert (await refused(call)).code == grpc.StatusCode.UNIMPLEMENTED
