"""From Row classes to tables: columns, generations, views, digests.

A projection lives in a generation of tables, `key_result_g3` and `key_result_g3_history`, and is
read through views, `key_result` and `key_result_history`, that look at the live one. A rebuild fills
the next generation beside it; the switch is a row in `projection` and the views, in one transaction.
"""

import types
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import astuple, fields

from okr_eventstore.database import Connection, Database
from okr_eventstore.projection import Projection, Row

SQL_TYPES: dict[type, str] = {
    UUID: "uuid",
    str: "text",
    bool: "boolean",
    int: "bigint",
    Decimal: "numeric",
    date: "date",
    datetime: "timestamptz",
}

STAMPS = (
    ("position", "bigint"),
    ("shard", "smallint"),
    ("recorded_at", "timestamptz"),
    ("occurred_at", "timestamptz"),
    ("event_type", "text"),
    ("actor", "text"),
    ("stream_version", "bigint"),
)
"""What a history row knows of the event that made it: its columns after those of the row."""

LAST = (("_position", "bigint"), ("_recorded_at", "timestamptz"), ("_stream_version", "bigint"))
"""What a row knows of the event that changed it last."""

JSON_ENCODER = msgspec.json.Encoder(decimal_format="string")


class Column(NamedTuple):
    """`decoder` is set where the value travels as JSON text."""

    name: str
    sql_type: str
    nullable: bool
    decoder: "msgspec.json.Decoder[Any] | None"


class Table:
    """The shape that a Row class gives its tables."""

    def __init__(self, kind: type[Row]) -> None:
        self.kind = kind
        self.name = kind.__table__
        self.key = kind.__key__
        self.history = kind.__history__
        self.columns = tuple(_column(kind, field.name, field.type) for field in fields(kind))
        self._check()
        self._json = tuple(index for index, column in enumerate(self.columns) if column.decoder is not None)

    def rows(self, records: Iterable[asyncpg.Record]) -> list[Row]:
        """What `SELECT` of the columns in their order found, as rows."""
        if not self._json:
            return [self.kind(*record) for record in records]
        found = []
        for record in records:
            values = list(record)
            for index in self._json:
                decoder = self.columns[index].decoder
                if values[index] is not None and decoder is not None:
                    values[index] = decoder.decode(values[index])
            found.append(self.kind(*values))
        return found

    def values(self, row: Row) -> tuple[Any, ...]:
        """A row as PostgreSQL takes it, in the columns' order."""
        values = astuple(row)
        if not self._json:
            return values
        encoded = list(values)
        for index in self._json:
            if encoded[index] is not None:
                encoded[index] = JSON_ENCODER.encode(encoded[index]).decode()
        return tuple(encoded)

    def live(self, generation: int) -> str:
        return f"{self.name}_g{generation}"

    def past(self, generation: int) -> str:
        return f"{self.name}_g{generation}_history"

    def shape(self) -> str:
        """All of the table that would have to be built anew if it changed."""
        columns = ",".join(f"{c.name} {c.sql_type}{'' if c.nullable else ' not null'}" for c in self.columns)
        return f"{self.name}({columns}) key {self.key} history {self.history} indexes {self.kind.__indexes__}"

    def create(self, live: str, past: str, *, temporary: bool = False) -> list[str]:
        """The tables without keys and indexes, so that a COPY fills them fast."""
        create = "CREATE TEMPORARY TABLE" if temporary else "CREATE TABLE"
        own = [f"{quoted(c.name)} {c.sql_type}{'' if c.nullable else ' NOT NULL'}" for c in self.columns]
        last = [f"{name} {sql_type} NOT NULL" for name, sql_type in LAST]
        statements = [
            f"{create} {quoted(live)} ({', '.join(own + last)}) {'' if temporary else 'WITH (fillfactor = 80)'}"
        ]
        if self.history:
            stamps = [f"{name} {sql_type} NOT NULL" for name, sql_type in STAMPS]
            statements.append(f"{create} {quoted(past)} ({', '.join(own + stamps)})")
        return statements

    def index(self, generation: int) -> list[list[str]]:
        """Keys and indexes, made once the rows are there: those of the live table, and those of its history."""
        live, past, key = quoted(self.live(generation)), quoted(self.past(generation)), names(self.key)
        statements = [[f"ALTER TABLE {live} ADD PRIMARY KEY ({key})"]]
        statements[0] += [f"CREATE INDEX ON {live} ({names(index)})" for index in self.kind.__indexes__]
        if self.history:
            # Inside a shard moments never go back, so this is the order of positions too: what a row was at a moment
            # is found by going down to it and one step backwards, and no version can stand here twice.
            statements.append([f"ALTER TABLE {past} ADD PRIMARY KEY ({key}, recorded_at, position)"])
        return statements

    def _check(self) -> None:
        kind, order = self.kind.__name__, tuple(column.name for column in self.columns)
        if self.key[:1] != ("organization_id",):
            raise TypeError(f"{kind}: a key begins with organization_id, found {self.key}")
        if order[: len(self.key)] != self.key:
            raise TypeError(f"{kind}: its key's fields stand first, in the key's order; found {order}, key {self.key}")
        taken = {name for name, _ in (*STAMPS, *LAST)} if self.history else {name for name, _ in LAST}
        if clash := taken.intersection(order):
            raise TypeError(f"{kind}: its history has columns {sorted(clash)} of its own; name the fields otherwise")


