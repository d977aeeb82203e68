"""How much of the way should be covered by a moment, and when a given part of it should have been.

`moment_of` is the first moment at which a share is expected or, `last`, the one from which on more is.
Shares are exact, 0 to 1. Days count from their beginning, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

from okr_rules.exact import EXACT, ONE, ZERO, clamp, four_places
from okr_rules.milestones import Milestone
from okr_rules.series import MICROSECOND, micros

DAY = timedelta(days=1)


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True)
class Linear:
    """The same amount each day, from `starts_on` to `due_on`."""

    starts_on: date
    due_on: date

    def at(self, now: datetime) -> Decimal:
        """A span of no length has passed as soon as it begins."""
        start, due = midnight(self.starts_on), midnight(self.due_on)
        if due <= start:
            return ONE if now >= start else ZERO
        return clamp(EXACT.divide(micros(now - start), micros(due - start)))

    def moment_of(self, share: Decimal, *, last: bool = False) -> datetime:
        start = midnight(self.starts_on)
        return start + _part(clamp(share), max(timedelta(), midnight(self.due_on) - start))


@dataclass(frozen=True)
class WorkingDays:
    """The same amount each working day, nothing on the others; `weekdays` are numbered from Monday, 0."""

    starts_on: date
    due_on: date
    weekdays: frozenset[int] = frozenset(range(5))

    def __post_init__(self) -> None:
        if not self.weekdays & set(range(7)):
            raise ValueError("there is at least one working weekday (0 is Monday), found none")

    def at(self, now: datetime) -> Decimal:
        total = self._days(midnight(self.due_on))
        if total == 0:
            return ONE if now >= midnight(self.starts_on) else ZERO
        return clamp(EXACT.divide(self._days(now), total))

    def moment_of(self, share: Decimal, *, last: bool = False) -> datetime:
        wanted = EXACT.multiply(clamp(share), self._days(midnight(self.due_on)))
        day = self.starts_on
        while day < self.due_on:
            worked = ONE if day.weekday() in self.weekdays else ZERO
            if wanted < worked or (wanted == worked and not last):
                return midnight(day) + _part(wanted, DAY) if worked else midnight(day)
            wanted -= worked
            day += DAY
        return midnight(max(self.starts_on, self.due_on))

    def _days(self, until: datetime) -> Decimal:
        """Working days, and the part of one, from the start to a moment."""
        passed = until - midnight(self.starts_on)
        if passed <= timedelta():
            return ZERO
        whole = passed // DAY
        weeks, rest = divmod(whole, 7)
        first = self.starts_on.weekday()
        count = weeks * len(self.weekdays) + sum((first + day) % 7 in self.weekdays for day in range(rest))
        today = (first + whole) % 7 in self.weekdays
        part = EXACT.divide(micros(passed - whole * DAY), micros(DAY)) if today else ZERO
        return EXACT.add(Decimal(count), part)


@dataclass(frozen=True)
class Scheduled:
    """Planned points (day, share), straight lines between them; days and shares never go back."""

    points: Sequence[tuple[date, Decimal]]

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError(f"a schedule has at least two points, found {len(self.points)}")
        for (day, share), (next_day, next_share) in pairwise(self.points):
            if next_day <= day or next_share < share:
                raise ValueError(
                    f"a schedule's days follow each other and its shares never fall, found "
                    f"{day} at {share:f} before {next_day} at {next_share:f}"
                )
        if self.points[0][1] < 0 or self.points[-1][1] > 1:
            raise ValueError("a schedule's shares lie between 0 and 1")

    def at(self, now: datetime) -> Decimal:
        day, share = self.points[0]
        if now <= midnight(day):
            return share if now == midnight(day) else ZERO
        for (day, share), (next_day, next_share) in pairwise(self.points):
            if now < midnight(next_day):
                part = EXACT.divide(micros(now - midnight(day)), micros(midnight(next_day) - midnight(day)))
                return EXACT.add(share, EXACT.multiply(part, next_share - share))
        return self.points[-1][1]

    def moment_of(self, share: Decimal, *, last: bool = False) -> datetime:
        for (day, before), (next_day, after) in pairwise(self.points):
            if share < before or (share == before and not last):
                return midnight(day)
            if share < after or (share == after and not last):
                part = EXACT.divide(share - before, after - before)
                return midnight(day) + _part(part, next_day - day)
        return midnight(self.points[-1][0])


@dataclass(frozen=True)
class ByMilestones:
    """The weights of all milestones whose day has come."""

    milestones: Sequence[Milestone]

    def at(self, now: datetime) -> Decimal:
        return clamp(sum((each.weight for each in self.milestones if midnight(each.due_on) <= now), ZERO))

    def moment_of(self, share: Decimal, *, last: bool = False) -> datetime:
        """The day on which so much is due or, `last`, the next one on which more is."""
        due = ZERO
        ordered = sorted(self.milestones, key=lambda each: each.due_on)
        for each in ordered:
            due += each.weight
            if share < four_places(due) or (share == four_places(due) and not last):
                return midnight(each.due_on)
        return midnight(ordered[-1].due_on)


@dataclass(frozen=True)
class Always:
    """Everything, at all times: for what is kept rather than reached."""

    def at(self, now: datetime) -> Decimal:
        return ONE

    def moment_of(self, share: Decimal, *, last: bool = False) -> None:
        return None


@dataclass(frozen=True)
class AtTheEnd:
    """Nothing before the due day, everything from then on: for what is done or not."""

    due_on: date

    def at(self, now: datetime) -> Decimal:
        return ONE if now >= midnight(self.due_on) else ZERO

    def moment_of(self, share: Decimal, *, last: bool = False) -> None:
        return None


Expectation = Linear | WorkingDays | Scheduled | ByMilestones | Always | AtTheEnd


def days_between(expectation: Expectation, share: Decimal, now: datetime) -> Decimal | None:
    """How many days ahead of `now` (below zero: behind) the moment lies at which `share` is expected, one place.

    Where the same is expected for a while, one who has just so much is on time for all of it. None where
    expectation knows no such moment.
    """
    by_now = four_places(expectation.at(now))
    moment = expectation.moment_of(share, last=share < by_now)
    if moment is None:
        return None
    if share >= by_now:
        moment = now if share == by_now else max(moment, now)
    return EXACT.divide(micros(moment - now), micros(DAY)).quantize(Decimal("0.1"), context=EXACT)


def _part(share: Decimal, whole: timedelta) -> timedelta:
    """An exact share of a span, to the microsecond."""
    return int(EXACT.multiply(share, micros(whole)).to_integral_value(context=EXACT)) * MICROSECOND
