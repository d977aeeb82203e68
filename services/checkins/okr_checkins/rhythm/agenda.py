"""From what is known of a key result to what time has brought about, and to the duty at hand. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from okr_checkins.rhythm.calendar import Appointment, Plan
from okr_checkins.rhythm.duty import DUE, ESCALATED, MISSED, OVERDUE, Duty, TellTime
from okr_checkins.rhythm.replica import Holders, holder_of
from okr_contracts.checkins import CheckInDue, CheckInMissed, CheckInOverdue, DutyEvent, DutyRole
from okr_rules.cadence import DutyState, duty_state
from okr_rules.parameters import DEFAULTS


class Asked(Struct, frozen=True):
    """An open key result, the plan of its cycle, and what was told of its duties (up to `version` of their stream)."""

    organization_id: UUID
    key_result_id: UUID
    objective_id: UUID
    cycle_id: UUID
    owner_id: UUID
    title: str
    starts_on: date
    opened_at: datetime
    stewards: Holders
    accountables: Holders
    plan: Plan
    told: Duty
    version: int
    ended_at: datetime | None = None
    """When its cycle was over; None while it runs."""

    def holder_at(self, moment: datetime) -> tuple[UUID | None, DutyRole | None]:
        """Who has to check in: the data steward where there is one, else the accountable champion."""
        steward = holder_of(self.stewards, moment)
        if steward is not None:
            return steward, "data_steward"
        accountable = holder_of(self.accountables, moment)
        return accountable, None if accountable is None else "accountable"

    def owed(self) -> list[Appointment]:
        """What is owed at all: nothing that was due before the key result took check-ins, or comes after its cycle."""
        return [
            each
            for each in self.plan.appointments
            if each.due_at >= self.opened_at
            and each.window.due_on >= self.starts_on
            and (self.ended_at is None or each.due_at < self.ended_at)
        ]


class Answers(NamedTuple):
    """The first check-in for each due day that has one, and when somebody last checked in at all."""

    first: Mapping[date, datetime]
    last_at: datetime | None = None


NO_ANSWERS = Answers({})


def open_questions(asked: Asked, now: datetime, settled_on: date = date.min) -> list[Appointment]:
    """The due days after `settled_on` of which time may have brought about something that was not told yet."""
    return [
        each for each in asked.owed() if each.window.due_on > settled_on and _told(asked, each) < _reached(each, now)
    ]


def settled_by(asked: Asked, answers: Answers, settled_on: date = date.min) -> date:
    """The last due day up to which nothing is left to be told: each was told as due and answered, or told as missed."""
    for each in asked.owed():
        due_on, told = each.window.due_on, _told(asked, each)
        if due_on <= settled_on:
            continue
        if told < MISSED and (told < DUE or due_on not in answers.first):
            break
        settled_on = due_on
    return settled_on


def _told(asked: Asked, appointment: Appointment) -> int:
    return asked.told.told.get(f"{appointment.window.due_on}", 0)


def _reached(appointment: Appointment, now: datetime) -> int:
    """How far a due day comes by itself."""
    stages = (appointment.due_at, appointment.overdue_at, appointment.escalated_at, appointment.missed_at)
    return max(
        (stage for stage, at in zip((DUE, OVERDUE, ESCALATED, MISSED), stages, strict=True) if at <= now), default=0
    )


def time_told(asked: Asked, questions: Sequence[Appointment], answers: Answers, now: datetime) -> TellTime | None:
    """What is to be told of the due days in question; None where there is nothing new."""
    facts: list[DutyEvent] = []
    previous: dict[date, date] = {}
    owed = asked.owed()
    for before, each in zip([None, *owed], owed, strict=False):
        if before is not None:
            previous[each.window.due_on] = before.window.due_on
    for each in questions:
        told = _told(asked, each)
        facts += [fact for stage, fact in _facts(asked, each, answers, now) if stage > told]
    if not facts:
        return None
    facts.sort(key=lambda fact: fact.occurred_at)
    missed = {fact.due_on for fact in facts if isinstance(fact, CheckInMissed)}
    return TellTime(
        asked.key_result_id, tuple(facts), {due_on: before for due_on, before in previous.items() if due_on in missed}
    )


def _facts(asked: Asked, each: Appointment, answers: Answers, now: datetime) -> list[tuple[int, DutyEvent]]:
    window = each.window
    answered = window.due_on in answers.first
    holder_id, role = asked.holder_at(each.due_at)
    due = CheckInDue(
        key_result_id=asked.key_result_id,
        objective_id=asked.objective_id,
        cycle_id=asked.cycle_id,
        key_result_title=asked.title,
        due_on=window.due_on,
        closes_on=window.closes_on,
        occurred_at=each.due_at,
        holder_id=holder_id,
        role=role,
        last_check_in_at=answers.last_at,
        answered=answered,
    )
    facts: list[tuple[int, DutyEvent]] = [(DUE, due)]
    if answered:
        return facts
    for stage, at, working_days in (
        (OVERDUE, each.overdue_at, DEFAULTS.reminder_working_days),
        (ESCALATED, each.escalated_at, DEFAULTS.escalation_working_days),
    ):
        if at <= now:
            # A hand-over moves the duty of answering, not the record of who owed the answer.
            asked_id = asked.holder_at(at)[0] if stage == OVERDUE else holder_of(asked.accountables, at)
            overdue = CheckInOverdue(
                key_result_id=asked.key_result_id,
                objective_id=asked.objective_id,
                cycle_id=asked.cycle_id,
                key_result_title=asked.title,
                due_on=window.due_on,
                closes_on=window.closes_on,
                occurred_at=at,
                working_days=working_days,
                holder_id=holder_id,
                asked_id=asked_id,
                last_check_in_at=answers.last_at,
            )
            facts.append((stage, overdue))
    if each.missed_at <= now:
        missed = CheckInMissed(
            key_result_id=asked.key_result_id,
            objective_id=asked.objective_id,
            cycle_id=asked.cycle_id,
            key_result_title=asked.title,
            due_on=window.due_on,
            occurred_at=each.missed_at,
            in_a_row=1,
            holder_id=holder_id,
            owner_id=asked.owner_id,
            last_check_in_at=answers.last_at,
        )
        facts.append((MISSED, missed))
    return facts


class AtHand(NamedTuple):
    """The duty that matters now, and how the ones before it went."""

    appointment: Appointment
    state: DutyState
    next_due_on: date | None
    due_count: int
    on_time_count: int
    streak: int
    missed_in_a_row: int


def at_hand(owed: Sequence[Appointment], plan: Plan, answers: Answers, now: datetime) -> AtHand | None:
    """The duty at hand of a key result that owes `owed`; None where it owes nothing.

    It is the one that a check-in now would count for, unless the one before went unanswered and is stale: then
    it is that one, until somebody checks in or the next due day passes.
    """
    if not owed:
        return None
    states = [duty_state(each.window, answers.first.get(each.window.due_on), now, plan.calendar) for each in owed]
    nth = next((nth for nth, each in enumerate(owed) if now < each.closes_at), len(owed) - 1)
    if nth and states[nth - 1] == "stale" and owed[nth].window.due_on not in answers.first:
        nth -= 1
    ended = [
        state for each, state in zip(owed, states, strict=True) if each.due_day_ends_at <= now or state == "on_time"
    ]
    streak = missed = 0
    while streak < len(ended) and ended[-1 - streak] == "on_time":
        streak += 1
    settled = [state for state in ended if state not in ("overdue", "stale")]
    while missed < len(settled) and settled[-1 - missed] == "missed":
        missed += 1
    following = owed[nth + 1].window.due_on if nth + 1 < len(owed) else None
    return AtHand(owed[nth], states[nth], following, len(ended), ended.count("on_time"), streak, missed)
