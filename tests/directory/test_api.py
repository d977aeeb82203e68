"""Directory through gRPC on a real PostgreSQL."""

import asyncio
from uuid import UUID

import grpc
import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.rpc.errors import refusal_of
from tests.support.house import Desk, House, new_id, page, refused

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXISTS, PRECONDITION = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION


async def found(desk: Desk, name: str = "Bakery") -> str:
    answer = await desk.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=new_id(), name=name))
    return str(answer.receipt.position)


async def add_unit(desk: Desk, name: str, parent: str = "", unit_id: str | None = None) -> str:
    unit_id = unit_id or new_id()
    request = pb.AddUnitRequest(
        request_id=new_id(), unit_id=unit_id, name=name, kind=pb.UNIT_KIND_DEPARTMENT, parent_unit_id=parent
    )
    await desk.directory.AddUnit(request)
    return unit_id


def ana(**changes: str) -> pb.RegisterPersonRequest:
    fields = {"request_id": new_id(), "person_id": new_id(), "handle": "ana", "name": "Ana Souza", "email": "ana@x.org"}
    return pb.RegisterPersonRequest(**(fields | changes))


async def test_an_organisation_is_founded_and_read(desk: Desk) -> None:
    position = await found(desk)
    answer = await desk.directory.GetOrganization(pb.GetOrganizationRequest(min_positions=[position]))
    assert answer.organization.name == "Bakery"
    assert answer.organization.time_zone == "UTC"
    assert answer.organization.organization_id == str(desk.organization_id)
    assert answer.organization.etag == '"1"'
    assert answer.organization.founded_at.endswith("Z")


async def test_founding_again_changes_nothing_and_another_name_is_refused(desk: Desk) -> None:
    await found(desk)
    await found(desk)
    with refused(EXISTS, "ORGANIZATION_ALREADY_EXISTS"):
        await found(desk, "Butcher")


async def test_an_organisation_nobody_founded_is_not_found(desk: Desk) -> None:
    with refused(NOT_FOUND, "ORGANIZATION_NOT_FOUND"):
        await desk.directory.GetOrganization(pb.GetOrganizationRequest())
    with refused(NOT_FOUND, "ORGANIZATION_NOT_FOUND"):
        await add_unit(desk, "Sales")
    with refused(NOT_FOUND, "ORGANIZATION_NOT_FOUND"):
        await desk.directory.RegisterPerson(ana())


async def test_units_form_a_tree_that_can_be_changed(desk: Desk) -> None:
    await found(desk)
    sales = await add_unit(desk, "Sales")
    inside = await add_unit(desk, "Inside sales", sales)
    await desk.directory.RenameUnit(pb.RenameUnitRequest(request_id=new_id(), unit_id=sales, name="Revenue"))
    moved = await desk.directory.MoveUnit(pb.MoveUnitRequest(request_id=new_id(), unit_id=inside))
    answer = await desk.directory.ListUnits(pb.ListUnitsRequest(min_positions=[moved.receipt.position]))
    assert {(unit.unit_id, unit.name, unit.parent_unit_id) for unit in answer.units} == {
        (sales, "Revenue", ""),
        (inside, "Inside sales", ""),
    }
    one = await desk.directory.GetUnit(pb.GetUnitRequest(unit_id=sales))
    assert one.unit.kind == pb.UNIT_KIND_DEPARTMENT


async def test_units_are_listed_in_pages(desk: Desk) -> None:
    await found(desk)
    ids = sorted([await add_unit(desk, f"Unit {number}") for number in range(5)])
    position = await found(desk)
    seen, token = [], ""
    while True:
        request = pb.ListUnitsRequest(page=page(2, token), min_positions=[position])
        answer = await desk.directory.ListUnits(request)
        seen += [unit.unit_id for unit in answer.units]
        token = answer.next_page_token
        if not token:
            break
        assert len(answer.units) == 2
    assert seen == ids


