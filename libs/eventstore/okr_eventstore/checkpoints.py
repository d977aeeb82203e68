"""What a consumer keeps in PostgreSQL, and the one statement that moves it.

A batch is one statement: the checkpoints of all its shards, the rows of all its tables, their
history and the events it parks; all of it or nothing. Checkpoints are compared and swapped, so of
two runners that both believe a shard is theirs only one gets through.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from okr_eventstore.database import Connection
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.folding import FoldedRows, Key, Stamp
from okr_eventstore.model import RecordedEvent
from okr_eventstore.projection import Projection, Row
from okr_eventstore.recent_rows import RecentRows
from okr_eventstore.tables import (
    LAST,
    Generation,
    Table,
    live_generation,
    names,
    quoted,
    table_of,
    tables_of,
)

Stream = tuple[UUID, str]
"""An organisation and a stream of it."""

ERROR_CHARACTERS = 2000
"""How much of an error is kept with a parked event."""


class Checkpoint(NamedTuple):
    """How far a shard has been read. `revision` is the row's xmin: it differs as soon as anybody wrote the row.

    Position alone would not do. Healing a parked stream changes rows without moving the checkpoint,
    and a batch that read rows before it must not write after it.
    """

    epoch: int
    position: int
    revision: int


async def open_ledger(
    connection: Connection, name: str, source: str, projection: Projection | None, recent: RecentRows | None = None
) -> "Ledger":
    """A consumer's ledger as it is now: for a projection, over the generation that is live.

    Raises StoreUnavailableError while that generation is not what this release's fold makes.
    """
    if projection is None:
        return Ledger(name, source)
    generation = await live_generation(connection, projection.name)
    if generation is None or not generation.fits(projection):
        raise StoreUnavailableError(f"{projection.name} must be rebuilt: its version or its rows' shape changed")
    return Ledger(generation.consumer, source, projection=projection, generation=generation, recent=recent)


class Move(NamedTuple):
    """A shard's checkpoint from what it must be to what it becomes."""

    shard: int
    expected: Checkpoint
    epoch: int
    position: int


class Parking(NamedTuple):
    """An event set aside, and why."""

    event: RecordedEvent
    error: str


