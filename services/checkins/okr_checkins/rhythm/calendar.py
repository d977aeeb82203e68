"""The duties of a cycle as moments: when each is due, when it turns overdue, when it is missed. Pure."""

from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from okr_checkins.rhythm.cadence import WEEKDAYS
from okr_contracts.checkins import CadenceChosen
from okr_rules.cadence import DAY, Calendar, Rhythm, Window, default_step_days, due_days_by, windows
from okr_rules.parameters import DEFAULTS


class Appointment(NamedTuple):
    """A window, and the moments (UTC) that follow from it where the organisation is."""

    window: Window
    opens_at: datetime
    """The first moment whose check-in counts for it."""
    due_at: datetime
    due_day_ends_at: datetime
    overdue_at: datetime
    """When its holder is reminded."""
    escalated_at: datetime
    """When the accountable champion is told."""
    closes_at: datetime
    """The first moment whose check-in does not count for it any more."""
    missed_at: datetime


class Plan(NamedTuple):
    """The rhythm of a cycle and all it leads to."""

    calendar: Calendar
    step_days: int
    weekday: int
    is_default: bool
    appointments: tuple[Appointment, ...]


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """A time zone by its name; UTC where this machine knows none of it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


@lru_cache(maxsize=1024)
def plan_of(
    starts_on: date,
    ends_on: date,
    zone: str,
    everywhere: tuple[CadenceChosen, ...] = (),
    own: tuple[CadenceChosen, ...] = (),
) -> Plan:
    """The duties of a cycle, by what was chosen for all cycles and for this one, each in the order it was chosen."""
    rhythms = rhythms_of(starts_on, ends_on, everywhere, own)
    now = rhythms[-1]
    calendar = Calendar(zone_of(zone))
    dues = due_days_by(starts_on, ends_on, rhythms)
    found = windows(starts_on, dues, now.step_days, calendar, DEFAULTS)
    usual = default_step_days(starts_on, ends_on, DEFAULTS)
    return Plan(
        calendar,
        now.step_days,
        now.weekday,
        now.step_days == usual,
        tuple(_appointment(window, calendar) for window in found),
    )


def rhythms_of(
    starts_on: date, ends_on: date, everywhere: tuple[CadenceChosen, ...], own: tuple[CadenceChosen, ...]
) -> list[Rhythm]:
    """The usual rhythm first. What is said of all cycles counts until this one gets a rhythm of its own."""
    usual = default_step_days(starts_on, ends_on, DEFAULTS)
    rhythms = [Rhythm(date.min, usual, DEFAULTS.due_weekday)]
    until = own[0].after if own else date.max
    for choice in (*(each for each in everywhere if each.after <= until), *own):
        rhythm = Rhythm(choice.after, choice.step_days or usual, WEEKDAYS.index(choice.weekday))
        # Of several on one day the last counts; and days never go back, though a clock may.
        rhythm = rhythm._replace(after=max(rhythm.after, rhythms[-1].after))
        if rhythms[-1].after == rhythm.after:
            rhythms.pop()
        rhythms.append(rhythm)
    return rhythms


def _appointment(window: Window, calendar: Calendar) -> Appointment:
    hour, due_on = DEFAULTS.due_hour, window.due_on
    return Appointment(
        window,
        calendar.begins_at(window.opens_after + DAY),
        calendar.at(due_on, hour),
        calendar.begins_at(due_on + DAY),
        calendar.at(calendar.after_working_days(due_on, DEFAULTS.reminder_working_days), hour),
        calendar.at(calendar.after_working_days(due_on, DEFAULTS.escalation_working_days), hour),
        calendar.begins_at(window.closes_on + DAY),
        calendar.begins_at(window.missed_on + DAY),
    )