async def test_a_person_is_registered_and_found_by_handle_and_by_id(desk: Desk) -> None:
    await found(desk)
    sales = await add_unit(desk, "Sales")
    request = ana(handle="Ana", unit_id=sales)
    receipt = (await desk.directory.RegisterPerson(request)).receipt
    listed = await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ANA", min_positions=[receipt.position]))
    assert [(each.person_id, each.handle, each.name, each.email, each.unit_id) for each in listed.people] == [
        (request.person_id, "ana", "Ana Souza", "ana@x.org", sales)
    ]
    listed = await desk.directory.ListPeople(pb.ListPeopleRequest(person_ids=[request.person_id, new_id()]))
    assert len(listed.people) == 1
    assert (await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ben"))).people == []
    assert (await desk.directory.GetPerson(pb.GetPersonRequest(person_id=request.person_id))).person.name == "Ana Souza"


async def test_a_person_moves_between_units(desk: Desk) -> None:
    await found(desk)
    sales = await add_unit(desk, "Sales")
    request = ana()
    await desk.directory.RegisterPerson(request)
    move = pb.MovePersonRequest(request_id=new_id(), person_id=request.person_id, unit_id=sales)
    position = (await desk.directory.MovePerson(move)).receipt.position
    read = pb.GetPersonRequest(person_id=request.person_id, min_positions=[position])
    assert (await desk.directory.GetPerson(read)).person.unit_id == sales
    with refused(NOT_FOUND, "UNIT_NOT_FOUND"):
        move = pb.MovePersonRequest(request_id=new_id(), person_id=request.person_id, unit_id=new_id())
        await desk.directory.MovePerson(move)
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await desk.directory.MovePerson(pb.MovePersonRequest(request_id=new_id(), person_id=new_id()))


async def test_names_never_enter_the_log(desk: Desk, directory_house: House) -> None:
    await found(desk)
    await desk.directory.RegisterPerson(ana())
    database = directory_house.platform.services["directory"].host.database
    stored = await database.fetch(
        "SELECT concat(data, metadata, actor) AS event FROM event WHERE organization_id = $1", desk.organization_id
    )
    assert stored
    assert not any("ana" in row["event"].lower() or "souza" in row["event"].lower() for row in stored)


async def test_a_handle_belongs_to_one_person(desk: Desk) -> None:
    await found(desk)
    await desk.directory.RegisterPerson(ana())
    with refused(PRECONDITION, "HANDLE_TAKEN"):
        await desk.directory.RegisterPerson(ana(name="Ana Silva", handle="ANA"))


async def test_of_many_who_want_one_handle_at_once_exactly_one_gets_it(desk: Desk) -> None:
    await found(desk)
    requests = [ana(name=f"Ana {number}") for number in range(8)]
    answers = await asyncio.gather(*map(desk.directory.RegisterPerson, requests), return_exceptions=True)
    refusals = [refusal_of(each).reason for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert refusals == ["HANDLE_TAKEN"] * 7
    (holder,) = (await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ana"))).people
    winner = next(request for request, each in zip(requests, answers, strict=True) if not isinstance(each, Exception))
    assert (holder.person_id, holder.name) == (winner.person_id, winner.name)
    assert len((await desk.directory.ListPeople(pb.ListPeopleRequest())).people) == 1


async def test_what_was_written_a_moment_ago_is_found_without_its_position(desk: Desk) -> None:
    await found(desk)
    for number in range(20):
        unit_id = await add_unit(desk, f"Unit {number}")
        assert (await desk.directory.GetUnit(pb.GetUnitRequest(unit_id=unit_id))).unit.name == f"Unit {number}"
        request = ana(handle=f"ana{number}")
        await desk.directory.RegisterPerson(request)
        listed = await desk.directory.ListPeople(pb.ListPeopleRequest(person_ids=[request.person_id]))
        assert [person.handle for person in listed.people] == [f"ana{number}"]


async def test_handles_of_other_organisations_do_not_matter(desk: Desk, directory_house: House) -> None:
    other = directory_house.desk()
    for each in (desk, other):
        await found(each)
        await each.directory.RegisterPerson(ana())


async def test_registering_the_same_again_changes_nothing_and_other_content_is_refused(desk: Desk) -> None:
    await found(desk)
    request = ana()
    first = await desk.directory.RegisterPerson(request)
    assert await desk.directory.RegisterPerson(request) == first
    request.request_id = new_id()
    assert (await desk.directory.RegisterPerson(request)).receipt.version == 1
    request.request_id, request.name = new_id(), "Anabel"
    with refused(EXISTS, "PERSON_ALREADY_EXISTS"):
        await desk.directory.RegisterPerson(request)


async def test_a_request_id_of_another_registration_is_refused_and_leaves_the_handle_free(desk: Desk) -> None:
    await found(desk)
    request = ana()
    await desk.directory.RegisterPerson(request)
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await desk.directory.RegisterPerson(ana(request_id=request.request_id, handle="ben"))
    with refused(INVALID, "REQUEST_ID_REUSED"):
        reused = pb.RegisterPersonRequest()
        reused.CopyFrom(request)
        reused.name = "Anabel"
        await desk.directory.RegisterPerson(reused)
    await desk.directory.RegisterPerson(ana(handle="ben"))


async def test_a_claim_that_no_event_followed_stands_in_nobodys_way(desk: Desk, directory_house: House) -> None:
    await found(desk)
    database = directory_house.platform.services["directory"].host.database
    ghost = new_id()
    claim = "INSERT INTO identity (organization_id, person_id, handle, name, email, claimed_at) \
        VALUES ($1, $2, $3, 'x', '', now() - $4 * interval '1 second')"
    await database.execute(claim, desk.organization_id, UUID(ghost), "ana", 3600)
    await desk.directory.RegisterPerson(ana())
    await database.execute(claim, desk.organization_id, UUID(ghost), "ben", 0)
    with refused(PRECONDITION, "HANDLE_TAKEN"):
        await desk.directory.RegisterPerson(ana(handle="ben"))
    await desk.directory.RegisterPerson(ana(handle="ben", person_id=ghost))


async def test_another_organisations_ids_look_unknown(desk: Desk, directory_house: House) -> None:
    await found(desk)
    unit_id = await add_unit(desk, "Sales")
    request = ana()
    await desk.directory.RegisterPerson(request)
    other = directory_house.desk()
    await found(other)
    with refused(NOT_FOUND, "UNIT_NOT_FOUND"):
        await other.directory.GetUnit(pb.GetUnitRequest(unit_id=unit_id))
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await other.directory.GetPerson(pb.GetPersonRequest(person_id=request.person_id))
    with refused(NOT_FOUND, "UNIT_NOT_FOUND"):
        await other.directory.RenameUnit(pb.RenameUnitRequest(request_id=new_id(), unit_id=unit_id, name="Mine"))
    assert (await other.directory.ListPeople(pb.ListPeopleRequest())).people == []


async def test_rules_of_the_tree_reach_the_caller(desk: Desk) -> None:
    await found(desk)
    sales = await add_unit(desk, "Sales")
    inside = await add_unit(desk, "Inside", sales)
    with refused(PRECONDITION, "UNIT_NAME_TAKEN"):
        await add_unit(desk, "sales")
    with refused(PRECONDITION, "UNIT_LOOP"):
        move = pb.MoveUnitRequest(request_id=new_id(), unit_id=sales, parent_unit_id=inside)
        await desk.directory.MoveUnit(move)
    with refused(EXISTS, "UNIT_ALREADY_EXISTS"):
        await add_unit(desk, "Purchase", unit_id=sales)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"request_id": "1"}, ["request_id"]),
        ({"person_id": "not a uuid", "name": ""}, ["person_id", "name"]),
        ({"handle": "with space"}, ["handle"]),
        ({"handle": ""}, ["handle"]),
        ({"name": "nul\x00"}, ["name"]),
        ({"name": "x" * 300}, ["name"]),
        ({"email": "nobody"}, ["email"]),
        ({"unit_id": "{}"}, ["unit_id"]),
    ],
)
async def test_a_malformed_registration_is_told_all_that_is_wrong(
    desk: Desk, changes: dict[str, str], fields: list[str]
) -> None:
    await found(desk)
    with refused(INVALID) as answer:
        await desk.directory.RegisterPerson(ana(**changes))
    assert [violation.field for violation in answer.refusal.violations] == fields


async def test_too_many_ids_at_once_are_refused(desk: Desk) -> None:
    with refused(INVALID):
        await desk.directory.ListPeople(pb.ListPeopleRequest(person_ids=[new_id()] * 1001))
