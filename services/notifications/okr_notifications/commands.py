"""What the watcher of a key result is told. Nobody outside asks anything of it, so these are Structs, not models."""

from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from okr_contracts.checkins import CheckInCorrected, CheckInRecorded
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    TargetRevised,
)

Fact = (
    KeyResultDefined
    | ChampionAssigned
    | ChampionReleased
    | KeyResultOpened
    | TargetRevised
    | KeyResultClosed
    | CheckInRecorded
    | CheckInCorrected
)
"""What of the world a watcher listens to: all of it tells its `key_result_id`."""


class Hear(Struct, frozen=True):
    """A service told `fact` at `position` of its log, as its event `event_id`, recorded at `at`."""

    fact: Fact
    service: str
    position: int
    event_id: UUID
    at: datetime


class LookAtPace(Struct, frozen=True):
    """Time has passed: is the key result still on pace at `at`, a moment of `day`?"""

    key_result_id: UUID
    day: date
    at: datetime


Command = Hear | LookAtPace
