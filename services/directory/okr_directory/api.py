"""The gRPC side of directory: organisations, units and people."""

from typing import Annotated, Any
from uuid import UUID

import asyncpg
from grpc import aio
from pydantic import BaseModel, Field

from okr.directory.v1 import directory_pb2 as pb
from okr.directory.v1 import directory_pb2_grpc
from okr_chassis.identity.auth import caller, require_operator
from okr_chassis.news import News
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.fields import Id, optional_text
from okr_chassis.rpc.messages import accept, etag, id_of, receipt, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.service import Reader
from okr_contracts.errors import NotFoundError, OkrError
from okr_directory import read_model
from okr_directory.decider.organization import (
    AddUnit,
    FoundOrganization,
    MoveUnit,
    RenameUnit,
    organizations,
    unit_of,
)
from okr_directory.decider.person import EnterPerson, ErasePerson, MovePerson, people
from okr_directory.erasure import Erasures
from okr_directory.identity import HANDLE_LENGTH, Identities, RegisterPerson
from okr_eventstore.errors import CommandIdReusedError, ConflictError

Context = aio.ServicerContext[Any, Any]

MAX_PERSON_IDS = 1000


class PeopleQuestion(BaseModel, frozen=True):
    """Which people are asked for: a handle, some ids, or all."""

    handle: Annotated[str | None, optional_text(HANDLE_LENGTH)] = None
    person_ids: Annotated[tuple[Id, ...], Field(max_length=MAX_PERSON_IDS)] = ()


