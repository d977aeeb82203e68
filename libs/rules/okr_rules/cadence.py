"""When check-ins are due: every other week by default, judged in the time zone of whoever holds the duty."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

from okr_rules.parameters import DEFAULTS, RuleParameters

MONDAY_TO_FRIDAY: frozenset[int] = frozenset(range(5))
"""Weekdays as `date.weekday` numbers them."""

DutyState = Literal["scheduled", "upcoming", "due", "overdue", "stale", "missed", "on_time", "late"]
Doubt = Literal["WEEKLY_IS_EXCESSIVE", "MONTHLY_IS_TOO_RARE"]

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Calendar:
    """How a place counts its days: its time zone, its working days, its holidays."""

    zone: tzinfo = UTC
    working_weekdays: AbstractSet[int] = MONDAY_TO_FRIDAY
    holidays: AbstractSet[date] = frozenset()

    def __post_init__(self) -> None:
        if not self.working_weekdays & set(range(7)):
            raise ValueError("a calendar has at least one working weekday (0 is Monday), found none")

    def works_on(self, day: date) -> bool:
        return day.weekday() in self.working_weekdays and day not in self.holidays

    def after_working_days(self, day: date, count: int) -> date:
        """The last of the `count` working days that follow `day`; `day` itself for none."""
        while count > 0:
            day += DAY
            count -= self.works_on(day)
        return day

    def begins_at(self, day: date) -> datetime:
        """The moment (UTC) at which a day begins here. Where clocks skip midnight, that is when they skip it."""
        return self.at(day, 0)

    def at(self, day: date, hour: int) -> datetime:
        """The moment (UTC) at which a clock here shows an hour; the first of two where clocks are set back."""
        return datetime.combine(day, time(hour), self.zone).astimezone(UTC)

    def day_of(self, moment: datetime) -> date:
        """The day it is here at a moment."""
        return moment.astimezone(self.zone).date()


@dataclass(frozen=True)
class Window:
    """One due day, and the days whose check-ins satisfy it: after `opens_after`, up to and including `closes_on`."""

    due_on: date
    opens_after: date
    closes_on: date
    missed_on: date
    """The next due day, with whose end nothing can put this one right."""

    def holds(self, day: date) -> bool:
        return self.opens_after < day <= self.closes_on


def default_step_days(starts_on: date, ends_on: date, parameters: RuleParameters = DEFAULTS) -> int:
    """How many days apart check-ins of a cycle are unless somebody says otherwise; 14 for a quarter."""
    length = (ends_on - starts_on).days + 1
    if length <= parameters.weekly_to_days:
        return parameters.weekly_step_days
    return parameters.biweekly_step_days if length <= parameters.biweekly_to_days else parameters.monthly_step_days


def doubt_about(step_days: int, starts_on: date, ends_on: date, parameters: RuleParameters = DEFAULTS) -> Doubt | None:
    """Why a step should be confirmed by whoever picks it; None for the default and whatever lies in between."""
    if step_days == default_step_days(starts_on, ends_on, parameters):
        return None
    if step_days <= parameters.weekly_step_days:
        return "WEEKLY_IS_EXCESSIVE"
    return "MONTHLY_IS_TOO_RARE" if step_days >= parameters.monthly_step_days else None


def due_days(starts_on: date, ends_on: date, step_days: int, weekday: int) -> list[date]:
    """The due days of a cycle from its first to its last day, in order.

    The first is the first `weekday` (0 is Monday) on or after the first step's end, then one each step. A
    closing one falls on the last day when that lies more than half a step behind the last of them.
    Raises ValueError for a step below one day or a weekday that is none.
    """
    if step_days < 1 or not 0 <= weekday <= 6:
        raise ValueError(f"a step has at least one day and a weekday lies in 0 to 6, found {step_days} and {weekday}")
    first = starts_on + step_days * DAY
    first += (weekday - first.weekday()) % 7 * DAY
    days = [first + nth * step_days * DAY for nth in range(max(0, (ends_on - first).days // step_days + 1))]
    if not days or 2 * (ends_on - days[-1]).days > step_days:
        days.append(ends_on)
    return days


class Rhythm(NamedTuple):
    """What somebody chose: dues later than `after` come each `step_days` on `weekday` (0 is Monday)."""

    after: date
    step_days: int
    weekday: int


def due_days_by(starts_on: date, ends_on: date, rhythms: Sequence[Rhythm]) -> list[date]:
    """The due days of a cycle whose rhythm was changed on the way; `rhythms` in the order they were chosen.

    What was due before a change stays due. The first due after it may be any day of the new rhythm that lies
    more than half a step behind the one before, so that a change asks nobody twice in a week.
    """
    days: list[date] = []
    for index, rhythm in enumerate(rhythms):
        until = rhythms[index + 1].after if index + 1 < len(rhythms) else date.max
        for day in due_days(starts_on, ends_on, rhythm.step_days, rhythm.weekday):
            follows = not days or 2 * (day - days[-1]).days > rhythm.step_days
            if rhythm.after < day <= until and follows:
                days.append(day)
    return days


def windows(
    starts_on: date,
    dues: Sequence[date],
    step_days: int,
    calendar: Calendar = Calendar(),
    parameters: RuleParameters = DEFAULTS,
) -> list[Window]:
    """A window for each due day: each day from the cycle's first lies in exactly one, up to the last one's grace.

    A grace ends before the next due day at the latest, else whoever checks in on that day would be late for
    the one before and never on time for this one.
    """
    found: list[Window] = []
    opens_after = starts_on - DAY
    for index, due_on in enumerate(dues):
        closes_on = calendar.after_working_days(due_on, parameters.grace_working_days)
        if index + 1 < len(dues):
            missed_on = dues[index + 1]
            closes_on = min(closes_on, missed_on - DAY)
        else:
            missed_on = max(due_on + step_days * DAY, closes_on)
        found.append(Window(due_on, opens_after, closes_on, missed_on))
        opens_after = closes_on
    return found


def duty_state(
    window: Window,
    checked_in_at: datetime | None,
    now: datetime,
    calendar: Calendar = Calendar(),
    parameters: RuleParameters = DEFAULTS,
) -> DutyState:
    """What has become, by `now`, of the duty to check in. `checked_in_at` is the first check-in in its window.

    On time is up to the end of the due day, late is within the grace after it.
    """
    if checked_in_at is not None and window.holds(calendar.day_of(checked_in_at)) and checked_in_at <= now:
        return "on_time" if calendar.day_of(checked_in_at) <= window.due_on else "late"
    today = calendar.day_of(now)
    if today < window.due_on - parameters.upcoming_days * DAY:
        return "scheduled"
    if today < window.due_on:
        return "upcoming"
    if today == window.due_on:
        return "due"
    if today <= window.closes_on:
        return "overdue"
    return "stale" if today <= window.missed_on else "missed"
