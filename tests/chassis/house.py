"""A small service to test the chassis with: it speaks directory's contract and has one rule of its own.

An organisation's units are counted; a unit called `chain-N` makes a reaction add `chain-(N-1)`, so
that events cause events until the chain ends.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4, uuid5

from grpc import aio
from msgspec import Struct
from pydantic import BaseModel

from okr.directory.v1 import directory_pb2 as pb
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceServicer, add_DirectoryServiceServicer_to_server
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.fields import Id, Name, OptionalId
from okr_chassis.rpc.messages import accept, etag, id_of, receipt
from okr_chassis.service import Host, Service
from okr_contracts.directory import OrganizationFounded, UnitAdded, UnitKind
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_eventstore.decider import Decider
from okr_eventstore.model import RecordedEvent
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_eventstore.runner import Subscription

Context = aio.ServicerContext[Any, Any]


class Units(Struct, frozen=True):
    name: str | None = None
    units: tuple[str, ...] = ()


class Found(BaseModel, frozen=True):
    organization_id: UUID
    name: Name


class Add(BaseModel, frozen=True):
    unit_id: Id
    name: Name
    kind: UnitKind | None
    parent_unit_id: OptionalId


def decide(state: Units, command: Found | Add) -> list[OrganizationFounded | UnitAdded]:
    match command:
        case Found() if state.name is not None:
            raise AlreadyExistsError("organization", command.organization_id)
        case Found():
            return [OrganizationFounded(command.organization_id, command.name, "UTC")]
        case Add() if state.name is None:
            raise NotFoundError("organization", "here")
        case Add() if command.name in state.units:
            raise DomainError("UNIT_NAME_TAKEN", f"a unit is called {command.name!r} already; choose another name")
        case Add():
            return [UnitAdded(command.unit_id, command.name, command.kind or "department", command.parent_unit_id)]


def evolve(state: Units, event: OrganizationFounded | UnitAdded) -> Units:
    match event:
        case OrganizationFounded():
            return Units(event.name, state.units)
        case UnitAdded():
            return Units(state.name, (*state.units, event.name))


units: Decider[Units, Found | Add, OrganizationFounded | UnitAdded] = Decider("organization", Units(), decide, evolve)


class UnitRow(Row, frozen=True):
    __table__ = "unit"
    __key__ = ("organization_id", "unit_id")
    organization_id: UUID
    unit_id: UUID
    name: str = ""


def project(rows: Rows, event: ProjectedEvent) -> None:
    match event.data:
        case UnitAdded() as fact:
            rows.put(UnitRow(event.organization_id, fact.unit_id, fact.name))


structure = Projection("structure", "directory", (UnitRow,), project)


class House(DirectoryServiceServicer):
    """Handlers with faults that tests ask for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.calls = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fault: Exception | None = None
        self.callers: list[Any] = []

    async def FoundOrganization(
        self, request: pb.FoundOrganizationRequest, context: Context
    ) -> pb.FoundOrganizationResponse:
        self.calls += 1
        self.callers.append(caller())
        organization_id = caller().organization_id
        command = accept(Found, request, organization_id=organization_id)
        done = await self.host.execute(units, units.stream(organization_id), command, request)
        return pb.FoundOrganizationResponse(organization_id=str(organization_id), receipt=receipt(done))

    async def AddUnit(self, request: pb.AddUnitRequest, context: Context) -> pb.AddUnitResponse:
        command = accept(Add, request)
        done = await self.host.execute(units, units.stream(caller().organization_id), command, request)
        return pb.AddUnitResponse(receipt=receipt(done))

    async def GetUnit(self, request: pb.GetUnitRequest, context: Context) -> pb.GetUnitResponse:
        unit_id = id_of(request, "unit_id")
        await self.host.reader.caught_up(request.min_positions)
        row = await self.host.reader.fetchrow(
            "SELECT * FROM unit WHERE organization_id = $1 AND unit_id = $2", caller().organization_id, unit_id
        )
        if row is None:
            raise NotFoundError("unit", unit_id)
        return pb.GetUnitResponse(unit=pb.Unit(unit_id=str(row["unit_id"]), name=row["name"]))

    async def ListUnits(self, request: pb.ListUnitsRequest, context: Context) -> pb.ListUnitsResponse:
        page = self.host.pages.open(request)
        await self.host.reader.caught_up(request.min_positions)
        rows = await self.host.reader.fetch(
            """SELECT * FROM unit WHERE organization_id = $1 AND ($2::uuid IS NULL OR unit_id > $2)
                ORDER BY unit_id LIMIT $3""",
            caller().organization_id,
            page.after_id,
            page.limit,
        )
        shown, token = page.cut(rows, lambda row: [row["unit_id"]])
        answer = [pb.Unit(unit_id=str(row["unit_id"]), name=row["name"]) for row in shown]
        return pb.ListUnitsResponse(units=answer, next_page_token=token)

    async def GetOrganization(self, request: pb.GetOrganizationRequest, context: Context) -> pb.GetOrganizationResponse:
        """Asks itself through its peers, as services ask each other."""
        await self.host.peers.directory.GetPerson(pb.GetPersonRequest(person_id=str(uuid4())))
        loaded = await self.host.execute.load(units, units.stream(caller().organization_id))
        organization = pb.Organization(name=loaded.state.name or "", etag=etag(loaded.version))
        return pb.GetOrganizationResponse(organization=organization)

    async def GetPerson(self, request: pb.GetPersonRequest, context: Context) -> pb.GetPersonResponse:
        self.callers.append(caller())
        if self.fault is not None:
            raise self.fault
        return pb.GetPersonResponse()

    async def ListPeople(self, request: pb.ListPeopleRequest, context: Context) -> pb.ListPeopleResponse:
        """Stays until it is let go."""
        self.entered.set()
        await self.go_on.wait()
        return pb.ListPeopleResponse()

    async def RenameUnit(self, request: pb.RenameUnitRequest, context: Context) -> NoReturn:
        raise self.fault or NotImplementedError

    async def MoveUnit(self, request: pb.MoveUnitRequest, context: Context) -> NoReturn:
        raise self.fault or NotImplementedError

    async def RegisterPerson(self, request: pb.RegisterPersonRequest, context: Context) -> NoReturn:
        raise self.fault or NotImplementedError

    async def MovePerson(self, request: pb.MovePersonRequest, context: Context) -> NoReturn:
        raise self.fault or NotImplementedError

    async def ErasePerson(self, request: pb.ErasePersonRequest, context: Context) -> NoReturn:
        raise self.fault or NotImplementedError


