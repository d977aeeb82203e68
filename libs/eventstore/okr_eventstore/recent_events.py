"""The events that this process appended last, at hand for consumers that live beside the log.

They need not read back what has just passed through here. Whatever is missing, because another
process appended it or because it is too old, is read from the log.
"""

from collections.abc import Iterable

from okr_eventstore.model import RecordedEvent, ShardBatch

RECENT_EVENTS = 2_000
"""Kept at least, and at most twice as many. Who is further behind reads pages, which costs less for each event."""


class RecentEvents:
    """Committed events by shard and position. What stands at a position never changes, so none can be stale."""

    def __init__(self) -> None:
        self._current: dict[tuple[int, int], RecordedEvent] = {}
        self._previous: dict[tuple[int, int], RecordedEvent] = {}
        self._epochs: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def add(self, shard: int, epoch: int, events: Iterable[RecordedEvent]) -> None:
        if self._epochs.setdefault(shard, epoch) != epoch:  # the log was restored from a backup
            self._current, self._previous, self._last = {}, {}, {}
            self._epochs = {shard: epoch}
        for event in events:
            self._current[shard, event.position] = event
            self._last[shard] = max(event.position, self._last.get(shard, 0))
        if len(self._current) >= RECENT_EVENTS:
            self._current, self._previous = {}, self._current

    def after(self, shard: int, position: int, limit: int) -> ShardBatch | None:
        """What follows `position` without a hole, as far as it is here; None when not even the next event is."""
        events: list[RecordedEvent] = []
        current, previous = self._current, self._previous
        for due in range(position + 1, position + 1 + limit):
            event = current.get((shard, due)) or previous.get((shard, due))
            if event is None:
                break
            events.append(event)
        return ShardBatch(shard, self._epochs[shard], events) if events else None

    def last(self, shard: int) -> int:
        """The highest position of a shard that this process has appended; 0 where it has appended nothing."""
        return self._last.get(shard, 0)