@cache
def table_of(kind: type[Row]) -> Table:
    return Table(kind)


def tables_of(projection: Projection) -> list[Table]:
    return [table_of(kind) for kind in projection.rows]


def shape_of(projection: Projection) -> str:
    """A fingerprint of all the projection's tables."""
    text = "\n".join(table.shape() for table in tables_of(projection))
    return sha256(text.encode()).hexdigest()[:32]


def quoted(name: str) -> str:
    if '"' in name:
        raise ValueError(f"{name!r} is no name of a table or column")
    return f'"{name}"'


def names(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))


def _column(kind: type[Row], name: str, annotation: Any) -> Column:
    nullable = False
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        nullable = len(parts) < len(get_args(annotation))
        annotation = parts[0] if len(parts) == 1 else annotation
    if isinstance(annotation, type) and annotation in SQL_TYPES:
        return Column(name, SQL_TYPES[annotation], nullable, None)
    origin = get_origin(annotation)
    if origin is Literal and all(isinstance(value, str) for value in get_args(annotation)):
        return Column(name, "text", nullable, None)
    # What can be changed in place could change inside an older version of a row; dicts are kept by their writers' care.
    if origin in (tuple, dict) or (isinstance(annotation, type) and issubclass(annotation, Struct)):
        return Column(name, "json", nullable, msgspec.json.Decoder(annotation))
    raise TypeError(
        f"{kind.__name__}.{name}: {annotation} is no kind of column; {sorted(t.__name__ for t in SQL_TYPES)} are"
    )


# --- generations -------------------------------------------------------------------------------------


class Generation(NamedTuple):
    """One set of a projection's tables, and what it was built with."""

    name: str
    number: int
    version: int
    shape: str

    @property
    def consumer(self) -> str:
        """Whose checkpoints and parked streams these tables have: their own, so that switching tables switches both."""
        return f"{self.name}@{self.number}"

    def fits(self, projection: Projection) -> bool:
        """Whether the tables are what this release's fold makes."""
        return (self.version, self.shape) == (projection.version, shape_of(projection))


_BOOKS = """
    CREATE TABLE IF NOT EXISTS projection_generation (
        name       text,
        generation int,
        version    int NOT NULL,
        shape      text NOT NULL,
        tables     text[] NOT NULL,
        filled     boolean NOT NULL,
        PRIMARY KEY (name, generation)
    )
"""
_LIVE = "SELECT name, generation, version, shape FROM projection WHERE name = $1"


