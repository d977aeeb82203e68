"""What goals must know of others, heard from their logs: time zones, units and people, last values, who serves whom."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, cast
from uuid import UUID

from msgspec.structs import replace

from okr_contracts.alignment import Aligned, AlignmentEvent, Unaligned
from okr_contracts.checkins import CheckInCorrected, CheckInRecorded, CheckInsEvent
from okr_contracts.directory import DirectoryEvent, OrganizationFounded, PersonRegistered, UnitAdded
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from okr_goals.read_model import Reads


class KnownOrganizationRow(Row, frozen=True):
    """Where an organisation's days begin and end, by the IANA name of its time zone."""

    __table__ = "known_organization"
    __key__ = ("organization_id",)
    __history__ = False

    organization_id: UUID
    time_zone: str = "UTC"


class KnownUnitRow(Row, frozen=True):
    """Units are never removed, so knowing one once is knowing it for ever."""

    __table__ = "known_unit"
    __key__ = ("organization_id", "unit_id")
    __history__ = False

    organization_id: UUID
    unit_id: UUID


class KnownPersonRow(Row, frozen=True):
    __table__ = "known_person"
    __key__ = ("organization_id", "person_id")
    __history__ = False

    organization_id: UUID
    person_id: UUID


class LastValueRow(Row, frozen=True):
    """Where a key result stands: its check-in that was true last, in the words of its last correction."""

    __table__ = "last_value"
    __key__ = ("organization_id", "key_result_id")
    __history__ = False

    organization_id: UUID
    key_result_id: UUID
    check_in_id: UUID | None = None
    value: Decimal | None = None
    checked_in_at: datetime | None = None


class KnownParentRow(Row, frozen=True):
    """Which objective an objective contributes to; None: to none any more."""

    __table__ = "known_parent"
    __key__ = ("organization_id", "cycle_id", "objective_id")
    __indexes__ = (("organization_id", "objective_id"), ("organization_id", "parent_objective_id"))
    __history__ = False

    organization_id: UUID
    cycle_id: UUID
    objective_id: UUID
    parent_objective_id: UUID | None = None


def project_directory(rows: Rows, event: ProjectedEvent) -> None:
    match cast(DirectoryEvent, event.data):
        case OrganizationFounded() as fact:
            rows.put(KnownOrganizationRow(event.organization_id, fact.time_zone))
        case UnitAdded() as fact:
            rows.put(KnownUnitRow(event.organization_id, fact.unit_id))
        case PersonRegistered() as fact:
            rows.put(KnownPersonRow(event.organization_id, fact.person_id))
        case _:
            pass


def project_check_ins(rows: Rows, event: ProjectedEvent) -> None:
    match cast(CheckInsEvent, event.data):
        case CheckInRecorded() as fact:
            row = rows.get(LastValueRow, event.organization_id, fact.key_result_id)
            if row.checked_in_at is None or fact.occurred_at >= row.checked_in_at:
                row = replace(row, check_in_id=fact.check_in_id, value=fact.value, checked_in_at=fact.occurred_at)
                rows.put(row)
        case CheckInCorrected() as fact:
            row = rows.get(LastValueRow, event.organization_id, fact.key_result_id)
            if row.check_in_id == fact.check_in_id:
                rows.put(replace(row, value=fact.value))
        case _:
            pass


def project_alignments(rows: Rows, event: ProjectedEvent) -> None:
    match cast(AlignmentEvent, event.data):
        case Aligned() as fact:
            rows.put(KnownParentRow(event.organization_id, fact.cycle_id, fact.objective_id, fact.parent_objective_id))
        case Unaligned() as fact:
            rows.put(KnownParentRow(event.organization_id, fact.cycle_id, fact.objective_id))


directory = Projection(
    "goals.directory",
    source="directory",
    rows=(KnownOrganizationRow, KnownUnitRow, KnownPersonRow),
    project=project_directory,
)
check_ins = Projection("goals.check_ins", source="checkins", rows=(LastValueRow,), project=project_check_ins)


alignments = Projection("goals.alignment", source="alignment", rows=(KnownParentRow,), project=project_alignments)


class Place(NamedTuple):
    """Where an objective stands among the others: whom it contributes to, and whether anybody contributes to it."""

    parent_objective_id: UUID | None
    is_served: bool


async def place_of(reads: Reads, organization_id: UUID, objective_id: UUID) -> Place:
    row = await reads.fetchrow(
        """SELECT (SELECT parent_objective_id FROM known_parent
                    WHERE organization_id = $1 AND objective_id = $2 AND parent_objective_id IS NOT NULL
                    LIMIT 1) AS parent,
                  EXISTS (SELECT FROM known_parent
                           WHERE organization_id = $1 AND parent_objective_id = $2) AS is_served""",
        organization_id,
        objective_id,
    )
    return Place(None, False) if row is None else Place(row["parent"], row["is_served"])


async def time_zone_of(reads: Reads, organization_id: UUID) -> str:
    """The IANA name of an organisation's time zone; UTC while nobody has heard of it."""
    row = await reads.fetchrow("SELECT time_zone FROM known_organization WHERE organization_id = $1", organization_id)
    return "UTC" if row is None else str(row["time_zone"])


async def knows_unit(reads: Reads, organization_id: UUID, unit_id: UUID) -> bool:
    row = await reads.fetchrow(
        "SELECT 1 FROM known_unit WHERE organization_id = $1 AND unit_id = $2", organization_id, unit_id
    )
    return row is not None


async def known_people(reads: Reads, organization_id: UUID, person_ids: Sequence[UUID]) -> set[UUID]:
    rows = await reads.fetch(
        "SELECT person_id FROM known_person WHERE organization_id = $1 AND person_id = ANY ($2::uuid[])",
        organization_id,
        list(person_ids),
    )
    return {row["person_id"] for row in rows}


async def last_values(reads: Reads, organization_id: UUID, key_result_ids: Sequence[UUID]) -> dict[UUID, Decimal]:
    """The values that many key results stand at, for those that have one."""
    rows = await reads.fetch(
        "SELECT key_result_id, value FROM last_value WHERE organization_id = $1 AND key_result_id = ANY ($2::uuid[])",
        organization_id,
        list(key_result_ids),
    )
    return {row["key_result_id"]: row["value"] for row in rows if row["value"] is not None}
