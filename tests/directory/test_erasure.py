"""To forget a person: by an operator, to the end, once and for all."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.message import Message

from okr.commands.v1 import commands_pb2
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr.directory.v1 import directory_pb2 as pb
from okr.directory.v1 import vault_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr_chassis.codecs import codec_of
from okr_chassis.identity.auth import PERSON_PREFIX, Caller, calling
from okr_chassis.rpc.channels import connect
from okr_contracts.directory import PersonErased
from okr_directory import __main__ as directory
from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, NewEvent
from tests.support.house import Desk, House, house, new_id, refused

DENIED, NOT_FOUND = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def operator(directory_house: House, desk: Desk) -> AsyncIterator[Any]:
    """Directory as an operator of the desk's organisation calls it."""
    issuer = directory_house.platform.issuer
    assert issuer is not None
    token = issuer.issue(desk.organization_id, uuid4(), operator=True)
    channel = connect(directory_house.platform.address, lambda: token)
    yield DirectoryServiceStub(channel)
    await channel.close()


async def settle_in(desk: Desk, **changes: str) -> pb.RegisterPersonRequest:
    """The organisation exists, and Ana with it."""
    await desk.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=new_id(), name="Bakery"))
    request = ana(**changes)
    await desk.directory.RegisterPerson(request)
    return request


def ana(**changes: str) -> pb.RegisterPersonRequest:
    fields = {"request_id": new_id(), "person_id": new_id(), "handle": "ana", "name": "Ana Souza", "email": "ana@x.org"}
    return pb.RegisterPersonRequest(**(fields | changes))


def erase(person_id: str, request_id: str = "") -> pb.ErasePersonRequest:
    return pb.ErasePersonRequest(request_id=request_id or new_id(), person_id=person_id)


async def read(desk: Desk, person_id: str, position: str = "") -> pb.Person:
    request = pb.GetPersonRequest(person_id=person_id, min_positions=[position] if position else [])
    person: pb.Person = (await desk.directory.GetPerson(request)).person
    return person


async def key_of(built: House, organization_id: UUID, person_id: str, *, make: bool = True) -> vault_pb2.AuthorKey:
    """A person's key as services get it."""
    who = Caller(organization_id, UUID(person_id), f"{PERSON_PREFIX}{person_id}")
    with calling(who):
        answer = await built.platform.services["directory"].host.peers.vault.GetAuthorKeys(
            vault_pb2.GetAuthorKeysRequest(person_ids=[person_id], make_own=make)
        )
    return answer.keys[0]


async def identities(database: Database, organization_id: UUID) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM identity WHERE organization_id = $1", organization_id)
    return count


def database_of(built: House) -> Database:
    return built.platform.services["directory"].host.database