async def ensure(database: Database, projections: Iterable[Projection]) -> list[Projection]:
    """Create what is missing, and say which projections must be rebuilt before their fold can go on.

    A projection whose version or shape changed keeps its old tables, readable, until the rebuild switches.
    """
    stale = []
    projections = list(projections)
    if odd := [projection.name for projection in projections if "@" in projection.name]:
        raise ValueError(f"{odd}: an @ parts a projection from its generation, so no name has one")
    async with database.transaction() as connection:
        # One at a time: two processes of a service may start together.
        await connection.execute("LOCK TABLE projection IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(_BOOKS)
        for projection in projections:
            generation = await live_generation(connection, projection.name)
            if generation is None:
                generation = Generation(projection.name, 1, projection.version, shape_of(projection))
                await create_generation(connection, projection, generation, filled=True)
                await index_generation(connection, projection, generation)
                await show_generation(connection, generation)
            elif not generation.fits(projection):
                stale.append(projection)
    return stale


async def live_generation(connection: "Connection | Database", name: str) -> Generation | None:
    row = await connection.fetchrow(_LIVE, name)
    return None if row is None else Generation(*row)


async def create_generation(
    connection: Connection, projection: Projection, generation: Generation, *, filled: bool
) -> None:
    """Its tables, bare, and its line in the books."""
    tables = []
    for table in tables_of(projection):
        tables.append(table.live(generation.number))
        if table.history:
            tables.append(table.past(generation.number))
        for statement in table.create(table.live(generation.number), table.past(generation.number)):
            await connection.execute(statement)
    await connection.execute(
        """INSERT INTO projection_generation (name, generation, version, shape, tables, filled)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        generation.name,
        generation.number,
        generation.version,
        generation.shape,
        tables,
        filled,
    )


def index_statements(projection: Projection, generation: Generation) -> list[list[str]]:
    """Its keys and indexes: those of different tables can be made at once."""
    return [statements for table in tables_of(projection) for statements in table.index(generation.number)]


async def index_generation(connection: Connection, projection: Projection, generation: Generation) -> None:
    for statements in index_statements(projection, generation):
        for statement in statements:
            await connection.execute(statement)


async def show_generation(connection: Connection, generation: Generation) -> None:
    """Make it the live one: readers see it from the commit on. Call it inside a transaction."""
    await connection.execute(
        """INSERT INTO projection (name, generation, version, shape) VALUES ($1, $2, $3, $4)
           ON CONFLICT (name) DO UPDATE
               SET generation = excluded.generation, version = excluded.version, shape = excluded.shape""",
        *generation,
    )
    physical = await connection.fetch(
        "SELECT generation, unnest(tables) AS name FROM projection_generation WHERE name = $1", generation.name
    )
    shown = {_view_of(row["name"], row["generation"]): row["name"] for row in physical}
    live = {row["name"] for row in physical if row["generation"] == generation.number}
    for view in shown:
        await connection.execute(f"DROP VIEW IF EXISTS {quoted(view)}")
    for name in sorted(live):
        view = _view_of(name, generation.number)
        await connection.execute(f"CREATE VIEW {quoted(view)} AS SELECT * FROM {quoted(name)}")


async def drop_generation(connection: Connection, name: str, number: int) -> None:
    """The tables of a generation that is not live, its checkpoints and what it had parked."""
    tables = await connection.fetchval(
        "DELETE FROM projection_generation WHERE name = $1 AND generation = $2 RETURNING tables", name, number
    )
    for table in tables or ():
        await connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
    consumer = f"{name}@{number}"
    await connection.execute("DELETE FROM checkpoint WHERE consumer = $1", consumer)
    await connection.execute("DELETE FROM parked WHERE consumer = $1", consumer)


def _view_of(table: str, generation: int) -> str:
    return table.removesuffix("_history").removesuffix(f"_g{generation}") + (
        "_history" if table.endswith("_history") else ""
    )


# --- digests -----------------------------------------------------------------------------------------


class Digest(NamedTuple):
    """How many rows, and 128 bits that every one of them changes whatever their order."""

    rows: int
    digest: str


async def digest_of(connection: Connection, table: str) -> Digest:
    """Digest a table inside PostgreSQL. Sums are commutative, so neither order nor memory matters."""
    row = await connection.fetchrow(
        f"""SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 1)), 0) AS first,
                   coalesce(sum(hashtextextended(t::text, 2)), 0) AS second
              FROM {quoted(table)} t"""
    )
    assert row is not None, "an aggregate always answers"
    return Digest(row["rows"], f"{int(row['first']) % 2**64:016x}{int(row['second']) % 2**64:016x}")


def copy_columns(table: Table) -> tuple[Sequence[str], Sequence[str]]:
    """The columns of a live table and of its history, in the order in which they are filled."""
    own = [column.name for column in table.columns]
    return [*own, *(name for name, _ in LAST)], [*own, *(name for name, _ in STAMPS)]
