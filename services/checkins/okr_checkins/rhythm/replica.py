"""What a rhythm rests on: whose key result it is, by when its cycle runs, what was chosen, and what was told."""

from datetime import date, datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from okr_checkins.rhythm.duty import Duty, evolve
from okr_contracts.checkins import CadenceChosen, CheckInDue, CheckInMissed, CheckInOverdue
from okr_contracts.directory import OrganizationFounded, UnitAdded, UnitMoved
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    CycleCancelled,
    CycleGradingOpened,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    ObjectiveDrafted,
)
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class Held(Struct, frozen=True):
    """From `since` on a person held a role; None: nobody did."""

    person_id: UUID | None
    since: datetime


Holders = tuple[Held, ...]
"""Everybody who ever held a role of a key result, in the order they took it over."""


class PlannedObjectiveRow(Row, frozen=True):
    """What its key results take from an objective."""

    __table__ = "planned_objective"
    __key__ = ("organization_id", "objective_id")
    __history__ = False

    organization_id: UUID
    objective_id: UUID
    cycle_id: UUID | None = None
    unit_id: UUID | None = None
    owner_id: UUID | None = None
    cycle_starts_on: date | None = None
    cycle_ends_on: date | None = None


class AskedKeyResultRow(Row, frozen=True):
    """A key result of which people are asked how it stands: whom, and while it is open.

    Moments are those at which goals recorded it. `holder_id` holds the duty now; `stewards` and `accountables`
    tell who did at any moment.
    """

    __table__ = "asked_key_result"
    __key__ = ("organization_id", "key_result_id")
    __history__ = False
    __indexes__ = (("organization_id", "holder_id"),)

    organization_id: UUID
    key_result_id: UUID
    objective_id: UUID | None = None
    cycle_id: UUID | None = None
    unit_id: UUID | None = None
    owner_id: UUID | None = None
    title: str = ""
    cycle_starts_on: date | None = None
    cycle_ends_on: date | None = None
    starts_on: date | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    holder_id: UUID | None = None
    stewards: Holders = ()
    accountables: Holders = ()


class CycleEndRow(Row, frozen=True):
    """Since when a cycle is over, by its time or because somebody ended it early."""

    __table__ = "cycle_end"
    __key__ = ("organization_id", "cycle_id")
    __history__ = False

    organization_id: UUID
    cycle_id: UUID
    ended_at: datetime | None = None


class OrganizationRow(Row, frozen=True):
    __table__ = "known_organization"
    __key__ = ("organization_id",)
    __history__ = False

    organization_id: UUID
    time_zone: str = ""


class UnitRow(Row, frozen=True):
    __table__ = "known_unit"
    __key__ = ("organization_id", "unit_id")
    __history__ = False
    __indexes__ = (("organization_id", "parent_unit_id"),)

    organization_id: UUID
    unit_id: UUID
    parent_unit_id: UUID | None = None


class CadenceRow(Row, frozen=True):
    """Every rhythm that was chosen for a cycle, oldest first. What was said of all cycles stands under no cycle's id
    but the organisation's own."""

    __table__ = "cadence"
    __key__ = ("organization_id", "cycle_id")
    __history__ = False

    organization_id: UUID
    cycle_id: UUID
    choices: tuple[CadenceChosen, ...] = ()


class DutyRow(Row, frozen=True):
    """The state of a key result's duty stream, so that time is told without reading each stream."""

    __table__ = "duty"
    __key__ = ("organization_id", "key_result_id")
    __history__ = False

    organization_id: UUID
    key_result_id: UUID
    state: Duty = Duty()


