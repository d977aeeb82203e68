"""Events of directory: the organisation, its tree of units, its people (by opaque id, never by name)."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

UnitKind = Literal["department", "team"]


class OrganizationFounded(Struct, frozen=True):
    """The organisation exists. `time_zone` is an IANA name."""

    organization_id: UUID
    name: str
    time_zone: str


class UnitAdded(Struct, frozen=True):
    unit_id: UUID
    name: str
    kind: UnitKind
    parent_unit_id: UUID | None = None


class UnitRenamed(Struct, frozen=True):
    unit_id: UUID
    name: str


class UnitMoved(Struct, frozen=True):
    unit_id: UUID
    parent_unit_id: UUID | None


class PersonRegistered(Struct, frozen=True):
    """Someone joined. Name, handle and e-mail are personal data and stay out of the log."""

    person_id: UUID
    unit_id: UUID | None = None


class PersonMoved(Struct, frozen=True):
    person_id: UUID
    unit_id: UUID | None


class PersonErased(Struct, frozen=True):
    """Somebody asked to be forgotten: their name is deleted and the key to all they wrote destroyed."""

    person_id: UUID


OrganizationEvent = OrganizationFounded | UnitAdded | UnitRenamed | UnitMoved
PersonEvent = PersonRegistered | PersonMoved | PersonErased
DirectoryEvent = OrganizationEvent | PersonEvent
