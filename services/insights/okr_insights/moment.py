"""Reading rows as they were known at a moment.

Every row that was ever written has its key in the live table, and all its versions in the history
table. So the past is read key by key: for each key that a question is about, one descent into the
index of the history finds the last version recorded by then. The cost does not grow with history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from okr_eventstore.projection import Row
from okr_insights.read_model import projections

SOURCES = tuple(projection.source for projection in projections)
_PLACES = {row: SOURCES.index(projection.source) + 1 for projection in projections for row in projection.rows}


@dataclass(frozen=True)
class Bound:
    """Up to where history is read, by what stands in a `placeholder`: a moment, or a position for each source."""

    placeholder: int
    by_position: bool = False

    def includes(self, row: type[Row]) -> str:
        """SQL of the condition that a version of this row was known then."""
        if self.by_position:
            return f"found.position <= (${self.placeholder}::bigint[])[{_PLACES[row]}]"
        return f"found.recorded_at <= ${self.placeholder}"


@dataclass(frozen=True)
class Moment:
    """What a question is about: what is known (`as_of` None), or what was known at `as_of`.

    `at` is when pace is judged: now, or `as_of`. With `positions`, source by source, what was known is told by
    them rather than by the moment: exact, whatever the clocks of the services said.
    """

    at: datetime
    as_of: datetime | None = None
    positions: Mapping[str, int] | None = None

    @property
    def arguments(self) -> tuple[object, ...]:
        """What SQL built with `known` needs beside its own arguments, always last."""
        if self.positions is not None:
            return ([self.positions.get(source, 0) for source in SOURCES],)
        return () if self.as_of is None else (self.as_of,)

    def bound(self, placeholder: int) -> Bound | None:
        """For SQL whose own arguments end before this placeholder; None reads what is known."""
        return None if self.as_of is None else Bound(placeholder, self.positions is not None)


def known(row: type[Row], as_of: Bound | None) -> str:
    """SQL of a FROM item with the rows of a table as they were known.

    `as_of` None reads the live table. The row's columns are
    reached through the table's name; conditions on the key are put on `<table>_key`, where an index
    can serve them.
    """
    table = row.__table__
    live = f"{table} AS {table}_key"
    if as_of is None:
        return f"({live} CROSS JOIN LATERAL (SELECT {table}_key.*) AS {table})"
    key = {column: f"{table}_key.{column}" for column in row.__key__}
    return f"({live} CROSS JOIN {known_at(row, as_of, **key)})"


def known_at(row: type[Row], as_of: Bound | None, **key: str) -> str:
    """SQL of a LATERAL item with the one row that has this whole `key` (column → SQL), if it was known.

    LIMIT makes it a descent into the key's index for each row it is joined to, whatever the planner
    believes of tables that were filled a moment ago and have no statistics yet.
    """
    if key.keys() != set(row.__key__):
        raise ValueError(f"{row.__table__} has the key {row.__key__}, asked for {sorted(key)}")
    table = row.__table__
    same_key = " AND ".join(f"found.{column} = {value}" for column, value in key.items())
    if as_of is None:
        return f"LATERAL (SELECT found.* FROM {table} AS found WHERE {same_key} LIMIT 1) AS {table}"
    return (
        f"LATERAL (SELECT found.* FROM {table}_history AS found WHERE {same_key} AND {as_of.includes(row)}"
        f" ORDER BY found.recorded_at DESC, found.position DESC LIMIT 1) AS {table}"
    )
