"""The rules of check-ins: one stream per key result."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from okr_checkins.commands import (
    CloseCheckIns,
    Command,
    CorrectCheckIn,
    MilestoneReport,
    OpenCheckIns,
    RecordCheckIn,
)
from okr_contracts.checkins import (
    CheckInCorrected,
    CheckInRecorded,
    CheckInsClosed,
    CheckInsEvent,
    CheckInsOpened,
    MilestoneReported,
)
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_contracts.goals import KeyResultType
from okr_contracts.sealed import SealedText
from okr_eventstore.decider import Decider, Recall
from okr_rules.exact import ONE, ZERO
from okr_rules.measure import ORDINAL_ZONES
from okr_rules.milestones import progress_of

FIRST_CONFIDENCE = Decimal("0.5")
"""Where confidence starts while nobody has stated one (Radical Focus)."""


_ZONES = tuple(Decimal(zone) for zone in range(len(ORDINAL_ZONES)))


class Content(Struct, frozen=True):
    """What a check-in says."""

    value: Decimal
    confidence: Decimal
    note: SealedText | None
    occurred_at: datetime


class Reported(Struct, frozen=True):
    """What a check-in said of a milestone."""

    milestone_id: UUID
    share: Decimal
    accepted: bool


class Known(Struct, frozen=True):
    """A check-in as it stands, and as it was first recorded where a correction changed it since."""

    content: Content
    first: Content | None = None
    reported: Reported | None = None


class Progress(Struct, frozen=True):
    """A milestone's weight, and how far it has come."""

    weight: Decimal
    share: Decimal = ZERO
    accepted: bool = False


class Latest(Struct, frozen=True):
    """The check-in with the latest `occurred_at`; of several at one moment the one recorded last."""

    check_in_id: UUID
    confidence: Decimal
    occurred_at: datetime


LATELY = 64
"""Every so many events what was said lately joins the rest. By their count alone, so that equal streams make equal
states."""


class CheckIns(Struct, frozen=True):
    """What the rules read: whether values are taken and from which day, and where it stands what was said before.

    A key result may take values for years. Of each check-in only the version of the event that says it is
    held, under its id in hexadecimal; the few commands that need the words recall them from the log.
    `starts_on` is None until the key result has been heard of.
    """

    starts_on: date | None = None
    closed: bool = False
    latest: Latest | None = None
    type: KeyResultType | None = None
    milestones: dict[UUID, Progress] = {}
    events: int = 0
    """How many there have been: the version of the stream."""
    said: dict[str, int] = {}
    said_lately: dict[str, int] = {}
    """The last few, which go before `said` and are moved there together: an event copies only these."""
    first_said: dict[str, int] = {}
    """Where a check-in was first recorded, if it was corrected since."""
    reported: dict[str, int] = {}
    """Where it is told what a check-in said of a milestone."""
    recalled: Known | None = None
    """The check-in that a command is about, if it was said before."""


def _wanted(state: CheckIns, command: Command) -> list[int]:
    if not isinstance(command, RecordCheckIn | CorrectCheckIn):
        return []
    check_in = command.check_in_id.hex
    versions = state.first_said.get(check_in), _told(state, check_in), state.reported.get(check_in)
    return sorted(version for version in versions if version is not None)


def _at_hand(state: CheckIns, events: Sequence[CheckInsEvent]) -> CheckIns:
    said = [_content(event) for event in events if isinstance(event, CheckInRecorded | CheckInCorrected)]
    reported = next((_reported(event) for event in events if isinstance(event, MilestoneReported)), None)
    return replace(state, recalled=Known(said[-1], said[0] if len(said) > 1 else None, reported))


def _told(state: CheckIns, check_in: str) -> int | None:
    """The version of the event that says what a check-in is now."""
    return state.said_lately.get(check_in) or state.said.get(check_in)


def _known(state: CheckIns, check_in_id: UUID) -> Known | None:
    assert state.recalled is not None or _told(state, check_in_id.hex) is None, "what was said is recalled first"
    return state.recalled


def decide(state: CheckIns, command: Command) -> list[CheckInsEvent]:
    match command:
        case OpenCheckIns():
            return _open(state, command)
        case RecordCheckIn():
            return _record(state, command)
        case CorrectCheckIn():
            return _correct(state, command)
        case CloseCheckIns():
            return [] if state.closed else [CheckInsClosed(key_result_id=command.key_result_id)]
        case _:
            assert_never(command)


