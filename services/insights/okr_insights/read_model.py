"""What insights knows: rows folded from the events of four services.

One projection per source, with tables of its own, so that a row depends on the order inside one
stream only. What belongs together, a key result and its check-ins, meets when it is read. Nothing
here moves with the clock: pace and expected progress are computed by the reader.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, assert_never, cast
from uuid import UUID

from msgspec.structs import replace

from okr_contracts.alignment import Aligned, AlignmentEvent, Unaligned
from okr_contracts.checkins import (
    CheckInCorrected,
    CheckInRecorded,
    CheckInsClosed,
    CheckInsEvent,
    CheckInsOpened,
    MilestoneReported,
)
from okr_contracts.directory import (
    OrganizationEvent,
    OrganizationFounded,
    PersonErased,
    PersonEvent,
    PersonMoved,
    PersonRegistered,
    UnitAdded,
    UnitMoved,
    UnitRenamed,
)
from okr_contracts.goals import (
    PLAIN,
    ChampionAssigned,
    ChampionReleased,
    CycleActivated,
    CycleCancelled,
    CycleClosed,
    CycleClosing,
    CycleDrafted,
    CycleEvent,
    CycleGradingOpened,
    CyclePublished,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultGraded,
    KeyResultOpened,
    Measurement,
    ObjectiveActivated,
    ObjectiveCancelled,
    ObjectiveClosed,
    ObjectiveDrafted,
    PinnedRules,
    TargetRevised,
)
from okr_contracts.sealed import SealedText
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class OrganizationRow(Row, frozen=True):
    __table__ = "organization"
    __key__ = ("organization_id",)

    organization_id: UUID
    name: str = ""


class UnitRow(Row, frozen=True):
    """A department or team in the organisation's tree."""

    __table__ = "unit"
    __key__ = ("organization_id", "unit_id")

    organization_id: UUID
    unit_id: UUID
    name: str = ""
    parent_unit_id: UUID | None = None


class CycleRow(Row, frozen=True):
    __table__ = "cycle"
    __key__ = ("organization_id", "cycle_id")

    organization_id: UUID
    cycle_id: UUID
    name: str = ""
    starts_on: date | None = None
    ends_on: date | None = None
    state: str = "draft"
    rules: PinnedRules | None = None
    positions: tuple[str, ...] = ()
    closed_at: datetime | None = None
    """When it was closed (UTC), and how far each service's log went then."""


class ObjectiveRow(Row, frozen=True):
    """An objective without its key results. `drafted_position` orders a board: it never changes."""

    __table__ = "objective"
    __key__ = ("organization_id", "objective_id")
    __indexes__ = (("organization_id", "cycle_id", "drafted_position"),)

    organization_id: UUID
    objective_id: UUID
    cycle_id: UUID | None = None
    unit_id: UUID | None = None
    owner_id: UUID | None = None
    title: str = ""
    state: str = "draft"
    cycle_starts_on: date | None = None
    drafted_position: int = 0
    outcome: str = ""


class KeyResultRow(Row, frozen=True):
    """What a key result promises, and who answers for it.

    The objective is part of the key, because the objective's stream is what the row is folded from.
    """

    __table__ = "key_result"
    __key__ = ("organization_id", "objective_id", "key_result_id")
    __indexes__ = (("organization_id", "key_result_id"),)

    organization_id: UUID
    objective_id: UUID
    key_result_id: UUID
    title: str = ""
    type: str = "increase"
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    unit: str = ""
    starts_on: date | None = None
    due_on: date | None = None
    measurement: Measurement = PLAIN
    accountable_id: UUID | None = None
    open: bool = False
    defined_position: int = 0
    continued_from: UUID | None = None
    score: Decimal | None = None
    computed_score: Decimal | None = None
    zone: str = ""


class KeyResultEntryRow(Row, frozen=True):
    """One thing that happened to a key result's definition. Written once, so it is its own history.

    The key is the order in which a history is read: position order inside a shard is recorded order.
    """

    __table__ = "key_result_entry"
    __key__ = ("organization_id", "key_result_id", "recorded_at", "position")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    key_result_id: UUID
    recorded_at: datetime
    position: int
    occurred_at: datetime | None = None
    kind: str = ""
    actor: str = ""
    champion_id: UUID | None = None
    role: str = ""
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    previous_commit: Decimal | None = None
    previous_target: Decimal | None = None
    reason: SealedText | None = None
    source: str = ""
    score: Decimal | None = None
    computed_score: Decimal | None = None


class CheckInRow(Row, frozen=True):
    """The last check-in of a key result: last by when it was true, not by when it became known.

    Of two that were true at the same moment, the one recorded later counts. A correction keeps the
    moment of what it corrects, so it changes this row exactly when it is about the check-in in it;
    the older ones need not be kept to tell.
    """

    __table__ = "check_in"
    __key__ = ("organization_id", "key_result_id")

    organization_id: UUID
    key_result_id: UUID
    check_in_id: UUID | None = None
    value: Decimal | None = None
    confidence: Decimal | None = None
    checked_in_at: datetime | None = None