def project_goals(rows: Rows, event: ProjectedEvent) -> None:
    """A key result may take from its objective's row, for all that makes the two happens in one stream."""
    organization_id = event.organization_id
    match event.data:
        case ObjectiveDrafted() as fact:
            rows.put(
                PlannedObjectiveRow(
                    organization_id,
                    fact.objective_id,
                    fact.cycle_id,
                    fact.unit_id,
                    fact.owner_id,
                    fact.cycle_starts_on,
                    fact.cycle_ends_on,
                )
            )
        case KeyResultDefined() as fact:
            objective = rows.get(PlannedObjectiveRow, organization_id, fact.objective_id)
            rows.put(
                AskedKeyResultRow(
                    organization_id=organization_id,
                    key_result_id=fact.key_result_id,
                    objective_id=fact.objective_id,
                    cycle_id=objective.cycle_id,
                    unit_id=objective.unit_id,
                    owner_id=objective.owner_id,
                    title=fact.title,
                    cycle_starts_on=objective.cycle_starts_on,
                    cycle_ends_on=objective.cycle_ends_on,
                    starts_on=fact.starts_on,
                )
            )
        case ChampionAssigned() as fact:
            row = rows.get(AskedKeyResultRow, organization_id, fact.key_result_id)
            rows.put(_held(row, fact, fact.person_id, event.recorded_at))
        case ChampionReleased() as fact:
            row = rows.get(AskedKeyResultRow, organization_id, fact.key_result_id)
            rows.put(_held(row, fact, None, event.recorded_at))
        case KeyResultOpened() as fact:
            row = rows.get(AskedKeyResultRow, organization_id, fact.key_result_id)
            rows.put(replace(row, opened_at=event.recorded_at, starts_on=fact.starts_on))
        case KeyResultClosed() as fact:
            row = rows.get(AskedKeyResultRow, organization_id, fact.key_result_id)
            rows.put(replace(row, closed_at=event.recorded_at))
        case CycleGradingOpened() | CycleCancelled() as fact:
            rows.put(CycleEndRow(organization_id, fact.cycle_id, event.recorded_at))
        case _:
            pass


def _held(
    row: AskedKeyResultRow, fact: ChampionAssigned | ChampionReleased, person_id: UUID | None, at: datetime
) -> AskedKeyResultRow:
    match fact.role:
        case "data_steward":
            row = replace(row, stewards=(*row.stewards, Held(person_id, at)))
        case "accountable":
            row = replace(row, accountables=(*row.accountables, Held(person_id, at)))
        case _:
            return row
    return replace(row, holder_id=holder_of(row.stewards, at) or holder_of(row.accountables, at))


def holder_of(holders: Holders, at: datetime) -> UUID | None:
    """Who held a role at a moment; of several changes at one moment the last counts."""
    return next((held.person_id for held in reversed(holders) if held.since <= at), None)


def project_directory(rows: Rows, event: ProjectedEvent) -> None:
    match event.data:
        case OrganizationFounded() as fact:
            rows.put(OrganizationRow(event.organization_id, fact.time_zone))
        case UnitAdded() | UnitMoved() as fact:
            rows.put(UnitRow(event.organization_id, fact.unit_id, fact.parent_unit_id))
        case _:
            pass


def project_rhythm(rows: Rows, event: ProjectedEvent) -> None:
    match event.data:
        case CadenceChosen() as fact:
            row = rows.get(CadenceRow, event.organization_id, fact.cycle_id or event.organization_id)
            rows.put(replace(row, choices=(*row.choices, fact)))
        case CheckInDue() | CheckInOverdue() | CheckInMissed() as fact:
            duty = rows.get(DutyRow, event.organization_id, fact.key_result_id)
            rows.put(replace(duty, state=evolve(duty.state, fact)))
        case _:
            pass


goals = Projection(
    "checkins.goals", source="goals", rows=(PlannedObjectiveRow, AskedKeyResultRow, CycleEndRow), project=project_goals
)
directory = Projection(
    "checkins.directory", source="directory", rows=(OrganizationRow, UnitRow), project=project_directory
)
rhythm = Projection("checkins.rhythm", source="checkins", rows=(CadenceRow, DutyRow), project=project_rhythm)
