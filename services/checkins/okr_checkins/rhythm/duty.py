"""The rules of a duty: one stream per key result, in which everything that time brought about is told once."""

from datetime import date
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from okr_contracts.checkins import CheckInDue, CheckInMissed, CheckInOverdue, DutyEvent
from okr_eventstore.decider import Decider
from okr_rules.parameters import DEFAULTS

DUE, OVERDUE, ESCALATED, MISSED = range(1, 5)
"""How far a due day has come, in this order and never back."""


class TellTime(Struct, frozen=True):
    """The clock says that all this is so. `facts` are in the order in which they came about.

    Whoever asks may be late, early or not alone: what was told is not told again. Of a missed check-in
    `previous` names the due day before its own, so that the rules can count those in a row.
    """

    key_result_id: UUID
    facts: tuple[DutyEvent, ...]
    previous: dict[date, date] = {}


class Duty(Struct, frozen=True):
    """How far each due day has come, by its day, and how many were missed in a row up to `last_missed`."""

    told: dict[str, int] = {}
    last_missed: date | None = None
    missed_in_a_row: int = 0


def decide(state: Duty, command: TellTime) -> list[DutyEvent]:
    events: list[DutyEvent] = []
    for fact in command.facts:
        if stage_of(fact) <= state.told.get(f"{fact.due_on}", 0):
            continue
        event = _counted(state, fact, command.previous) if isinstance(fact, CheckInMissed) else fact
        events.append(event)
        state = evolve(state, event)
    return events


def _counted(state: Duty, fact: CheckInMissed, previous: dict[date, date]) -> CheckInMissed:
    follows = state.last_missed is not None and previous.get(fact.due_on) == state.last_missed
    return replace(fact, in_a_row=state.missed_in_a_row + 1 if follows else 1)


def stage_of(fact: DutyEvent) -> int:
    """How far its due day has come with a fact."""
    match fact:
        case CheckInDue():
            return DUE
        case CheckInOverdue():
            return OVERDUE if fact.working_days < DEFAULTS.escalation_working_days else ESCALATED
        case CheckInMissed():
            return MISSED
        case _:
            assert_never(fact)


def evolve(state: Duty, event: DutyEvent) -> Duty:
    state = replace(state, told={**state.told, f"{event.due_on}": stage_of(event)})
    if isinstance(event, CheckInMissed):
        return replace(state, last_missed=event.due_on, missed_in_a_row=event.in_a_row)
    return state


duties: Decider[Duty, TellTime, DutyEvent] = Decider(category="duty", initial=Duty(), decide=decide, evolve=evolve)