class Ledger:
    """One consumer's checkpoints, parked streams and, for a projection, rows in one generation of tables.

    `live` ties every move to that generation being the one readers see. `recent` saves loading what the last batches
    asked for; it is for who moves in transactions of their own, since one that is rolled back must be forgotten.
    """

    def __init__(
        self,
        consumer: str,
        source: str,
        *,
        projection: Projection | None = None,
        generation: Generation | None = None,
        live: bool = True,
        recent: RecentRows | None = None,
    ) -> None:
        self.consumer = consumer
        self.source = source
        self.generation = generation
        self.recent = recent
        self._live = live and generation is not None
        self._tables = tables_of(projection) if projection is not None else []
        self._statements: dict[tuple[bool, tuple[str, ...]], str] = {}
        number = generation.number if generation is not None else 0
        self._loads = {table.kind: _load_sql(table, number) for table in self._tables}

    async def read(self, connection: Connection, shards: Iterable[int]) -> dict[int, Checkpoint]:
        """The checkpoint of every shard asked for; where there was none there is one at 0 now."""
        self._forget()  # others may have had these shards meanwhile
        wanted = sorted(shards)
        await connection.execute(
            """INSERT INTO checkpoint (consumer, source, shard, epoch, position)
               SELECT $1, $2, shard, 0, 0 FROM unnest($3::smallint[]) AS s(shard)
                WHERE NOT EXISTS (SELECT FROM checkpoint c WHERE (c.consumer, c.source, c.shard) = ($1, $2, s.shard))
               ON CONFLICT DO NOTHING""",
            self.consumer,
            self.source,
            wanted,
        )
        rows = await connection.fetch(
            """SELECT shard, epoch, position, xmin AS revision FROM checkpoint
                WHERE consumer = $1 AND source = $2 AND shard = ANY ($3::smallint[])""",
            self.consumer,
            self.source,
            wanted,
        )
        return {row["shard"]: Checkpoint(row["epoch"], row["position"], row["revision"]) for row in rows}

    async def parked(self, connection: Connection, shards: Iterable[int]) -> dict[int, set[Stream]]:
        """Shard → its parked streams."""
        rows = await connection.fetch(
            """SELECT DISTINCT shard, organization_id, stream_id FROM parked
                WHERE consumer = $1 AND source = $2 AND shard = ANY ($3::smallint[])""",
            self.consumer,
            self.source,
            sorted(shards),
        )
        found: dict[int, set[Stream]] = {}
        for shard, organization_id, stream_id in rows:
            found.setdefault(shard, set()).add((organization_id, stream_id))
        return found

    async def load(self, connection: Connection, kind: type[Row], keys: Sequence[Key]) -> list[Row]:
        """The rows that exist among `keys`, in one SELECT."""
        return table_of(kind).rows(await connection.fetch(self._loads[kind], *map(list, zip(*keys, strict=True))))

    async def move(
        self,
        connection: Connection,
        moves: Sequence[Move],
        rows: FoldedRows | None = None,
        parked: Sequence[Parking] = (),
    ) -> dict[int, Checkpoint]:
        """The batch as one statement. Answers the new checkpoints; none when anything was not as expected.

        Then nothing was written: another runner moved a shard, a stream was healed, or a rebuild
        switched generations. Read again and carry on from there.
        """
        arguments: list[Any] = [self.consumer, self.source]
        # Ascending: two runners can wait for each other, never lock each other out.
        arguments += _turned(
            (m.shard, m.expected.position, m.expected.revision, m.epoch, m.position) for m in sorted(moves)
        )
        if self._live and self.generation is not None:
            arguments += [self.generation.name, self.generation.number]
        if parked:
            arguments += _turned(map(_parked_values, parked))
        kept = rows.kept if rows is not None else {}
        changed = [table for table in self._tables if table.kind in kept and kept[table.kind].latest]
        for table in changed:
            arguments.append(_live_values(table, kept[table.kind].final()))
            if table.history:
                arguments.append(_past_values(table, kept[table.kind].versions))
        statement = self._statement(bool(parked), changed)
        try:
            moved = await connection.fetch(statement, *arguments)
        except BaseException:
            self._forget()
            raise
        if len(moved) < len(moves):
            self._forget()
        elif self.recent is not None and rows is not None:
            self.recent.learn(rows)
        return {row["shard"]: Checkpoint(row["epoch"], row["position"], row["revision"]) for row in moved}

    def _forget(self) -> None:
        if self.recent is not None:
            self.recent.forget()

    def _statement(self, parks: bool, changed: Sequence[Table]) -> str:
        variant = (parks, tuple(table.name for table in changed))
        if variant not in self._statements:
            self._statements[variant] = self._build(parks, changed)
        return self._statements[variant]

    def _build(self, parks: bool, changed: Sequence[Table]) -> str:
        number = self.generation.number if self.generation is not None else 0
        parameter = map("${}".format, count(8))  # $1 to $7 are the consumer, its source and the moves

        # LIMIT makes it a descent into the key's index for each shard, and the update goes to the places found.
        # As joins both would read all of the consumer's checkpoints for a batch of one event.
        parts = [
            """moving AS MATERIALIZED (
                SELECT found.at, m.epoch, m.position
                  FROM unnest($3::smallint[], $4::bigint[], $5::xid[], $6::int[], $7::bigint[])
                       AS m(shard, expected, revision, epoch, position)
                 CROSS JOIN LATERAL (
                       SELECT c.ctid AS at FROM checkpoint c
                        WHERE c.consumer = $1 AND c.source = $2 AND c.shard = m.shard
                          AND c.position = m.expected AND c.xmin = m.revision
                        LIMIT 1 FOR UPDATE) AS found)"""
        ]
        conditions = ["(SELECT count(*) FROM moving) = cardinality($3::smallint[])"]
        if self._live:
            # KEY SHARE waits for a switch that is under way, and a switch waits for this batch.
            parts.append(
                f"""live AS MATERIALIZED (
                    SELECT FROM projection WHERE name = {next(parameter)}::text AND generation = {next(parameter)}::int
                       FOR KEY SHARE)"""
            )
            conditions.append("EXISTS (SELECT FROM live)")
        writes = []
        if parks:
            arrays = ", ".join(
                f"{next(parameter)}::{sql_type}[]"
                for sql_type in ("smallint", "bigint", "uuid", "text", "text", "text")
            )
            writes.append(
                f"""aside AS (
                    INSERT INTO parked (consumer, source, shard, position, organization_id, stream_id, event, error)
                    SELECT $1, $2, shard, position, organization_id, stream_id, event::json, error
                      FROM unnest({arrays}) AS p(shard, position, organization_id, stream_id, event, error)
                     WHERE (SELECT yes FROM go))"""
            )
        for index, table in enumerate(changed):
            writes += _write_sql(table, number, f"r{index}", parameter)
        return f"""
            WITH {", ".join(parts)},
            go AS MATERIALIZED (SELECT {" AND ".join(conditions)} AS yes),
            moved AS (
                UPDATE checkpoint c SET epoch = m.epoch, position = m.position
                  FROM moving m WHERE c.ctid = m.at AND (SELECT yes FROM go)
             RETURNING c.shard, c.epoch, c.position, c.xmin AS revision)
            {"".join(f", {write}" for write in writes)}
            SELECT shard, epoch, position, revision FROM moved
        """