def _open(state: CheckIns, command: OpenCheckIns) -> list[CheckInsEvent]:
    """Nothing once it was opened, and nothing after a close: news of the opening may come late."""
    if state.starts_on is not None or state.closed:
        return []
    return [
        CheckInsOpened(
            key_result_id=command.key_result_id,
            objective_id=command.objective_id,
            starts_on=command.starts_on,
            type=command.type,
            milestones=command.milestones,
        )
    ]


def _record(state: CheckIns, command: RecordCheckIn) -> list[CheckInsEvent]:
    known = _known(state, command.check_in_id)
    if known is not None:
        if any(_says(command, known, said) for said in (known.content, known.first) if said is not None):
            return []
        raise AlreadyExistsError("check in", command.check_in_id)

    opened: list[CheckInsEvent] = []
    if state.starts_on is None and command.opening is not None:
        opened = _open(state, command.opening)
        for event in opened:
            state = evolve(state, event)
    starts_on = state.starts_on
    if starts_on is None and not state.closed:
        raise NotFoundError("key result", command.key_result_id)
    if starts_on is None or state.closed:
        raise not_open(command.key_result_id)

    occurred_at = command.occurred_at or command.at
    if occurred_at > command.at:
        raise DomainError(
            "CHECK_IN_IN_THE_FUTURE", f"{occurred_at.isoformat()} lies after now, {command.at.isoformat()}"
        )
    if occurred_at.astimezone(UTC).date() < starts_on:
        raise DomainError(
            "CHECK_IN_BEFORE_CYCLE",
            f"{occurred_at.isoformat()} lies before {starts_on}, the first day of key result {command.key_result_id}",
        )
    if command.milestone is not None and state.latest is not None and occurred_at < state.latest.occurred_at:
        raise DomainError(
            "MILESTONE_BEFORE_LATEST",
            f"{occurred_at.isoformat()} lies before the latest report, of {state.latest.occurred_at.isoformat()}; "
            "where the key result stands follows from all milestones together, so date this one then or later",
        )
    confidence = _last_confidence(state) if command.confidence is None else command.confidence
    value, reported = _value(state, command)
    recorded = CheckInRecorded(
        check_in_id=command.check_in_id,
        key_result_id=command.key_result_id,
        value=value,
        confidence=confidence,
        note=command.note,
        occurred_at=occurred_at,
    )
    return [*opened, recorded, *reported]


def _value(state: CheckIns, command: RecordCheckIn) -> tuple[Decimal, list[CheckInsEvent]]:
    """Where the key result stands by this check-in, and what that says of a milestone. Raises DomainError."""
    if command.milestone is not None:
        return _milestones(state, command.key_result_id, command.check_in_id, command.milestone)
    value = command.value
    assert value is not None, "without a milestone there is a value, which the command's shape demands"
    if state.type == "milestone":
        raise DomainError(
            "MILESTONE_MISSING",
            f"key result {command.key_result_id} is made of milestones: report how far one of them has come",
        )
    _require_value(state, value)
    if state.type == "ordinal" and command.note is None:
        raise DomainError("EVIDENCE_MISSING", "a zone in words needs a note that says where it can be seen")
    return value, []


def _require_value(state: CheckIns, value: Decimal) -> None:
    """Refuse a value that its key result's type does not have. Raises DomainError."""
    match state.type:
        case "binary" if value not in (ZERO, ONE):
            raise DomainError("VALUE_NOT_BINARY", f"it is done, 1, or not, 0; found {value:f}")
        case "ordinal" if value not in _ZONES:
            raise DomainError(
                "VALUE_NO_ZONE", f"its zones are numbered 0 to 3, from below commit to stretch; found {value:f}"
            )
        case _:
            pass


def _milestones(
    state: CheckIns, key_result_id: UUID, check_in_id: UUID, report: MilestoneReport
) -> tuple[Decimal, list[CheckInsEvent]]:
    """What all milestones come to once this one has come so far."""
    if state.type != "milestone":
        raise DomainError("NO_MILESTONES", f"key result {key_result_id} is not made of milestones; give its value")
    before = state.milestones.get(report.milestone_id)
    if before is None:
        raise NotFoundError("milestone", report.milestone_id)
    share = ONE if report.share is None else report.share
    if report.accepted and share < ONE:
        raise DomainError("NOT_DONE_YET", f"only what is done can be accepted; found a share of {share:f}")
    now = state.milestones | {report.milestone_id: Progress(before.weight, share, report.accepted)}
    event = MilestoneReported(
        key_result_id=key_result_id,
        milestone_id=report.milestone_id,
        check_in_id=check_in_id,
        share=share,
        accepted=report.accepted,
    )
    return progress_of(now.values()), [event]


