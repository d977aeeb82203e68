"""Time zones by their IANA names."""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator


@cache
def known_zones() -> frozenset[str]:
    """Every name this machine knows; UTC is known also where no zone data is installed."""
    return frozenset(available_timezones() | {"UTC"})


def _known(name: str) -> str:
    wanted = name.strip() or "UTC"
    if wanted not in known_zones():
        raise ValueError("is no IANA time zone name such as Europe/Lisbon")
    return wanted


TimeZone = Annotated[str, AfterValidator(_known)]
"""An IANA name; UTC when it is left empty."""
