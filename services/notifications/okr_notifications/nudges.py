"""The rules of reminders: one stream per person, so that nobody is told twice and nobody drowns in them."""

from datetime import UTC, date, datetime, timedelta
from typing import assert_never
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from okr_contracts.checkins import CheckInDue, CheckInMissed, CheckInOverdue, DutyEvent
from okr_contracts.notifications import (
    NotificationKind,
    NotificationRaised,
    NudgeEvent,
    NudgeSent,
    NudgeSuppressed,
)
from okr_eventstore.decider import Decider
from okr_rules.parameters import DEFAULTS

WEEK = timedelta(days=7)
REMEMBERED = WEEK + timedelta(days=1)
"""How long a person's stream knows what it was told. What is older is not told any more, so nothing is told twice."""
WEIGHTS: tuple[NotificationKind, ...] = ("check_in_due", "check_in_overdue", "check_in_escalated", "check_ins_missed")
ROLES = {"data_steward": "data steward", "accountable": "accountable champion"}


class Remind(Struct, frozen=True):
    """Somebody is to hear of a key result, because of the event `cause_id` that was recorded `at` that moment."""

    person_id: UUID
    kind: NotificationKind
    key_result_id: UUID
    objective_id: UUID
    key_result_title: str
    explanation: str
    cause_id: UUID
    at: datetime

    @property
    def weight(self) -> int:
        """What was missed weighs more than what is late, and that more than what is due."""
        return WEIGHTS.index(self.kind)


class Nudge(Struct, frozen=True):
    """A reminder that was raised, or held back."""

    subject_id: UUID
    cause_id: UUID
    at: datetime
    sent: bool


class Nudges(Struct, frozen=True):
    """What a person was reminded of lately, oldest first."""

    lately: tuple[Nudge, ...] = ()


def reminder_of(fact: DutyEvent, cause_id: UUID, at: datetime, now: datetime) -> Remind | None:
    """Who hears what of a fact that was recorded `at`; None where there is nobody, or nothing worth saying.

    Nobody is reminded of what lies days back, so a history that is written at once stays silent, and so does
    a service that was away; and nobody is who checked in a few days ago.
    """
    if max(at, now) - fact.occurred_at > timedelta(days=DEFAULTS.reminded_within_days):
        return None
    last = fact.last_check_in_at
    updated_lately = last is not None and fact.occurred_at - last < timedelta(days=DEFAULTS.suppressed_days)
    age = _age(last, fact.occurred_at)
    match fact:
        case CheckInDue():
            if fact.answered or updated_lately or fact.role is None:
                return None
            return _remind(
                fact,
                fact.holder_id,
                "check_in_due",
                f"How does it stand? Its check-in is due today, {fact.due_on}; {age}. One value is enough. You are "
                f"asked as its {ROLES[fact.role]} (rule rhythm: whoever holds the update is asked on each due day).",
                cause_id,
                at,
            )
        case CheckInOverdue() if fact.working_days < DEFAULTS.escalation_working_days:
            if updated_lately:
                return None
            return _remind(
                fact,
                fact.asked_id,
                "check_in_overdue",
                f"Its check-in was due on {fact.due_on}; {age}. Until {fact.closes_on} a value still counts for it "
                f"(rule rhythm: one reminder, {_working_days(fact.working_days)} after a due day).",
                cause_id,
                at,
            )
        case CheckInOverdue():
            if updated_lately:
                return None
            return _remind(
                fact,
                fact.asked_id,
                "check_in_escalated",
                f"Nobody has checked in since it was due on {fact.due_on}; {age}. As its accountable champion you may "
                f"want to lend a hand, or say yourself how it stands: until {fact.closes_on} it counts (rule rhythm: "
                f"the accountable champion hears of it {_working_days(fact.working_days)} after a due day).",
                cause_id,
                at,
            )
        case CheckInMissed():
            if fact.in_a_row % DEFAULTS.missed_in_a_row:
                return None
            return _remind(
                fact,
                fact.owner_id,
                "check_ins_missed",
                f"Its last {fact.in_a_row} check-ins were missed, the latest of them due on {fact.due_on}; {age}. You "
                "own its objective: does it still matter, and does somebody have the time for it? (rule rhythm: the "
                f"owner hears of every {DEFAULTS.missed_in_a_row} missed in a row).",
                cause_id,
                at,
            )
        case _:
            assert_never(fact)


def _remind(
    fact: DutyEvent, person_id: UUID | None, kind: NotificationKind, explanation: str, cause_id: UUID, at: datetime
) -> Remind | None:
    if person_id is None:
        return None
    return Remind(
        person_id, kind, fact.key_result_id, fact.objective_id, fact.key_result_title, explanation, cause_id, at
    )


def _age(last: datetime | None, now: datetime) -> str:
    if last is None:
        return "nobody has checked in yet"
    days = (now - last).days
    return "the last one was made " + ("today" if days < 1 else "a day ago" if days == 1 else f"{days} days ago")


def _working_days(count: int) -> str:
    return "a working day" if count == 1 else f"{count} working days"


def decide(state: Nudges, command: Remind) -> list[NudgeEvent]:
    if any(nudge.cause_id == command.cause_id for nudge in state.lately):
        return []
    if state.lately and command.at < state.lately[-1].at - REMEMBERED:
        return []
    sent = [nudge for nudge in state.lately if nudge.sent and command.at - nudge.at < WEEK]
    if any(nudge.subject_id == command.key_result_id and _day(nudge.at) == _day(command.at) for nudge in sent):
        return [_suppressed(command, one_a_day=True)]
    if len(sent) >= DEFAULTS.reminders_a_week:
        return [_suppressed(command, one_a_day=False)]
    last = len(sent) + 1 == DEFAULTS.reminders_a_week
    enough = f" That makes {DEFAULTS.reminders_a_week} in a week; what else is due, `okr due` shows." if last else ""
    return [
        NotificationRaised(
            notification_id=uuid5(command.cause_id, command.kind),
            person_id=command.person_id,
            kind=command.kind,
            key_result_id=command.key_result_id,
            objective_id=command.objective_id,
            key_result_title=command.key_result_title,
            explanation=command.explanation + enough,
        ),
        NudgeSent(
            person_id=command.person_id,
            subject_id=command.key_result_id,
            cause_id=command.cause_id,
            kind=command.kind,
            at=command.at,
        ),
    ]


def _suppressed(command: Remind, *, one_a_day: bool) -> NudgeSuppressed:
    return NudgeSuppressed(
        person_id=command.person_id,
        subject_id=command.key_result_id,
        cause_id=command.cause_id,
        kind=command.kind,
        at=command.at,
        reason="one_a_day" if one_a_day else "enough_this_week",
    )


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def evolve(state: Nudges, event: NudgeEvent) -> Nudges:
    match event:
        case NudgeSent() | NudgeSuppressed():
            nudge = Nudge(event.subject_id, event.cause_id, event.at, isinstance(event, NudgeSent))
            lately = sorted((*state.lately, nudge), key=lambda each: each.at)
            newest = lately[-1].at
            return replace(state, lately=tuple(each for each in lately if newest - each.at <= REMEMBERED))
        case NotificationRaised():
            return state  # what matters of it is told by the event beside it
        case _:
            assert_never(event)


nudges: Decider[Nudges, Remind, NudgeEvent] = Decider(
    category="nudges", initial=Nudges(), decide=decide, evolve=evolve, snapshot_every=50
)
"""Snapshots, because people are reminded for years."""