class Module:
    """A service module whose servicer the test keeps in hand."""

    NAME = "directory"
    MIGRATIONS: Path | None = None

    def __init__(self, *, projection: Projection = structure, jobs: Callable[[Host], Sequence[Any]] = lambda _: ()):
        self.house: House | None = None
        self._projection = projection
        self._jobs = jobs

    def build(self, host: Host) -> Service:
        self.house = House(host)
        return Service(
            self.NAME,
            [(add_DirectoryServiceServicer_to_server, self.house)],
            [
                Subscription("directory.structure", to="directory", projection=self._projection),
                Subscription("directory.chain", to="directory", react=_chain(host)),
            ],
            list(self._jobs(host)),
        )


def _chain(host: Host) -> Callable[[Sequence[RecordedEvent]], Any]:
    async def react(events: Sequence[RecordedEvent]) -> None:
        for event in events:
            fact = event.data
            if isinstance(fact, UnitAdded) and fact.name.startswith("chain-"):
                left = int(fact.name.removeprefix("chain-"))
                if left > 0:
                    command = Add(
                        unit_id=uuid5(fact.unit_id, "next"), name=f"chain-{left - 1}", kind=None, parent_unit_id=None
                    )
                    await host.execute.for_event(event, units, event.stream_id, command, "chain")

    return react
