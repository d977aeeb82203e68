"""Days as organisations have them: from midnight to midnight in their own time zone."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)
EASTERNMOST = timedelta(hours=14)
"""Nowhere a day begins earlier than so long before UTC's."""


def zone(name: str | None) -> tzinfo:
    """The time zone of this IANA name; UTC where there is none, or none this machine knows."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def today(now: datetime, zone_name: str | None) -> date:
    return now.astimezone(zone(zone_name)).date()


def end_of(day: date, zone_name: str | None) -> datetime:
    """The moment (UTC) at which a day is over."""
    return datetime.combine(day + DAY, time(), zone(zone_name)).astimezone(UTC)


def latest_day(now: datetime) -> date:
    """The day it is where it is latest."""
    return (now.astimezone(UTC) + EASTERNMOST).date()