def _correct(state: CheckIns, command: CorrectCheckIn) -> list[CheckInsEvent]:
    known = _known(state, command.check_in_id)
    if known is None:
        raise NotFoundError("check in", command.check_in_id)
    content = known.content
    corrected = replace(
        content,
        value=content.value if command.value is None else command.value,
        confidence=content.confidence if command.confidence is None else command.confidence,
        note=content.note if command.note is None else command.note,
    )
    if corrected == content:
        return []
    if corrected.value != content.value and state.type == "milestone":
        raise DomainError("MILESTONE_MISSING", "its value follows from the milestones: report the milestone anew")
    _require_value(state, corrected.value)
    if state.closed:
        raise DomainError(
            "CHECK_INS_CLOSED",
            f"key result {command.key_result_id} is closed, and what was said of it before its grading stands",
        )
    return [
        CheckInCorrected(
            check_in_id=command.check_in_id,
            key_result_id=command.key_result_id,
            value=corrected.value,
            confidence=corrected.confidence,
            note=corrected.note,
            occurred_at=corrected.occurred_at,
            reason=command.reason,
        )
    ]


def not_open(key_result_id: UUID) -> DomainError:
    return DomainError(
        "KEY_RESULT_NOT_OPEN",
        f"key result {key_result_id} takes no check-ins now; it does from the activation of its objective to its close",
    )


def _says(command: RecordCheckIn, known: Known, content: Content) -> bool:
    """Whether the command asks for what is there already. What it leaves open, it does not contradict."""
    return (
        (command.value == content.value if command.milestone is None else _reports(command.milestone, known.reported))
        and command.note == content.note
        and command.confidence in (None, content.confidence)
        and command.occurred_at in (None, content.occurred_at)
    )


def _reports(report: MilestoneReport, reported: Reported | None) -> bool:
    share = ONE if report.share is None else report.share
    return reported == Reported(report.milestone_id, share, report.accepted)


def _last_confidence(state: CheckIns) -> Decimal:
    return FIRST_CONFIDENCE if state.latest is None else state.latest.confidence


def evolve(state: CheckIns, event: CheckInsEvent) -> CheckIns:
    version = state.events + 1
    if version % LATELY == 0:
        state = replace(state, said={**state.said, **state.said_lately}, said_lately={})
    match event:
        case CheckInsOpened():
            milestones = {milestone_id: Progress(weight) for milestone_id, weight in event.milestones}
            return replace(state, events=version, starts_on=event.starts_on, type=event.type, milestones=milestones)
        case CheckInRecorded():
            latest = state.latest
            if latest is None or event.occurred_at >= latest.occurred_at:
                latest = Latest(event.check_in_id, event.confidence, event.occurred_at)
            lately = {**state.said_lately, event.check_in_id.hex: version}
            return replace(state, events=version, said_lately=lately, latest=latest)
        case CheckInCorrected():
            check_in, latest = event.check_in_id.hex, state.latest
            if latest is not None and latest.check_in_id == event.check_in_id:
                latest = replace(latest, confidence=event.confidence)
            before, first_said = _told(state, check_in), state.first_said
            if before is not None and check_in not in first_said:
                first_said = {**first_said, check_in: before}
            lately = {**state.said_lately, check_in: version}
            return replace(state, events=version, said_lately=lately, first_said=first_said, latest=latest)
        case MilestoneReported():
            progress = Progress(state.milestones[event.milestone_id].weight, event.share, event.accepted)
            return replace(
                state,
                events=version,
                milestones={**state.milestones, event.milestone_id: progress},
                reported={**state.reported, event.check_in_id.hex: version},
            )
        case CheckInsClosed():
            return replace(state, events=version, closed=True)
        case _:
            assert_never(event)


def _reported(event: MilestoneReported) -> Reported:
    return Reported(event.milestone_id, event.share, event.accepted)


def _content(event: CheckInRecorded | CheckInCorrected) -> Content:
    return Content(event.value, event.confidence, event.note, event.occurred_at)


check_ins = Decider(
    category="checkin",
    initial=CheckIns(),
    decide=decide,
    evolve=evolve,
    state_version=4,
    snapshot_every=32,
    recall=Recall(_wanted, _at_hand),
)
"""Snapshots, because a measured key result may take values for years, from a connector every day."""