class CheckInEntryRow(Row, frozen=True):
    """A check-in or a correction as it was recorded; a correction stands beside what it corrects."""

    __table__ = "check_in_entry"
    __key__ = ("organization_id", "key_result_id", "recorded_at", "position")
    __indexes__ = (("organization_id", "key_result_id", "check_in_id"),)
    __history__: ClassVar[bool] = False

    organization_id: UUID
    key_result_id: UUID
    recorded_at: datetime
    position: int
    occurred_at: datetime | None = None
    kind: str = ""
    actor: str = ""
    check_in_id: UUID | None = None
    value: Decimal | None = None
    confidence: Decimal | None = None
    note: SealedText | None = None
    reason: SealedText | None = None


class AlignmentRow(Row, frozen=True):
    """Which objective an objective contributes to; None: to none any more.

    The cycle is part of the key, because a cycle's alignments are one stream.
    """

    __table__ = "alignment"
    __key__ = ("organization_id", "cycle_id", "objective_id")

    organization_id: UUID
    cycle_id: UUID
    objective_id: UUID
    parent_objective_id: UUID | None = None


def project_directory(rows: Rows, event: ProjectedEvent) -> None:
    """The organisation and its tree. People are not shown by name here, so their events pass by."""
    organization_id = event.organization_id
    match cast(OrganizationEvent | PersonEvent, event.data):
        case OrganizationFounded() as fact:
            rows.put(replace(rows.get(OrganizationRow, organization_id), name=fact.name))
        case UnitAdded() as fact:
            unit = rows.get(UnitRow, organization_id, fact.unit_id)
            rows.put(replace(unit, name=fact.name, parent_unit_id=fact.parent_unit_id))
        case UnitRenamed() as fact:
            rows.put(replace(rows.get(UnitRow, organization_id, fact.unit_id), name=fact.name))
        case UnitMoved() as fact:
            unit = rows.get(UnitRow, organization_id, fact.unit_id)
            rows.put(replace(unit, parent_unit_id=fact.parent_unit_id))
        case PersonRegistered() | PersonMoved() | PersonErased():
            pass


def project_goals(rows: Rows, event: ProjectedEvent) -> None:
    """Cycles, objectives and key results as they are, and every key result's entries."""
    match event.data:
        case (
            CycleDrafted()
            | CyclePublished()
            | CycleActivated()
            | CycleGradingOpened()
            | CycleClosing()
            | CycleClosed()
            | CycleCancelled() as fact
        ):
            _project_cycle(rows, event, fact)
        case ObjectiveDrafted() | ObjectiveActivated() | ObjectiveClosed() | ObjectiveCancelled() as fact:
            _project_objective(rows, event, fact)
        case (
            KeyResultDefined()
            | ChampionAssigned()
            | ChampionReleased()
            | KeyResultOpened()
            | KeyResultGraded()
            | KeyResultClosed()
            | TargetRevised() as fact
        ):
            _project_key_result(rows, event, fact)
        case _:
            pass  # imports carry themselves out through the events above


def _project_cycle(rows: Rows, event: ProjectedEvent, fact: CycleEvent) -> None:
    cycle = rows.get(CycleRow, event.organization_id, fact.cycle_id)
    match fact:
        case CycleDrafted():
            rows.put(replace(cycle, name=fact.name, starts_on=fact.starts_on, ends_on=fact.ends_on))
        case CyclePublished():
            rows.put(replace(cycle, state="published", rules=fact.rules))
        case CycleActivated():
            rows.put(replace(cycle, state="active", rules=fact.rules or cycle.rules))
        case CycleGradingOpened():
            rows.put(replace(cycle, state="grading"))
        case CycleClosing():
            rows.put(replace(cycle, state="closing"))
        case CycleClosed():
            rows.put(replace(cycle, state="closed", positions=fact.positions, closed_at=event.recorded_at))
        case CycleCancelled():
            rows.put(replace(cycle, state="cancelled"))
        case _:
            assert_never(fact)


def _project_objective(
    rows: Rows,
    event: ProjectedEvent,
    fact: ObjectiveDrafted | ObjectiveActivated | ObjectiveClosed | ObjectiveCancelled,
) -> None:
    objective = rows.get(ObjectiveRow, event.organization_id, fact.objective_id)
    match fact:
        case ObjectiveDrafted():
            rows.put(
                replace(
                    objective,
                    cycle_id=fact.cycle_id,
                    unit_id=fact.unit_id,
                    owner_id=fact.owner_id,
                    title=fact.title,
                    cycle_starts_on=fact.cycle_starts_on,
                    drafted_position=event.position,
                )
            )
        case ObjectiveActivated():
            rows.put(replace(objective, state="active"))
        case ObjectiveClosed():
            rows.put(replace(objective, state="closed", outcome=fact.outcome))
        case ObjectiveCancelled():
            rows.put(replace(objective, state="cancelled"))
        case _:
            assert_never(fact)


