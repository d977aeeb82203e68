"""A read model is a fold: rows in, event, rows out, no I/O.

The engine finds out which rows a batch touches, loads them with one SELECT per table, folds in
memory and writes one statement for the whole batch. The same fold rebuilds from nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from okr_eventstore.model import RecordedEvent


class Row(Struct, frozen=True):
    """A row of a read model; the table is derived from the class.

        class CycleRow(Row, frozen=True):
            __table__ = "cycle"
            __key__ = ("organization_id", "cycle_id")
            organization_id: UUID
            cycle_id: UUID
            name: str = ""

    Every key begins with `organization_id`; fields outside the key have defaults, so that a row
    exists as soon as somebody speaks of it. Kinds of field: UUID, str, int, bool, Decimal, date,
    datetime, Literal texts, each also `| None`, and tuples, dicts and Structs of those (kept as json).
    The key's fields stand first, in the key's order.
    With `__history__` every version of a row is kept beside its position and both its times; its
    fields then leave the names of those columns free (tables.py lists them).
    """

    __table__: ClassVar[str]
    __key__: ClassVar[tuple[str, ...]]
    __history__: ClassVar[bool] = True
    __indexes__: ClassVar[tuple[tuple[str, ...], ...]] = ()


RowT = TypeVar("RowT", bound=Row)


class Rows(Protocol):
    """The rows a fold may see and change: those of the event's own organisation.

    A fold is run as often as the engine likes and must answer the same each time, so it keeps
    nothing between events and looks at nothing but its rows and its event (folding.py is the engine).
    """

    def get(self, kind: type[RowT], *key: Any) -> RowT:
        """The row with this key; a new one with its defaults where there is none yet."""

    def find(self, kind: type[RowT], *key: Any) -> RowT | None:
        """The row with this key, or None."""

    def put(self, row: Row) -> None:
        """The row is so from this event on."""


class ProjectedEvent(Protocol):
    """What a fold may know of an event: all of RecordedEvent but what only tells how it was asked for.

    A rebuild reads millions and leaves the rest in the log.
    """

    @property
    def shard(self) -> int: ...

    @property
    def position(self) -> int: ...

    @property
    def organization_id(self) -> UUID: ...

    @property
    def stream_id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def type(self) -> str: ...

    @property
    def schema_version(self) -> int: ...

    @property
    def recorded_at(self) -> datetime: ...

    @property
    def occurred_at(self) -> datetime: ...

    @property
    def actor(self) -> str: ...

    @property
    def data(self) -> Struct: ...


Fold = Callable[[Rows, ProjectedEvent], None]


@dataclass(frozen=True)
class Projection:
    """One fold over one service's log into tables that nothing else writes.

    Give each service whose events matter a projection, and so rows, of its own: a row may depend
    on the order inside one stream only; what comes from several streams meets when it is read.
    Raise `version` when the meaning of the fold changes; a change in the rows' shape is noticed by itself.
    """

    name: str
    source: str
    rows: tuple[type[Row], ...]
    project: Fold
    version: int = 1


React = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""What a consumer without rows does with its events: commands with ids that are always the same for an event."""


def tables(projections: Iterable[Projection]) -> list[str]:
    return [row.__table__ for projection in projections for row in projection.rows]