class DirectoryService(directory_pb2_grpc.DirectoryServiceServicer):
    """Translates requests in and answers out."""

    def __init__(
        self,
        execute: Execute,
        reader: Reader,
        pages: Pages,
        news: News,
        identities: Identities,
        erasures: Erasures,
    ) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._news = news
        self._identities = identities
        self._erasures = erasures

    # --- writing ---------------------------------------------------------------------------------

    async def FoundOrganization(
        self, request: pb.FoundOrganizationRequest, context: Context
    ) -> pb.FoundOrganizationResponse:
        command = accept(FoundOrganization, request, organization_id=caller().organization_id)
        done = await self._execute(organizations, organizations.stream(command.organization_id), command, request)
        return pb.FoundOrganizationResponse(organization_id=str(command.organization_id), receipt=receipt(done))

    async def AddUnit(self, request: pb.AddUnitRequest, context: Context) -> pb.AddUnitResponse:
        command = accept(AddUnit, request, organization_id=caller().organization_id)
        done = await self._execute(organizations, organizations.stream(command.organization_id), command, request)
        return pb.AddUnitResponse(receipt=receipt(done))

    async def RenameUnit(self, request: pb.RenameUnitRequest, context: Context) -> pb.RenameUnitResponse:
        command = accept(RenameUnit, request, organization_id=caller().organization_id)
        done = await self._execute(organizations, organizations.stream(command.organization_id), command, request)
        return pb.RenameUnitResponse(receipt=receipt(done))

    async def MoveUnit(self, request: pb.MoveUnitRequest, context: Context) -> pb.MoveUnitResponse:
        command = accept(MoveUnit, request, organization_id=caller().organization_id)
        done = await self._execute(organizations, organizations.stream(command.organization_id), command, request)
        return pb.MoveUnitResponse(receipt=receipt(done))

    async def RegisterPerson(self, request: pb.RegisterPersonRequest, context: Context) -> pb.RegisterPersonResponse:
        """The claim to the handle comes first and the event after it; a refusal takes a new claim back."""
        wanted = accept(RegisterPerson, request)
        organization_id = caller().organization_id
        await self._require_unit(wanted.unit_id)
        known = await self._execute.load(people, people.stream(wanted.person_id))
        # Of somebody who was erased nothing is written down again, not even for as long as a refusal takes.
        claim = "held" if known.state.erased else await self._identities.claim(organization_id, wanted)
        command = EnterPerson(
            person_id=wanted.person_id, unit_id=wanted.unit_id, identity="held" if claim == "claimed" else claim
        )
        try:
            done = await self._execute(people, people.stream(wanted.person_id), command, request)
        except (OkrError, CommandIdReusedError, ConflictError):
            if claim == "claimed":
                await self._identities.release(organization_id, wanted.person_id)
            raise
        return pb.RegisterPersonResponse(receipt=receipt(done))

    async def MovePerson(self, request: pb.MovePersonRequest, context: Context) -> pb.MovePersonResponse:
        command = accept(MovePerson, request)
        await self._require_unit(command.unit_id)
        done = await self._execute(people, people.stream(command.person_id), command, request)
        return pb.MovePersonResponse(receipt=receipt(done))

    async def ErasePerson(self, request: pb.ErasePersonRequest, context: Context) -> pb.ErasePersonResponse:
        """Answered when it is done: the event stands, the name is deleted, the key destroyed."""
        organization_id = require_operator().organization_id
        command = accept(ErasePerson, request, known=False)
        known = await self._erasures.knows(organization_id, command.person_id)
        command = command.model_copy(update={"known": known})
        done = await self._execute(people, people.stream(command.person_id), command, request)
        await self._erasures.carry_out(organization_id, command.person_id)
        return pb.ErasePersonResponse(receipt=receipt(done))

    async def _require_unit(self, unit_id: UUID | None) -> None:
        """The organisation exists, and the unit where one is named, by the log itself. Raises NotFoundError."""
        organization_id = caller().organization_id
        found = await self._execute.load(organizations, organizations.stream(organization_id))
        if found.state.name is None:
            raise NotFoundError("organization", organization_id)
        if unit_id is not None:
            unit_of(found.state, unit_id)

    # --- reading ---------------------------------------------------------------------------------

    async def GetOrganization(self, request: pb.GetOrganizationRequest, context: Context) -> pb.GetOrganizationResponse:
        await self._reader.caught_up(request.min_positions)
        organization_id = caller().organization_id
        row = await self._news.look(lambda: read_model.organization(self._reader, organization_id), _found)
        if row is None:
            raise NotFoundError("organization", organization_id)
        organization = pb.Organization(
            organization_id=str(organization_id),
            name=row["name"],
            time_zone=row["time_zone"],
            founded_at=wire(row["founded_at"]),
            etag=etag(row["_stream_version"]),
        )
        return pb.GetOrganizationResponse(organization=organization)

    async def GetUnit(self, request: pb.GetUnitRequest, context: Context) -> pb.GetUnitResponse:
        unit_id = id_of(request, "unit_id")
        await self._reader.caught_up(request.min_positions)
        row = await self._news.look(lambda: read_model.unit(self._reader, caller().organization_id, unit_id), _found)
        if row is None:
            raise NotFoundError("unit", unit_id)
        return pb.GetUnitResponse(unit=_unit(row))

    async def ListUnits(self, request: pb.ListUnitsRequest, context: Context) -> pb.ListUnitsResponse:
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        rows, token = page.cut(
            await read_model.units(self._reader, caller().organization_id, page), lambda row: [row["unit_id"]]
        )
        return pb.ListUnitsResponse(units=[_unit(row) for row in rows], next_page_token=token)

    async def GetPerson(self, request: pb.GetPersonRequest, context: Context) -> pb.GetPersonResponse:
        person_id = id_of(request, "person_id")
        await self._reader.caught_up(request.min_positions)
        row = await self._news.look(
            lambda: read_model.person(self._reader, caller().organization_id, person_id), _found
        )
        if row is None:
            raise NotFoundError("person", person_id)
        return pb.GetPersonResponse(person=_person(row))

    async def ListPeople(self, request: pb.ListPeopleRequest, context: Context) -> pb.ListPeopleResponse:
        question = accept(PeopleQuestion, request)
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        handle = question.handle.casefold() if question.handle else None
        wanted = min(page.limit, len(set(question.person_ids)) or bool(handle))
        found = await self._news.look(
            lambda: read_model.people(self._reader, caller().organization_id, page, handle, question.person_ids),
            lambda rows: len(rows) >= wanted,
        )
        rows, token = page.cut(found, lambda row: [row["person_id"]])
        return pb.ListPeopleResponse(people=[_person(row) for row in rows], next_page_token=token)


def _found(row: asyncpg.Record | None) -> bool:
    return row is not None


def _unit(row: asyncpg.Record) -> pb.Unit:
    kind = pb.UNIT_KIND_TEAM if row["kind"] == "team" else pb.UNIT_KIND_DEPARTMENT
    return pb.Unit(
        unit_id=str(row["unit_id"]), name=row["name"], kind=kind, parent_unit_id=str(row["parent_unit_id"] or "")
    )


def _person(row: asyncpg.Record) -> pb.Person:
    return pb.Person(
        person_id=str(row["person_id"]),
        handle=row["handle"],
        name=row["name"],
        email=row["email"],
        unit_id=str(row["unit_id"] or ""),
        erased=row["erased"],
    )
