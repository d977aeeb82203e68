"""Values over time, as rules need them: in order, one value a moment, carried forward between moments."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from okr_rules.exact import EXACT

MICROSECOND = timedelta(microseconds=1)


class Reading(NamedTuple):
    """What a key result stood at, in its own unit, at a moment (UTC)."""

    at: datetime
    value: Decimal


def in_order(readings: Iterable[Reading]) -> list[Reading]:
    """One reading a moment, oldest first. Readings of the same moment count as their median, in whatever
    order they came: of two people who measured at once neither was last.
    """
    by_moment: dict[datetime, list[Decimal]] = {}
    for reading in readings:
        by_moment.setdefault(reading.at, []).append(reading.value)
    return [Reading(at, median(values)) for at, values in sorted(by_moment.items())]


def median(values: Iterable[Decimal]) -> Decimal:
    """The middle one, or the mean of the two in the middle. Raises ValueError when there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("the median of no values")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return EXACT.divide(EXACT.add(ordered[middle - 1], ordered[middle]), Decimal(2))


def micros(span: timedelta) -> Decimal:
    """A span as an exact number of microseconds."""
    return Decimal(span // MICROSECOND)
