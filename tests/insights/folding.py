"""A fold told in sentences: given these events, then these rows."""

from dataclasses import dataclass

from msgspec import Struct

from okr_eventstore.folding import FoldedRows
from okr_eventstore.projection import Projection, Row, RowT
from tests.insights.facts import recorded


@dataclass(frozen=True)
class Folded:
    """What a projection made of its events."""

    rows: FoldedRows

    def row(self, kind: type[RowT]) -> RowT:
        """The only row of this kind."""
        (row,) = self.all(kind)
        return row

    def all(self, kind: type[RowT]) -> list[RowT]:
        """In the order in which they first were put."""
        return [row for row, _ in self.rows.kept[kind].final()]

    def versions(self, kind: type[RowT]) -> list[RowT]:
        """Every version that history keeps, oldest first."""
        return [row for row, _ in self.rows.kept[kind].versions]

    def everything(self) -> list[Row]:
        return [row for kept in self.rows.kept.values() for row, _ in kept.final()]


def folded(projection: Projection, *events: Struct) -> Folded:
    """`events` folded from nothing, at positions 1, 2, 3 … of one shard."""
    rows = FoldedRows(projection.rows, complete=True)
    error = rows.fold(projection.project, [recorded(position, data) for position, data in enumerate(events, start=1)])
    if error is not None:
        raise error
    return Folded(rows)