def _project_key_result(
    rows: Rows,
    event: ProjectedEvent,
    fact: (
        KeyResultDefined
        | ChampionAssigned
        | ChampionReleased
        | KeyResultOpened
        | KeyResultGraded
        | KeyResultClosed
        | TargetRevised
    ),
) -> None:
    before = rows.get(KeyResultRow, event.organization_id, fact.objective_id, fact.key_result_id)
    key_result = before
    entry = KeyResultEntryRow(
        organization_id=event.organization_id,
        key_result_id=fact.key_result_id,
        recorded_at=event.recorded_at,
        position=event.position,
        occurred_at=event.occurred_at,
        kind=event.type,
        actor=event.actor,
    )
    match fact:
        case KeyResultDefined():
            key_result = replace(
                key_result,
                title=fact.title,
                type=fact.type,
                start=fact.start,
                commit=fact.commit,
                target=fact.target,
                unit=fact.unit,
                starts_on=fact.starts_on,
                due_on=fact.due_on,
                measurement=fact.measurement,
                defined_position=event.position,
                continued_from=fact.continued_from,
            )
            entry = replace(entry, start=fact.start, commit=fact.commit, target=fact.target)
        case ChampionAssigned():
            if fact.role == "accountable":
                key_result = replace(key_result, accountable_id=fact.person_id)
            entry = replace(entry, champion_id=fact.person_id, role=fact.role)
        case ChampionReleased():
            if fact.role == "accountable" and key_result.accountable_id == fact.person_id:
                key_result = replace(key_result, accountable_id=None)
            entry = replace(entry, champion_id=fact.person_id, role=fact.role)
        case KeyResultOpened():
            key_result = replace(key_result, open=True)
        case KeyResultGraded():
            graded = {"score": fact.final, "computed_score": fact.computed}
            key_result = replace(key_result, **graded, zone=fact.zone)
            entry = replace(entry, **graded, reason=fact.reason)
        case KeyResultClosed():
            key_result = replace(key_result, open=False)
        case TargetRevised():
            key_result = replace(key_result, commit=fact.commit, target=fact.target)
            entry = replace(
                entry,
                commit=fact.commit,
                target=fact.target,
                previous_commit=fact.previous_commit,
                previous_target=fact.previous_target,
                reason=fact.reason,
                source=fact.source,
            )
        case _:
            assert_never(fact)
    if key_result is not before:
        rows.put(key_result)
    rows.put(entry)


def project_check_ins(rows: Rows, event: ProjectedEvent) -> None:
    """The last check-in of each key result, and all of them with their corrections."""
    match cast(CheckInsEvent, event.data):
        case CheckInRecorded() as fact:
            last = rows.get(CheckInRow, event.organization_id, fact.key_result_id)
            if last.checked_in_at is None or fact.occurred_at >= last.checked_in_at:
                rows.put(_standing(last, fact))
            rows.put(_check_in_entry(event, fact))
        case CheckInCorrected() as fact:
            last = rows.get(CheckInRow, event.organization_id, fact.key_result_id)
            if last.check_in_id == fact.check_in_id:
                rows.put(_standing(last, fact))
            rows.put(replace(_check_in_entry(event, fact), reason=fact.reason))
        case CheckInsOpened() | CheckInsClosed() | MilestoneReported():
            pass  # goals says the same of its key results, and the value of the check-in what milestones come to


def _standing(row: CheckInRow, fact: CheckInRecorded | CheckInCorrected) -> CheckInRow:
    return replace(
        row,
        check_in_id=fact.check_in_id,
        value=fact.value,
        confidence=fact.confidence,
        checked_in_at=fact.occurred_at,
    )


def _check_in_entry(event: ProjectedEvent, fact: CheckInRecorded | CheckInCorrected) -> CheckInEntryRow:
    return CheckInEntryRow(
        organization_id=event.organization_id,
        key_result_id=fact.key_result_id,
        recorded_at=event.recorded_at,
        position=event.position,
        occurred_at=fact.occurred_at,
        kind=event.type,
        actor=event.actor,
        check_in_id=fact.check_in_id,
        value=fact.value,
        confidence=fact.confidence,
        note=fact.note,
    )


def project_alignments(rows: Rows, event: ProjectedEvent) -> None:
    """The parent of each objective that ever had one."""
    match cast(AlignmentEvent, event.data):
        case Aligned() as fact:
            row = rows.get(AlignmentRow, event.organization_id, fact.cycle_id, fact.objective_id)
            rows.put(replace(row, parent_objective_id=fact.parent_objective_id))
        case Unaligned() as fact:
            row = rows.get(AlignmentRow, event.organization_id, fact.cycle_id, fact.objective_id)
            rows.put(replace(row, parent_objective_id=None))


directory = Projection(
    name="insights.directory", source="directory", rows=(OrganizationRow, UnitRow), project=project_directory
)
goals = Projection(
    name="insights.goals",
    source="goals",
    rows=(CycleRow, ObjectiveRow, KeyResultRow, KeyResultEntryRow),
    project=project_goals,
)
check_ins = Projection(
    name="insights.checkins", source="checkins", rows=(CheckInRow, CheckInEntryRow), project=project_check_ins
)
alignments = Projection(name="insights.alignment", source="alignment", rows=(AlignmentRow,), project=project_alignments)

projections = (directory, goals, check_ins, alignments)
