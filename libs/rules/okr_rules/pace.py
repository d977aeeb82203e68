"""Ahead or behind: progress compared with the time that has passed."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal

from okr_rules.commitment import plain
from okr_rules.exact import EXACT, ONE, PLACES, ZERO, clamp, four_places
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.progress import percent, raw_progress

PaceState = Literal["not_started", "pending", "just_started", "ahead", "on_pace", "behind", "far_behind"]

WORDS: dict[PaceState, str] = {
    "not_started": "not started",
    "pending": "waiting for its first check-in",
    "just_started": "just started",
    "ahead": "ahead",
    "on_pace": "on pace",
    "behind": "behind",
    "far_behind": "far behind",
}

TENTH = Decimal("0.1")
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Measure:
    """What a key result promises: three marks in its own unit, and the days between which it counts."""

    start: Decimal
    commit: Decimal
    target: Decimal
    starts_on: date
    due_on: date


@dataclass(frozen=True)
class Verdict:
    """How a key result stands at a moment, with all that the judgement rests on.

    `progress` and `raw` (four places), `delta` (progress less expected) and `days` (one place, above
    zero is ahead) are None while there is no value. `expected` is a share of 0 to 1, four places.
    """

    state: PaceState
    expected: Decimal
    progress: Decimal | None
    raw: Decimal | None
    delta: Decimal | None
    days: Decimal | None
    measure: Measure
    value: Decimal | None
    now: datetime
    parameters: RuleParameters

    @property
    def behind(self) -> bool:
        """Behind at all, a little or far."""
        return self.state in ("behind", "far_behind")

    def explain(self) -> str:
        """Why this is so: the rule, its version, its inputs and the bounds it compared with."""
        rule = f"rule pace, version {self.parameters.version}"
        span = f"{self.measure.starts_on} to {self.measure.due_on}"
        way = f"from {self.measure.start:f} to {self.measure.target:f}"
        on = f"{self.now:%Y-%m-%d}"
        if self.state == "not_started":
            return f"Not started: the time runs {span} and it was {on} ({rule})."
        if self.value is None or self.progress is None or self.delta is None:
            return f"No check-in yet {way}; {percent(self.expected)} was expected on {on}, {span} ({rule})."
        stands = (
            f"{plain(self.value):f} is {percent(self.progress)} of the way {way}; "
            f"{percent(self.expected)} was expected on {on}, {span}"
        )
        if self.state == "just_started":
            share = percent(self.parameters.just_started_share)
            return f"Just started: {stands}. Under {share} of the time, pace is not judged ({rule})."
        by = "" if self.days is None or self.state == "on_pace" else f" by {abs(self.days):f} days"
        return (
            f"{WORDS[self.state].capitalize()}{by}: {stands}. The difference {self.delta:+f} lies "
            f"{bounds(self.state, self.parameters)} ({rule})."
        )


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime.combine(day, time(), UTC)


def time_share(starts_on: date, due_on: date, now: datetime) -> Decimal:
    """The share of the time from `starts_on` to `due_on` that has passed, exact, 0 to 1.

    Both days count from their beginning: of 1 January to 31 March, 45 of 89 days have passed when
    15 February begins. A span of no length has passed as soon as it begins.
    """
    start, due = midnight(starts_on), midnight(due_on)
    if due <= start:
        return ONE if now >= start else ZERO
    return clamp(EXACT.divide(Decimal((now - start) // MICROSECOND), Decimal((due - start) // MICROSECOND)))


def expected(starts_on: date, due_on: date, now: datetime) -> Decimal:
    """How much of the way a steady pace would have covered by now: 0 to 1, four places."""
    return four_places(time_share(starts_on, due_on, now))


def state_of(delta: Decimal, share: Decimal, parameters: RuleParameters = DEFAULTS) -> PaceState:
    """The word for a `delta` once `share` of the time has passed; for roll-ups as for key results."""
    if share < parameters.just_started_share:
        return "just_started"
    if delta >= parameters.ahead_from:
        return "ahead"
    if delta >= parameters.on_pace_from:
        return "on_pace"
    if delta >= parameters.behind_from:
        return "behind"
    return "far_behind"


def bounds(state: PaceState, parameters: RuleParameters) -> str:
    """Where the deltas of a judged state lie, in words."""
    ahead, on_pace, behind = parameters.ahead_from, parameters.on_pace_from, parameters.behind_from
    match state:
        case "ahead":
            return f"at {ahead:+f} or above"
        case "on_pace":
            return f"from {on_pace:+f} to below {ahead:+f}"
        case "behind":
            return f"from {behind:+f} to below {on_pace:+f}"
        case _:
            return f"below {behind:+f}"


def days_ahead(delta: Decimal, starts_on: date, due_on: date) -> Decimal:
    """A delta as days of a steady pace, one place; below zero is behind."""
    return EXACT.multiply(delta, Decimal((due_on - starts_on) // DAY)).quantize(TENTH, context=EXACT)


def judge(measure: Measure, value: Decimal | None, now: datetime, parameters: RuleParameters = DEFAULTS) -> Verdict:
    """How a key result with `measure`, last seen at `value` (None: never), stands at `now`."""
    share = time_share(measure.starts_on, measure.due_on, now)
    by_now = four_places(share)
    raw = None if value is None else raw_progress(measure.start, measure.target, value)
    so_far = None if raw is None else clamp(raw)
    delta = None if so_far is None else (so_far - by_now).quantize(PLACES)
    days = None if delta is None else days_ahead(delta, measure.starts_on, measure.due_on)
    if now < midnight(measure.starts_on):
        state: PaceState = "not_started"
    elif delta is None:
        state = "pending"
    else:
        state = state_of(delta, share, parameters)
    return Verdict(state, by_now, so_far, raw, delta, days, measure, value, now, parameters)
