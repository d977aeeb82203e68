"""How each service's events are written and read."""

from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS, UPCASTERS
from okr_eventstore.codec import Codec


def codec_of(service: str) -> Codec:
    """Reads and writes the events of one service."""
    return Codec(EVENTS[service], SCHEMA_VERSIONS, UPCASTERS)
