"""Moments and days as people say them: `2026-03-31`, `2026-03-31 14:00`, `4 weeks ago`, `yesterday`, `now`.

A day alone means its end when one looks back (`end_of`), and its noon when something happened on it
(`noon_of`). What carries no time zone is meant where the command runs.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from okr_cli.failures import SetupError

_AGO = re.compile(r"(an?|[0-9]{1,4})\s+(minute|hour|day|week|month|year)s?\s+ago")
_SPANS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
EXAMPLES = "as in 2026-03-31, 2026-03-31T14:00, '4 weeks ago' or yesterday"


class Here(tzinfo):
    """The time zone in which the command runs, as it is on each day: winter and summer differ."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=self)


HERE = Here()


def end_of(day: date, zone: tzinfo | None) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), zone) - timedelta(microseconds=1)


def noon_of(day: date, zone: tzinfo | None) -> datetime:
    return datetime.combine(day, time(12), zone)


def moment(text: str, now: datetime, of_a_day: Callable[[date, tzinfo | None], datetime] = end_of) -> datetime:
    """The moment a text stands for, never after `now` when it names today. Raises SetupError."""
    said = " ".join(text.split()).casefold()
    zone = now.tzinfo
    if said in ("now", "today"):
        return now
    if said == "yesterday":
        return of_a_day(now.date() - timedelta(days=1), zone)
    if (match := _AGO.fullmatch(said)) is not None:
        count = 1 if match[1].startswith("a") else int(match[1])
        found = _before(now, count, match[2])
    else:
        found = _written(text.strip(), zone, of_a_day)
    if found is None:
        raise SetupError(f"{text!r} is no moment; say it {EXAMPLES}", reason="BAD_MOMENT")
    if found.date() == now.date() and found > now and len(text.strip()) == 10:
        return now
    return found


def _before(now: datetime, count: int, span: str) -> datetime | None:
    try:
        if span in _SPANS:
            return now - count * _SPANS[span]
        months = now.year * 12 + now.month - 1 - count * (12 if span == "year" else 1)
        year, month = divmod(months, 12)
        return now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError):
        return None


def _written(text: str, zone: tzinfo | None, of_a_day: Callable[[date, tzinfo | None], datetime]) -> datetime | None:
    try:
        if len(text) == 10:
            return of_a_day(date.fromisoformat(text), zone)
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is not None else found.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        return None
