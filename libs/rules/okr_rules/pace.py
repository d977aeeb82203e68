"""Ahead or behind: progress compared with the time that has passed."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from okr_rules.commitment import plain
from okr_rules.exact import EXACT, PLACES, clamp, four_places
from okr_rules.expectation import Linear, days_between, midnight
from okr_rules.maintain import state_now
from okr_rules.measure import Measure
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.progress import percent

PaceState = Literal[
    "not_started",
    "pending",
    "just_started",
    "ahead",
    "on_pace",
    "behind",
    "far_behind",
    "in_range",
    "near_range",
    "out_of_range",
    "unpaced",
]
"""The last four are of key results that no way leads through: what is kept in a range, and what is done or not."""

WORDS: dict[PaceState, str] = {
    "not_started": "not started",
    "pending": "waiting for its first check-in",
    "just_started": "just started",
    "ahead": "ahead",
    "on_pace": "on pace",
    "behind": "behind",
    "far_behind": "far behind",
    "in_range": "in range",
    "near_range": "near its range",
    "out_of_range": "out of range",
    "unpaced": "done or not by its day",
}

TENTH = Decimal("0.1")
DAY = timedelta(days=1)


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
        """Behind at all, a little or far, or out of the range it should keep."""
        return self.state in ("behind", "far_behind", "out_of_range")

    def explain(self) -> str:
        """Why this is so: the rule, its version, its inputs and the bounds it compared with."""
        rule = f"rule pace, version {self.parameters.version}"
        span = f"{self.measure.starts_on} to {self.measure.due_on}"
        way = self.measure.way
        on = f"{self.now:%Y-%m-%d}"
        if self.state == "not_started":
            return f"Not started: the time runs {span} and it was {on} ({rule})."
        if self.value is None or self.progress is None or self.delta is None:
            if self.measure.range is not None:
                return f"No check-in yet; it is to be kept {self.measure.range.words}, {span} ({rule})."
            return f"No check-in yet; {percent(self.expected)} {way} was expected on {on}, {span} ({rule})."
        value = f"{plain(self.value):f}"
        if self.measure.range is not None and self.state in _RANGE_STATES.values():
            kept, tolerance = self.measure.range.words, f"{plain(self.measure.range.tolerance):f}"
            near = f"near it within {tolerance}"
            return f"{WORDS[self.state].capitalize()}: {value} on {on}, to be kept {kept}, {near} ({rule})."
        if self.state == "unpaced":
            asked = f"It stood at {value} on {on} and is asked for by {self.measure.due_on}"
            return f"{asked}; nothing is expected before ({rule})."
        stands = f"{value} is {percent(self.progress)} {way}; {percent(self.expected)} was expected on {on}, {span}"
        if self.state == "just_started":
            share = percent(self.parameters.just_started_share)
            return f"Just started: {stands}. Under {share} of the time, pace is not judged ({rule})."
        by = "" if self.days is None or self.state == "on_pace" else f" by {abs(self.days):f} days"
        return (
            f"{WORDS[self.state].capitalize()}{by}: {stands}. The difference {self.delta:+f} lies "
            f"{bounds(self.state, self.parameters)} ({rule})."
        )


def time_share(starts_on: date, due_on: date, now: datetime) -> Decimal:
    """The share of the time from `starts_on` to `due_on` that has passed, exact, 0 to 1.

    Both days count from their beginning: of 1 January to 31 March, 45 of 89 days have passed when
    15 February begins. A span of no length has passed as soon as it begins.
    """
    return Linear(starts_on, due_on).at(now)


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
    expectation = measure.expectation
    by_now = four_places(expectation.at(now))
    raw = None if value is None else measure.raw(value)
    so_far = None if raw is None else clamp(raw)
    delta = None if so_far is None else (so_far - by_now).quantize(PLACES)
    if now < midnight(measure.starts_on):
        state: PaceState = "not_started"
    elif value is None or delta is None or so_far is None:
        state = "pending"
    elif measure.range is not None and measure.kind == "maintain":
        state = _RANGE_STATES[state_now(measure.range, value)]
    elif measure.kind in ("binary", "baseline") and by_now == 0 and so_far == 0:
        state = "unpaced"
    else:
        state = state_of(delta, time_share(measure.starts_on, measure.due_on, now), parameters)
    days = None
    if delta is not None and so_far is not None and state not in _UNPACED:
        steady = isinstance(expectation, Linear)
        days = (
            days_ahead(delta, measure.starts_on, measure.due_on) if steady else days_between(expectation, so_far, now)
        )
    return Verdict(state, by_now, so_far, raw, delta, days, measure, value, now, parameters)


_RANGE_STATES: dict[str, PaceState] = {"in_range": "in_range", "near": "near_range", "out": "out_of_range"}
_UNPACED: frozenset[PaceState] = frozenset(("in_range", "near_range", "out_of_range", "unpaced"))