async def test_an_erased_person_has_no_name_no_handle_and_no_key(
    directory_house: House, desk: Desk, operator: Any
) -> None:
    person = await settle_in(desk)
    assert (await key_of(directory_house, desk.organization_id, person.person_id)).key

    done = await operator.ErasePerson(erase(person.person_id))

    assert await identities(database_of(directory_house), desk.organization_id) == 0
    key = await key_of(directory_house, desk.organization_id, person.person_id)
    assert (key.key, key.erased) == (b"", True)
    found = await read(desk, person.person_id, done.receipt.position)
    assert found == pb.Person(person_id=person.person_id, name="erased", erased=True)
    listed = await desk.directory.ListPeople(pb.ListPeopleRequest(person_ids=[person.person_id]))
    assert list(listed.people) == [found]
    assert not (await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ana"))).people


async def test_erasing_again_changes_nothing(desk: Desk, operator: Any) -> None:
    person = await settle_in(desk)
    request = erase(person.person_id)
    first = await operator.ErasePerson(request)
    assert await operator.ErasePerson(request) == first
    again = await operator.ErasePerson(erase(person.person_id))
    assert again.receipt.version == first.receipt.version == 2


async def test_an_erased_person_does_not_come_back(directory_house: House, desk: Desk, operator: Any) -> None:
    person = await settle_in(desk)
    await operator.ErasePerson(erase(person.person_id))
    for again in (ana(person_id=person.person_id), ana(person_id=person.person_id, handle="ana.2", name="Ana S.")):
        with refused(PRECONDITION, "PERSON_ERASED"):
            await desk.directory.RegisterPerson(again)
    with refused(PRECONDITION, "PERSON_ERASED"):
        await desk.directory.MovePerson(pb.MovePersonRequest(request_id=new_id(), person_id=person.person_id))
    assert await identities(database_of(directory_house), desk.organization_id) == 0


async def test_a_registration_that_is_sent_again_is_answered_as_then_and_writes_nothing_down(
    directory_house: House, desk: Desk, operator: Any
) -> None:
    person = await settle_in(desk)
    await operator.ErasePerson(erase(person.person_id))
    answer = await desk.directory.RegisterPerson(person)
    assert answer.receipt.version == 1
    assert await identities(database_of(directory_house), desk.organization_id) == 0


async def test_the_handle_is_free_for_somebody_else(desk: Desk, operator: Any) -> None:
    person = await settle_in(desk)
    await operator.ErasePerson(erase(person.person_id))
    successor = ana(name="Ana Lima")
    await desk.directory.RegisterPerson(successor)
    (found,) = (await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ana"))).people
    assert (found.person_id, found.name) == (successor.person_id, "Ana Lima")


async def test_somebody_who_wrote_without_being_registered_can_be_erased_and_nobody_cannot(
    directory_house: House, desk: Desk, operator: Any
) -> None:
    await settle_in(desk)
    guest = new_id()
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await operator.ErasePerson(erase(guest))
    await key_of(directory_house, desk.organization_id, guest)
    done = await operator.ErasePerson(erase(guest))
    assert (await key_of(directory_house, desk.organization_id, guest)).erased
    assert (await read(desk, guest, done.receipt.position)).name == "erased"
    with refused(PRECONDITION, "PERSON_ERASED"):
        await desk.directory.RegisterPerson(ana(person_id=guest, handle="guest"))


async def test_the_same_id_in_another_organisation_is_somebody_else(
    directory_house: House, desk: Desk, operator: Any
) -> None:
    person = await settle_in(desk)
    elsewhere = directory_house.desk()
    await settle_in(elsewhere, person_id=person.person_id)
    await operator.ErasePerson(erase(person.person_id))
    assert (await read(elsewhere, person.person_id)).name == "Ana Souza"
    assert (await key_of(directory_house, elsewhere.organization_id, person.person_id)).key


async def test_only_operators_erase(directory_house: House, desk: Desk) -> None:
    person = await settle_in(desk)
    with refused(DENIED, "OPERATOR_SCOPE_REQUIRED"):
        await desk.directory.ErasePerson(erase(person.person_id))
    with refused(DENIED, "OPERATOR_SCOPE_REQUIRED"):
        await desk.directory.ErasePerson(pb.ErasePersonRequest())
    answer = await CommandsServiceStub(desk.channel).ExecuteBatch(
        commands_pb2.ExecuteBatchRequest(commands=[packed(erase(person.person_id))])
    )
    assert answer.outcomes[0].refusal.code == DENIED.value[0]
    assert (await read(desk, person.person_id)).name == "Ana Souza"


def packed(request: Message) -> commands_pb2.Command:
    command = commands_pb2.Command()
    command.request.Pack(request)
    return command


async def test_what_a_crash_cut_short_is_finished_by_the_next_start(fresh_dsn: str, tmp_path: Path) -> None:
    """The event is all that is there; whoever wrote it died before anything was deleted."""
    async with house(fresh_dsn, tmp_path / "data", [directory]) as built:
        desk = built.desk()
        person = await settle_in(desk)
        await key_of(built, desk.organization_id, person.person_id)

    database = await Database.open(fresh_dsn, "directory")
    log = EventLog("directory", database, codec_of("directory"))
    await log.start()
    command_id = uuid4()
    context = CommandContext(desk.organization_id, command_id, command_id.bytes, "person:operator", command_id)
    erased = NewEvent(PersonErased(UUID(person.person_id)))
    await log.append(f"person-{person.person_id}", 1, [erased], context)
    assert await identities(database, desk.organization_id) == 1
    await log.close()
    await database.close()

    async with house(fresh_dsn, tmp_path / "data", [directory]) as built:
        await built.platform.wait_idle()
        assert await identities(database_of(built), desk.organization_id) == 0
        assert (await key_of(built, desk.organization_id, person.person_id)).erased
        again = built.desk(desk.organization_id)
        assert (await read(again, person.person_id)).name == "erased"


async def test_between_the_event_and_the_deletion_nobody_is_shown_by_name(
    directory_house: House, desk: Desk, operator: Any
) -> None:
    """A name that is still in its row, as it is for the moment between the two, is not read any more."""
    person = await settle_in(desk)
    done = await operator.ErasePerson(erase(person.person_id))
    await database_of(directory_house).execute(
        "INSERT INTO identity (organization_id, person_id, handle, name, email) VALUES ($1, $2, 'ana', 'Ana', '')",
        desk.organization_id,
        UUID(person.person_id),
    )
    found = await read(desk, person.person_id, done.receipt.position)
    assert (found.name, found.handle) == ("erased", "")
    assert not (await desk.directory.ListPeople(pb.ListPeopleRequest(handle="ana"))).people
