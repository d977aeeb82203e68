"""Key results that keep a value inside a range, rather than move it somewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from okr_rules.exact import EXACT, ONE, ZERO, clamp, four_places
from okr_rules.series import Reading, in_order, micros

RangeState = Literal["in_range", "near", "out"]


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included and in the key result's own unit; one of them may be open (None).

    `tolerance` is how far outside a value still counts for something. Raises ValueError for what is no range.
    """

    low: Decimal | None
    high: Decimal | None
    tolerance: Decimal

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("a range is open on one side at most, found both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"a range runs from low to high, found {self.low} to {self.high}")
        if self.tolerance <= 0:
            raise ValueError(f"a range's tolerance lies above 0, found {self.tolerance}")

    @property
    def words(self) -> str:
        """The range as people say it."""
        if self.low is None:
            return f"at {self.high:f} or below"
        return f"at {self.low:f} or above" if self.high is None else f"from {self.low:f} to {self.high:f}"

    def distance(self, value: Decimal) -> Decimal:
        """How far outside `value` lies; 0 inside."""
        if self.low is not None and value < self.low:
            return EXACT.subtract(self.low, value)
        if self.high is not None and value > self.high:
            return EXACT.subtract(value, self.high)
        return ZERO


def progress_now(range_: Range, value: Decimal) -> Decimal:
    """1 inside, falling to 0 at the tolerance's end; four places."""
    return four_places(clamp(EXACT.subtract(ONE, EXACT.divide(range_.distance(value), range_.tolerance))))


def state_now(range_: Range, value: Decimal) -> RangeState:
    """In range, near it (within the tolerance), or out."""
    distance = range_.distance(value)
    if distance == 0:
        return "in_range"
    return "near" if distance < range_.tolerance else "out"


def share_inside(range_: Range, readings: Iterable[Reading], since: datetime, until: datetime) -> Decimal | None:
    """The share of the time from `since` to `until` that was spent inside; four places.

    Each value is carried forward to the next. Time before the first reading says nothing and is not
    counted, neither for nor against; None while there is nothing to count.
    """
    inside, counted = ZERO, ZERO
    ordered = in_order(reading for reading in readings if reading.at < until)
    for index, (at, value) in enumerate(ordered):
        begins = max(at, since)
        ends = ordered[index + 1].at if index + 1 < len(ordered) else until
        if ends <= begins:
            continue
        length = micros(ends - begins)
        counted += length
        if range_.distance(value) == 0:
            inside += length
    return None if counted == 0 else four_places(EXACT.divide(inside, counted))
