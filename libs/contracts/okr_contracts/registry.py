"""Every event type there is, by service and name, with its schema version and upcasters.

Within a version only optional fields are added; anything else is a new version here and a pure
upcaster (`dict → dict`) from the one before. Samples of all released versions live in
tests/fixtures/events/ and must decode for ever.
"""

from collections.abc import Callable
from typing import Any, get_args

from msgspec import Struct

from okr_contracts.alignment import AlignmentEvent
from okr_contracts.checkins import CheckInsEvent, RhythmEvent
from okr_contracts.directory import DirectoryEvent
from okr_contracts.goals import GoalsEvent
from okr_contracts.notifications import NotificationsEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

EVENTS: dict[str, tuple[type[Struct], ...]] = {
    "directory": get_args(DirectoryEvent),
    "goals": get_args(GoalsEvent),
    "checkins": (*get_args(CheckInsEvent), *get_args(RhythmEvent)),
    "alignment": get_args(AlignmentEvent),
    "notifications": get_args(NotificationsEvent),
}
"""Service → its events. An event's type is its class's name, unique over all services."""

SCHEMA_VERSIONS: dict[str, int] = {event.__name__: 1 for events in EVENTS.values() for event in events}
"""Type → the schema version written today."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(type, version found) → the same fact in the next version."""
