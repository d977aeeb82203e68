"""An organisation and its tree of departments and teams."""

from typing import TypeAlias, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from okr_chassis.rpc.fields import Id, Name, OptionalId
from okr_contracts.directory import (
    OrganizationEvent,
    OrganizationFounded,
    UnitAdded,
    UnitKind,
    UnitMoved,
    UnitRenamed,
)
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_directory.time_zone import TimeZone
from okr_eventstore.decider import Decider
from okr_rules.alignment import closes_loop

MAX_UNITS = 5_000
"""Departments and teams of one organisation: its stream is folded on every change of the tree."""


class FoundOrganization(BaseModel, frozen=True):
    organization_id: Id
    name: Name
    time_zone: TimeZone = "UTC"


class AddUnit(BaseModel, frozen=True):
    organization_id: Id
    unit_id: Id
    name: Name
    kind: UnitKind
    parent_unit_id: OptionalId = None


class RenameUnit(BaseModel, frozen=True):
    organization_id: Id
    unit_id: Id
    name: Name


class MoveUnit(BaseModel, frozen=True):
    """To below `parent_unit_id`, or to the top."""

    organization_id: Id
    unit_id: Id
    parent_unit_id: OptionalId = None


OrganizationCommand: TypeAlias = FoundOrganization | AddUnit | RenameUnit | MoveUnit


class Unit(Struct, frozen=True):
    name: str
    kind: UnitKind
    parent_unit_id: UUID | None


class Organization(Struct, frozen=True):
    """`name` is None while the organisation has not been founded."""

    name: str | None = None
    time_zone: str = "UTC"
    units: dict[UUID, Unit] = {}


def decide(state: Organization, command: OrganizationCommand) -> list[OrganizationEvent]:
    match command:
        case FoundOrganization():
            return _found(state, command)
        case _ if state.name is None:
            raise NotFoundError("organization", command.organization_id)
        case AddUnit():
            return _add(state, command)
        case RenameUnit():
            unit = unit_of(state, command.unit_id)
            if unit.name == command.name:
                return []
            _require_free_name(state, command.unit_id, command.name, unit.parent_unit_id)
            return [UnitRenamed(unit_id=command.unit_id, name=command.name)]
        case MoveUnit():
            return _move(state, command)
        case _:
            assert_never(command)


def evolve(state: Organization, event: OrganizationEvent) -> Organization:
    match event:
        case OrganizationFounded():
            return replace(state, name=event.name, time_zone=event.time_zone)
        case UnitAdded():
            unit = Unit(event.name, event.kind, event.parent_unit_id)
            return replace(state, units=state.units | {event.unit_id: unit})
        case UnitRenamed():
            unit = replace(state.units[event.unit_id], name=event.name)
            return replace(state, units=state.units | {event.unit_id: unit})
        case UnitMoved():
            unit = replace(state.units[event.unit_id], parent_unit_id=event.parent_unit_id)
            return replace(state, units=state.units | {event.unit_id: unit})
        case _:
            assert_never(event)


def unit_of(state: Organization, unit_id: UUID) -> Unit:
    """The unit with this id. Raises NotFoundError."""
    unit = state.units.get(unit_id)
    if unit is None:
        raise NotFoundError("unit", unit_id)
    return unit


def _found(state: Organization, command: FoundOrganization) -> list[OrganizationEvent]:
    if state.name is None:
        return [
            OrganizationFounded(organization_id=command.organization_id, name=command.name, time_zone=command.time_zone)
        ]
    if (state.name, state.time_zone) != (command.name, command.time_zone):
        raise AlreadyExistsError("organization", command.organization_id)
    return []


def _add(state: Organization, command: AddUnit) -> list[OrganizationEvent]:
    wanted = Unit(command.name, command.kind, command.parent_unit_id)
    present = state.units.get(command.unit_id)
    if present == wanted:
        return []
    if present is not None:
        raise AlreadyExistsError("unit", command.unit_id)
    if command.parent_unit_id is not None:
        unit_of(state, command.parent_unit_id)
    if len(state.units) >= MAX_UNITS:
        raise DomainError("TOO_MANY_UNITS", f"the organisation has {len(state.units)} units; at most {MAX_UNITS}")
    _require_free_name(state, command.unit_id, command.name, command.parent_unit_id)
    return [
        UnitAdded(unit_id=command.unit_id, name=command.name, kind=command.kind, parent_unit_id=command.parent_unit_id)
    ]


def _move(state: Organization, command: MoveUnit) -> list[OrganizationEvent]:
    unit = unit_of(state, command.unit_id)
    parent_id = command.parent_unit_id
    if parent_id == unit.parent_unit_id:
        return []
    if parent_id is not None:
        parent = unit_of(state, parent_id)
        parents = {each: its.parent_unit_id for each, its in state.units.items() if its.parent_unit_id is not None}
        if closes_loop(parents, command.unit_id, parent_id):
            raise DomainError(
                "UNIT_LOOP", f"{unit.name} cannot move below {parent.name}, which lies below it; move that one first"
            )
    _require_free_name(state, command.unit_id, unit.name, parent_id)
    return [UnitMoved(unit_id=command.unit_id, parent_unit_id=parent_id)]


def _require_free_name(state: Organization, unit_id: UUID, name: str, parent_id: UUID | None) -> None:
    """Two siblings whose names differ in case or spacing alone would be one to every reader."""
    for other_id, other in state.units.items():
        same = other.parent_unit_id == parent_id and same_name(other.name, name)
        if same and other_id != unit_id:
            raise DomainError("UNIT_NAME_TAKEN", f"unit {other_id} beside it is called {other.name!r} already")


def same_name(one: str, other: str) -> bool:
    """Whether people would read the two as the same name."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


organizations: Decider[Organization, OrganizationCommand, OrganizationEvent] = Decider(
    category="organization", initial=Organization(), decide=decide, evolve=evolve, snapshot_every=500
)
