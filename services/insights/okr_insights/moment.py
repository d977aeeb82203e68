"""Reading rows as they were known at a moment.

Every row that was ever written has its key in the live table, and all its versions in the history
table. So the past is read key by key: for each key that a question is about, one descent into the
index of the history finds the last version recorded by then. The cost does not grow with history.
"""

from dataclasses import dataclass
from datetime import datetime

from okr_eventstore.projection import Row


@dataclass(frozen=True)
class Moment:
    """What a question is about: what is known (`as_of` None), or what was known at `as_of`.

    `at` is when pace is judged: now, or `as_of`.
    """

    at: datetime
    as_of: datetime | None = None

    @property
    def arguments(self) -> tuple[datetime, ...]:
        """What SQL built with `known` needs beside its own arguments, always last."""
        return () if self.as_of is None else (self.as_of,)


def known(row: type[Row], as_of: str | None) -> str:
    """SQL of a FROM item with the rows of a table as they were known.

    `as_of` is the placeholder of the moment ("$3"), None reads the live table. The row's columns are
    reached through the table's name; conditions on the key are put on `<table>_key`, where an index
    can serve them.
    """
    table = row.__table__
    live = f"{table} AS {table}_key"
    if as_of is None:
        return f"({live} CROSS JOIN LATERAL (SELECT {table}_key.*) AS {table})"
    same_key = " AND ".join(f"past.{column} = {table}_key.{column}" for column in row.__key__)
    return (
        f"({live} CROSS JOIN LATERAL (SELECT past.* FROM {table}_history AS past"
        f" WHERE {same_key} AND past.recorded_at <= {as_of}"
        f" ORDER BY past.recorded_at DESC, past.position DESC LIMIT 1) AS {table})"
    )
