"""The engine under a fold: which rows it needs, what it made of them, and when.

Live, a batch is folded once to hear which rows it asks for, those are loaded, and it is folded
again; a rebuild folds from nothing and has all rows at hand. Both are the same fold, so both end
in the same rows.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Generic, NoReturn, Protocol, cast

from msgspec import Struct

from okr_eventstore.codec import UnknownEvent, UnreadableEvent
from okr_eventstore.errors import UnknownEventError
from okr_eventstore.projection import Fold, ProjectedEvent, Projection, Row, Rows, RowT

Key = tuple[Any, ...]


class Stamp(Struct, frozen=True, gc=False):
    """The event that made a version of a row. Kept in place of the event, whose body may be large."""

    position: int
    shard: int
    recorded_at: datetime
    occurred_at: datetime
    event_type: str
    actor: str
    stream_version: int


class Kept(Generic[RowT]):
    """The rows of one kind during a fold."""

    def __init__(self, kind: type[RowT], *, complete: bool) -> None:
        self.kind = kind
        self.key_of = key_getter(kind)
        self.history = kind.__history__
        self.latest: dict[Key, tuple[RowT, Stamp]] = {}
        """The rows that were put, each as it is now and by which event."""
        self.loaded: dict[Key, RowT | None] = {}
        """What was there before, None where nothing was. Unused when the fold starts from nothing."""
        self.complete = complete
        self.missing: set[Key] = set()
        self.versions: list[tuple[RowT, Stamp]] = []
        """For the history: every version that was put, oldest first."""

    def restart(self) -> None:
        """Forget what was folded, keep what was loaded."""
        self.latest = {}
        self.versions = []
        self.missing = set()

    def final(self) -> list[tuple[RowT, Stamp]]:
        """The rows that were put, each as it is in the end."""
        return list(self.latest.values())


class Known(Protocol):
    """Rows that need not be loaded, by kind and key; None where there is none."""

    def __contains__(self, kind_and_key: tuple[type[Row], Key]) -> bool: ...

    def __getitem__(self, kind_and_key: tuple[type[Row], Key]) -> Row | None: ...


class FoldedRows(Rows):
    """Rows in memory. With `complete`, what is not here does not exist; else it is noted as missing."""

    def __init__(self, kinds: Iterable[type[Row]], *, complete: bool, known: Known | None = None) -> None:
        """`known` are rows as they stand, beside those that will be loaded."""
        self.kept: dict[type[Row], Kept[Any]] = {kind: Kept(kind, complete=complete) for kind in kinds}
        self._known = known
        self._event: ProjectedEvent | None = None
        self._stamp: Stamp | None = None

    def find(self, kind: type[RowT], *key: Any) -> RowT | None:
        kept: Kept[RowT] = self.kept[kind] if kind in self.kept else self._refuse(kind)
        latest = kept.latest.get(key)
        if latest is not None:
            return latest[0]
        return None if kept.complete else self._find_loaded(kept, key)

    def get(self, kind: type[RowT], *key: Any) -> RowT:
        # The same as find, written out: a rebuild comes here once an event.
        kept: Kept[RowT] = self.kept[kind] if kind in self.kept else self._refuse(kind)
        latest = kept.latest.get(key)
        if latest is not None:
            return latest[0]
        row = None if kept.complete else self._find_loaded(kept, key)
        return kind(*key) if row is None else row

    def put(self, row: Row) -> None:
        kind = type(row)
        kept = self.kept[kind] if kind in self.kept else self._refuse(kind)
        key = kept.key_of(row)
        event = self._event
        assert event is not None, "rows are put by a fold, and a fold has an event"
        if key[0] is not event.organization_id and key[0] != event.organization_id:
            self._refuse_stranger(kind, key[0])
        stamp = self._stamp
        if stamp is None:
            stamp = self._stamp = Stamp(
                event.position,
                event.shard,
                event.recorded_at,
                event.occurred_at,
                event.type,
                event.actor,
                event.version,
            )
        latest = kept.latest[key] = (row, stamp)
        if kept.history:
            versions = kept.versions
            again = versions and versions[-1][1] is stamp and self._amended(kept, key, latest)
            if not again:
                versions.append(latest)

    def fold(self, project: Fold, events: Iterable[ProjectedEvent]) -> Exception | None:
        """Fold, and answer what the fold raised. While rows are missing that means nothing: it saw defaults."""
        error: Exception | None = None
        for event in events:
            if type(event.data) is UnknownEvent:
                continue
            self._event = event
            self._stamp = None
            try:
                if type(event.data) is UnreadableEvent:
                    raise unreadable(event)
                project(self, event)
            except Exception as raised:
                error = error or raised
                if not self.missing():
                    break
        return error

    def missing(self) -> dict[type[Row], set[Key]]:
        return {kind: kept.missing for kind, kept in self.kept.items() if kept.missing}

    def restart(self) -> None:
        for kept in self.kept.values():
            kept.restart()

    def _find_loaded(self, kept: Kept[RowT], key: Key) -> RowT | None:
        """What was there before the batch; noted as missing where nobody has looked yet."""
        if key in kept.loaded:
            return kept.loaded[key]
        assert self._event is not None, "rows are asked for by a fold, and a fold has an event"
        if key[0] != self._event.organization_id:
            self._refuse_stranger(kept.kind, key[0])
        if self._known is not None and (kept.kind, key) in self._known:
            row = kept.loaded[key] = cast(RowT | None, self._known[kept.kind, key])
            return row
        kept.missing.add(key)
        return None

    def _refuse(self, kind: type[Row]) -> NoReturn:
        raise TypeError(f"{kind.__name__} is not among the rows of this projection; add it to `rows`")

    def _refuse_stranger(self, kind: type[Row], organization_id: object) -> NoReturn:
        """Shards are folded and loaded one by one, so a row of another organisation would be half a row."""
        assert self._event is not None, "rows are asked for by a fold, and a fold has an event"
        raise ValueError(
            f"{kind.__name__} of organisation {organization_id} asked for by an event of "
            f"{self._event.organization_id}; a row belongs to the organisation of its events"
        )

    @staticmethod
    def _amended(kept: Kept[Any], key: Key, latest: tuple[Row, Stamp]) -> bool:
        """An event that puts a row twice makes one version: the last one. Answers whether it was the second time."""
        for index in range(len(kept.versions) - 1, -1, -1):
            row, stamp = kept.versions[index]
            if stamp is not latest[1]:
                return False
            if kept.key_of(row) == key:
                kept.versions[index] = latest
                return True
        return False


Load = Callable[[type[Row], Sequence[Key]], Awaitable[Iterable[Row]]]
"""Reads the rows of one kind that exist among these keys."""


async def fold_batch(
    projection: Projection, events: Sequence[ProjectedEvent], load: Load, known: Known | None = None
) -> FoldedRows:
    """The rows that `events` make of those `known` or found by `load`, one call a table and depth of asking.

    Raises whatever the fold raises once it has seen all the rows it wants.
    """
    rows = FoldedRows(projection.rows, complete=False, known=known)
    while True:
        error = rows.fold(projection.project, events)
        missing = rows.missing()
        if not missing:
            if error is not None:
                raise error
            return rows
        for kind, keys in missing.items():
            kept = rows.kept[kind]
            kept.loaded.update(dict.fromkeys(keys))
            kept.loaded.update({kept.key_of(row): row for row in await load(kind, list(keys))})
        rows.restart()


def unreadable(event: ProjectedEvent) -> UnknownEventError:
    """Why the stream of an event that cannot be read has to wait."""
    reason = event.data.reason if isinstance(event.data, UnreadableEvent) else "cannot be read"
    return UnknownEventError(f"{event.type} version {event.schema_version} {reason}")


def key_getter(kind: type[Row]) -> Callable[[Row], Key]:
    """How to read a row's key."""
    names = kind.__key__
    if len(names) == 1:
        read = attrgetter(names[0])
        return lambda row: (read(row),)
    return attrgetter(*names)
