"""Facts for tests of insights: events with every field filled in, so that a test names only what it is about."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from msgspec import Struct

from okr_contracts.alignment import Aligned, Unaligned
from okr_contracts.checkins import CheckInCorrected, CheckInRecorded
from okr_contracts.directory import OrganizationFounded, UnitAdded
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    ChampionRole,
    CycleDrafted,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    ObjectiveActivated,
    ObjectiveClosed,
    ObjectiveDrafted,
    TargetRevised,
)
from okr_eventstore.model import RecordedEvent, shard_of
from tests.support.sealed import sealed

NAMES = UUID("6f1a3c52-6a0e-4a8b-9d55-1f0f6b1c2d3e")


def named(name: str) -> UUID:
    """The same id for the same name, so that failures can be read."""
    return uuid5(NAMES, name)


ACME = named("acme")
ANA = named("ana")
BEN = named("ben")
Q1 = named("q1")
SALES = named("sales")
GROW = named("grow")
REVENUE = named("revenue")

Q1_STARTS = date(2026, 1, 1)
Q1_ENDS = date(2026, 3, 31)
NEW_YEAR = datetime(2026, 1, 1, 8, tzinfo=UTC)


def day(number: int) -> datetime:
    """Eight in the morning of the n-th day of 2026, the first being 1."""
    return NEW_YEAR + timedelta(days=number - 1)


def organization_founded(name: str = "Acme", organization_id: UUID = ACME) -> OrganizationFounded:
    return OrganizationFounded(organization_id=organization_id, name=name, time_zone="Europe/Vienna")


def unit_added(unit_id: UUID = SALES, name: str = "Sales", parent: UUID | None = None) -> UnitAdded:
    return UnitAdded(unit_id=unit_id, name=name, kind="department", parent_unit_id=parent)


def cycle_drafted(
    cycle_id: UUID = Q1, name: str = "Q1 2026", starts_on: date = Q1_STARTS, ends_on: date = Q1_ENDS
) -> CycleDrafted:
    return CycleDrafted(cycle_id=cycle_id, name=name, starts_on=starts_on, ends_on=ends_on)


def objective_drafted(
    objective_id: UUID = GROW,
    title: str = "Grow",
    unit_id: UUID = SALES,
    cycle_id: UUID = Q1,
    starts_on: date = Q1_STARTS,
    ends_on: date = Q1_ENDS,
) -> ObjectiveDrafted:
    return ObjectiveDrafted(
        objective_id=objective_id,
        cycle_id=cycle_id,
        unit_id=unit_id,
        owner_id=ANA,
        title=title,
        cycle_starts_on=starts_on,
        cycle_ends_on=ends_on,
    )


def objective_activated(objective_id: UUID = GROW) -> ObjectiveActivated:
    return ObjectiveActivated(objective_id=objective_id)


def objective_closed(objective_id: UUID = GROW) -> ObjectiveClosed:
    return ObjectiveClosed(objective_id=objective_id, outcome="achieved")


def key_result_defined(
    key_result_id: UUID = REVENUE,
    objective_id: UUID = GROW,
    title: str = "Revenue",
    start: str = "0",
    commit: str = "50",
    target: str = "100",
    starts_on: date = Q1_STARTS,
    due_on: date = Q1_ENDS,
) -> KeyResultDefined:
    return KeyResultDefined(
        key_result_id=key_result_id,
        objective_id=objective_id,
        title=title,
        type="increase" if Decimal(target) > Decimal(start) else "decrease",
        start=Decimal(start),
        commit=Decimal(commit),
        target=Decimal(target),
        unit="EUR",
        starts_on=starts_on,
        due_on=due_on,
    )


def champion_assigned(person_id: UUID = ANA, role: ChampionRole = "accountable") -> ChampionAssigned:
    return ChampionAssigned(
        key_result_id=REVENUE, objective_id=GROW, person_id=person_id, role=role, key_result_title="Revenue"
    )


def champion_released(person_id: UUID = ANA, role: ChampionRole = "accountable") -> ChampionReleased:
    return ChampionReleased(key_result_id=REVENUE, objective_id=GROW, person_id=person_id, role=role)


def key_result_opened(key_result_id: UUID = REVENUE, objective_id: UUID = GROW) -> KeyResultOpened:
    return KeyResultOpened(key_result_id=key_result_id, objective_id=objective_id, starts_on=Q1_STARTS)


def key_result_closed(key_result_id: UUID = REVENUE, objective_id: UUID = GROW) -> KeyResultClosed:
    return KeyResultClosed(key_result_id=key_result_id, objective_id=objective_id)


def target_revised(commit: str, target: str, *, was: tuple[str, str] = ("50", "100")) -> TargetRevised:
    return TargetRevised(
        key_result_id=REVENUE,
        objective_id=GROW,
        commit=Decimal(commit),
        target=Decimal(target),
        previous_commit=Decimal(was[0]),
        previous_target=Decimal(was[1]),
        reason=sealed("the market doubled"),
    )


def checked_in(
    value: str,
    on: datetime,
    *,
    name: str | None = None,
    key_result_id: UUID = REVENUE,
    confidence: str = "0.5",
    note: str = "",
) -> CheckInRecorded:
    """A check-in that was true `on`. Its id is made from `name`, or else from that moment."""
    return CheckInRecorded(
        check_in_id=named(name or f"{key_result_id} {on}"),
        key_result_id=key_result_id,
        value=Decimal(value),
        confidence=Decimal(confidence),
        note=sealed(note),
        occurred_at=on,
    )


def corrected(check_in: CheckInRecorded, value: str, *, confidence: str | None = None) -> CheckInCorrected:
    return CheckInCorrected(
        check_in_id=check_in.check_in_id,
        key_result_id=check_in.key_result_id,
        value=Decimal(value),
        confidence=check_in.confidence if confidence is None else Decimal(confidence),
        note=check_in.note,
        occurred_at=check_in.occurred_at,
        reason=sealed("a slip of the pen"),
    )


def aligned(objective_id: UUID, parent: UUID, cycle_id: UUID = Q1) -> Aligned:
    return Aligned(cycle_id=cycle_id, objective_id=objective_id, parent_objective_id=parent)


def unaligned(objective_id: UUID, parent: UUID, cycle_id: UUID = Q1) -> Unaligned:
    return Unaligned(cycle_id=cycle_id, objective_id=objective_id, parent_objective_id=parent)


def recorded(position: int, data: Struct, at: datetime | None = None, actor: str = f"person:{ANA}") -> RecordedEvent:
    """`data` as the log keeps it, at this position; where no moment is given, it became known on day(position)."""
    recorded_at = at or day(position)
    return RecordedEvent(
        shard=shard_of(ACME),
        position=position,
        organization_id=ACME,
        stream_id="any-stream",
        version=position,
        event_id=named(f"event {position}"),
        type=type(data).__name__,
        schema_version=1,
        recorded_at=recorded_at,
        occurred_at=getattr(data, "occurred_at", recorded_at),
        command_id=named(f"command {position}"),
        causation_id=None,
        correlation_id=named("correlation"),
        actor=actor,
        data=data,
    )
