"""Where a consumer stands in one partition: which shards' positions lie before which offset.

The consumer's own checkpoints, shard by shard, are the truth. A partition is read from one offset on, and many shards
share it; so what is needed is an offset behind which everything lies that some shard still lacks. Such offsets are
waypoints. One is remembered with Kafka as a hint for the next start, where it may be old or gone.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from okr_chassis.kafka.topics import partition_of
from okr_eventstore.model import SHARDS

HINT_CHARACTERS = 4000
"""What brokers keep beside a committed offset (offset.metadata.max.bytes is 4096)."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Waypoint(NamedTuple):
    """An offset, and how far each shard had come there: all of a shard behind that position lies behind the offset.

    A shard that is not named had come nowhere.
    """

    offset: int
    positions: Mapping[int, int]

    def lacking(self, wanted: Mapping[int, int]) -> dict[int, int]:
        """Shards that would miss events if they were read from here, with the last position they would miss."""
        return {shard: at for shard, at in self.positions.items() if at > wanted.get(shard, 0)}

    def missing(self, wanted: Mapping[int, int]) -> int:
        """How many events that are."""
        return sum(at - wanted.get(shard, 0) for shard, at in self.lacking(wanted).items())


BEGINNING = Waypoint(0, {})


class Track:
    """One partition while it is ours.

    It is `settled` once it is known from where it is read. A consumer that goes back behind what it was given
    unsettles it.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition = partition
        self.shards = shards_of(partition, partitions)
        self.positions: dict[int, int] = {}
        """How far each shard has been handed over. A shard whose consumer has not said where to begin is missing."""
        self.lacking: dict[int, int] = {}
        """Shards that the owner has to be asked for, and up to which position."""
        self.offset = 0
        """The offset after what was looked at last."""
        self.base: Waypoint | None = None
        """Everything before it is done."""
        self._passed: deque[Waypoint] = deque()
        self._done: dict[int, int] = {}
        self._counts_from: int | None = None

    @property
    def settled(self) -> bool:
        return self._counts_from is not None

    @property
    def begun(self) -> bool:
        """Whether the consumer has said for all the shards where to begin."""
        return len(self.positions) == len(self.shards)

    def counts(self, batch: int) -> bool:
        """Whether what arrived in this batch comes from where we wanted to read."""
        return self._counts_from is not None and batch >= self._counts_from

    def seek(self, shard: int, after: int) -> None:
        """What follows `after` is wanted next."""
        self._done[shard] = after
        known = self.positions.get(shard)
        self.positions[shard] = after
        if known is not None and after < known:
            self.unsettle()
        elif self.lacking.get(shard, after + 1) <= after:
            del self.lacking[shard]

    def unsettle(self) -> None:
        """What arrives from now on counts for nothing, until the track is settled again."""
        self._counts_from = None

    def settle(self, at: Waypoint, batch: int) -> None:
        """The partition is read from this waypoint on, by the batches from number `batch`."""
        self.base, self.offset = at, at.offset
        self._passed.clear()
        self.lacking = at.lacking(self.positions)
        self._counts_from = batch

    def hand_over(self) -> None:
        """Everything up to `offset` was looked at, and what is new of it handed over."""
        here = Waypoint(self.offset, dict(self.positions))
        if self._passed and self._passed[-1].positions == here.positions:
            self._passed[-1] = here  # nothing but repetitions since
        else:
            self._passed.append(here)
        self._arrive()

    def done(self, shard: int, position: int) -> None:
        """The consumer is through with the shard up to there."""
        self._done[shard] = max(position, self._done.get(shard, 0))

    def _arrive(self) -> None:
        done = self._done
        while self._passed and all(done.get(shard, 0) >= at for shard, at in self._passed[0].positions.items()):
            self.base = self._passed.popleft()

    def hint(self) -> Waypoint | None:
        """Up to where everything is done, as far as known."""
        self._arrive()
        return self.base


def shards_of(partition: int, partitions: int) -> frozenset[int]:
    """The shards whose events lie in a partition."""
    return frozenset(shard for shard in range(SHARDS) if partition_of(shard, partitions) == partition)


def text_of_hint(waypoint: Waypoint, shards: Iterable[int]) -> str:
    """A waypoint's positions for keeping with its offset, shard after shard; empty when they do not fit."""
    text = ",".join(_short(waypoint.positions.get(shard, 0)) for shard in sorted(shards))
    return text if len(text) <= HINT_CHARACTERS else ""


def hint_of(offset: int, text: str, shards: Iterable[int]) -> Waypoint | None:
    """The waypoint that was kept, if it was one and the topic was cut as it is now."""
    wanted = sorted(shards)
    try:
        positions = [int(part, len(_DIGITS)) for part in text.split(",")]
    except ValueError:
        return None
    if offset < 0 or len(positions) != len(wanted) or min(positions) < 0:
        return None
    return Waypoint(offset, dict(zip(wanted, positions, strict=True)))


def _short(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, len(_DIGITS))
        digits = _DIGITS[rest] + digits
    return digits or "0"