def _write_sql(table: Table, number: int, alias: str, parameter: Iterator[str]) -> list[str]:
    """A table's share of the statement: its rows as they are in the end, upserted, and all their versions, kept.

    Rows travel as one array of the table's own row type: the driver and PostgreSQL then look at one array,
    not at one for each column.
    """
    live, past = quoted(table.live(number)), quoted(table.past(number))
    own = [column.name for column in table.columns]
    updates = [f"{quoted(name)} = excluded.{quoted(name)}" for name in own if name not in table.key]
    # A healed stream's events come late; the row still says which was the last in the log.
    updates += [
        f"{name} = CASE WHEN excluded._position >= t._position THEN excluded.{name} ELSE t.{name} END"
        for name, _ in LAST
    ]
    writes = [
        f"""{alias}_live AS (
            INSERT INTO {live} AS t SELECT * FROM unnest({next(parameter)}::{live}[]) WHERE (SELECT yes FROM go)
            ON CONFLICT ({names(table.key)}) DO UPDATE SET {", ".join(updates)})""",
    ]
    if table.history:
        writes.append(
            f"""{alias}_past AS (
                INSERT INTO {past} SELECT * FROM unnest({next(parameter)}::{past}[]) WHERE (SELECT yes FROM go))"""
        )
    return writes


def _load_sql(table: Table, number: int) -> str:
    """LIMIT makes it a descent into the key's index for each key. As a join it would be planned while the table is
    empty, and read the table from end to end for as long as the connection lives."""
    types = {column.name: column.sql_type for column in table.columns}
    keys = ", ".join(f"${index}::{types[name]}[]" for index, name in enumerate(table.key, start=1))
    same_key = " AND ".join(f"t.{quoted(name)} = k.{quoted(name)}" for name in table.key)
    columns = ", ".join(f"found.{quoted(column.name)}" for column in table.columns)
    return f"""SELECT {columns} FROM unnest({keys}) AS k({names(table.key)})
                CROSS JOIN LATERAL (SELECT t.* FROM {quoted(table.live(number))} t WHERE {same_key} LIMIT 1) AS found"""


def _live_values(table: Table, rows: Iterable[tuple[Row, Stamp]]) -> list[tuple[Any, ...]]:
    """Rows as their table has them: their columns, then those of LAST."""
    values = table.values
    return [(*values(row), stamp.position, stamp.recorded_at, stamp.stream_version) for row, stamp in rows]


def _past_values(table: Table, versions: Iterable[tuple[Row, Stamp]]) -> list[tuple[Any, ...]]:
    """Versions as the history has them: the row's columns, then those of STAMPS."""
    values = table.values
    return [(*values(row), *astuple(stamp)) for row, stamp in versions]


def _parked_values(item: Parking) -> tuple[Any, ...]:
    event = item.event
    return (
        event.shard,
        event.position,
        event.organization_id,
        event.stream_id,
        msgspec.json.encode(event).decode(),
        storable(item.error),
    )


def storable(error: str) -> str:
    """An error's text without what PostgreSQL refuses in a text."""
    return error.replace("\0", "").encode("utf-8", "backslashreplace").decode()[:ERROR_CHARACTERS]


def _turned(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]
