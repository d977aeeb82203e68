"""Dates as people write them: `2026-03-31`, `31.03.2026`, `31/03/2026`, `31 Mar 2026`.

With slashes or dashes the day may stand first or second; a number above 12 anywhere in the column
settles it. Where nothing does, the date is a fault: a guess would be wrong for half of the world.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import Literal, NamedTuple

Order = Literal["day first", "month first"]

_ISO = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?", re.ASCII)
_DOTTED = re.compile(r"([0-9]{1,2})\.\s?([0-9]{1,2})\.\s?([0-9]{4}|[0-9]{2})", re.ASCII)
_SLASHED = re.compile(r"([0-9]{1,2})[/-]([0-9]{1,2})[/-]([0-9]{4}|[0-9]{2})", re.ASCII)
_WORDS = re.compile(
    r"(?:([0-9]{1,2})(?:st|nd|rd|th)?[ .-]+([a-z]{3,9})|([a-z]{3,9})[ .]+([0-9]{1,2})(?:st|nd|rd|th)?)"
    r"[ .,-]+([0-9]{4})",
    re.ASCII,
)
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip


class WrittenDay(NamedTuple):
    """One written date: what it means with the day first, and with the month first. None: impossible."""

    day_first: date | None
    month_first: date | None

    @property
    def ambiguous(self) -> bool:
        return self.day_first is not None and self.month_first is not None and self.day_first != self.month_first


def written_day(text: str) -> WrittenDay | None:
    """What a text says as a date, or None when it is none."""
    text = " ".join(text.split())
    if match := _ISO.fullmatch(text):
        return _certain(_day(match[1], match[2], match[3]))
    if match := _DOTTED.fullmatch(text):
        return _certain(_day(match[3], match[2], match[1]))
    if match := _SLASHED.fullmatch(text):
        day_first, month_first = _day(match[3], match[2], match[1]), _day(match[3], match[1], match[2])
        return None if day_first is None and month_first is None else WrittenDay(day_first, month_first)
    if match := _WORDS.fullmatch(text.casefold()):
        number, name = match[1] or match[4], match[2] or match[3]
        months = [index for index, month in enumerate(_MONTHS, 1) if month.startswith(name)]
        return _certain(_day(match[5], str(months[0]), number)) if len(months) == 1 else None
    return None


def order(days: Iterable[WrittenDay]) -> Order | None:
    """Whether the day or the month comes first, if the dates agree on one; None when they prove nothing."""
    proven: set[Order] = set()
    for each in days:
        if each.month_first is None:
            proven.add("day first")
        elif each.day_first is None:
            proven.add("month first")
    return proven.pop() if len(proven) == 1 else None


def _certain(day: date | None) -> WrittenDay | None:
    return None if day is None else WrittenDay(day, day)


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day))
    except ValueError:
        return None
