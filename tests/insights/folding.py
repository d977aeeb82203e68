"""A fold told in sentences: given these events, then these rows."""

from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from okr_eventstore.projection import Projection, Row, Rows, RowT

from tests.insights.facts import recorded


class RowsInMemory(Rows):
    """Rows without tables. Which were put is kept in order, as history would."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.history: list[Row] = []

    def get(self, kind: type[RowT], *key: Any) -> RowT:
        return self.find(kind, *key) or kind(**dict(zip(kind.__key__, key, strict=True)))

    def find(self, kind: type[RowT], *key: Any) -> RowT | None:
        row = self.rows.get((kind, *key))
        return row if isinstance(row, kind) else None

    def put(self, row: Row) -> None:
        self.rows[(type(row), *(getattr(row, name) for name in row.__key__))] = row
        self.history.append(row)


@dataclass(frozen=True)
class Folded:
    """What a projection made of its events."""

    rows: RowsInMemory = field(default_factory=RowsInMemory)

    def row(self, kind: type[RowT]) -> RowT:
        """The only row of this kind."""
        (row,) = self.all(kind)
        return row

    def all(self, kind: type[RowT]) -> list[RowT]:
        return [row for row in self.rows.rows.values() if isinstance(row, kind)]

    def versions(self, kind: type[RowT]) -> list[RowT]:
        return [row for row in self.rows.history if isinstance(row, kind)]


def folded(projection: Projection, *events: Struct) -> Folded:
    """`events` folded from nothing, at positions 1, 2, 3 … of one shard."""
    outcome = Folded()
    for position, data in enumerate(events, start=1):
        projection.project(outcome.rows, recorded(position, data))
    return outcome
