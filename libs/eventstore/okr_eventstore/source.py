"""Where a consumer's events come from: one port, one adapter per bus."""

from collections.abc import Sequence
from typing import Protocol

from okr_eventstore.model import Head, RecordedEvent, ShardBatch


class EventSource(Protocol):
    """The log of one service as a consumer sees it, whatever carries it.

    Within a shard events come in position order. A bus may repeat events, and may skip some; the
    runner drops the first and backfills the second.
    """

    service: str
    """Whose log this is: "goals"."""

    async def start(self) -> None:
        """Connect. Nothing is handed over before the runner has said by `seek` where to begin."""

    async def close(self) -> None: ...

    async def assignments(self) -> frozenset[int]:
        """The shards that are this consumer's now."""

    async def seek(self, shard: int, after: int) -> None:
        """Hand over next what follows position `after` of `shard`."""

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        """What has come for the assigned shards, at most one batch a shard; empty after the timeout."""

    async def commit(self, positions: dict[int, int]) -> None:
        """A hint to the bus that everything up to these positions is done. May do nothing."""

    async def heads(self) -> dict[int, Head]:
        """How far the log goes, for every shard that holds anything."""

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        """The events `after` < position ≤ `up_to`, asked from the owner of the log."""
