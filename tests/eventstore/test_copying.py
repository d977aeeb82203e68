"""Rows copied by our own encoder are, to the letter, those that the driver would have written."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct
from msgspec.structs import astuple

from okr_eventstore.copying import copied, live_rows, past_rows
from okr_eventstore.database import Connection, Database
from okr_eventstore.folding import Stamp
from okr_eventstore.projection import Row
from okr_eventstore.tables import copy_columns, table_of
from tests.eventstore.garden import GARDEN, MOMENT


class Label(Struct, frozen=True):
    words: str
    weight: Decimal


class Everything(Row, frozen=True):
    """A column of every kind, each of which may be empty."""

    __table__ = "everything"
    __key__ = ("organization_id", "number")

    organization_id: UUID
    number: int
    words: str | None = None
    flag: bool | None = None
    amount: Decimal | None = None
    day: date | None = None
    moment: datetime | None = None
    other_id: UUID | None = None
    labels: tuple[Label, ...] | None = None


TABLE = table_of(Everything)
NUMBERS = (
    "0", "0.00", "-0.0", "0.7", "0.70", "-0.0001", "0.00012", "1", "-12", "9999", "10000", "10000.5",
    "123456789.000100", "100000000", "1E+3", "1.5E+9", "1E-9", "-98765432109876543210.0123456789",
    "NaN", "Infinity", "-Infinity",
)  # fmt: skip
WORDS = ("", "plain", "a\ttab, a\nline and a \\", '"quoted"', "ünïcödé ✓", "null", "\\N", "x" * 5000)
MOMENTS = (
    MOMENT,
    datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=MOMENT.tzinfo),
    datetime(1, 1, 2, tzinfo=MOMENT.tzinfo),
    datetime(9999, 12, 30, tzinfo=MOMENT.tzinfo),
    datetime(2026, 3, 29, 3, 30, tzinfo=timezone(timedelta(hours=2))),
)
DAYS = (date(2000, 1, 1), date(1999, 12, 31), date(1, 1, 2), date.min, date.max)


def rows() -> list[Row]:
    """Each value once in its column, beside empty ones."""
    columns: list[Sequence[dict[str, Any]]] = [
        [{"words": words} for words in WORDS],
        [{"flag": flag} for flag in (True, False)],
        [{"amount": Decimal(number)} for number in NUMBERS],
        [{"day": day} for day in DAYS],
        [{"moment": moment} for moment in MOMENTS],
        [{"other_id": GARDEN}],
        [{"labels": ()}, {"labels": (Label('a "word"\n', Decimal("0.70")), Label("✓", Decimal(2)))}],
        [{}],
    ]
    values = [value for column in columns for value in column]
    return [Everything(GARDEN, (-1) ** number * 2 ** (number * 2 % 62), **value) for number, value in enumerate(values)]


def stamped(rows: Sequence[Row]) -> list[tuple[Row, Stamp]]:
    stamps = (Stamp(n, 255, MOMENT, MOMENTS[n % 5], WORDS[n % 3], "person:ana", n + 1) for n in range(len(rows)))
    return list(zip(rows, stamps, strict=True))


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.transaction() as connection:
        for live, past in (("ours", "ours_past"), ("theirs", "theirs_past")):
            for statement in TABLE.create(live, past):
                await connection.execute(statement)
        yield connection


async def stored(connection: Connection, table: str) -> list[str]:
    return [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY number")]


async def copy(connection: Connection, table: str, columns: Sequence[str], *parts: bytes) -> None:
    await connection.copy_to_table(table, source=copied(parts), columns=columns, format="binary")


async def test_rows_are_copied_as_the_driver_would_write_them(connection: Connection) -> None:
    live, past = copy_columns(TABLE)
    versions = stamped(rows())
    last = [(*TABLE.values(row), stamp.position, stamp.recorded_at, stamp.stream_version) for row, stamp in versions]
    all_of_them = [(*TABLE.values(row), *astuple(stamp)) for row, stamp in versions]
    await connection.copy_records_to_table("theirs", records=last, columns=live)
    await connection.copy_records_to_table("theirs_past", records=all_of_them, columns=past)

    await copy(connection, "ours", live, live_rows(TABLE, versions))
    await copy(connection, "ours_past", past, past_rows(TABLE, versions[:9]), past_rows(TABLE, versions[9:]))

    assert await stored(connection, "ours") == await stored(connection, "theirs")
    assert await stored(connection, "ours_past") == await stored(connection, "theirs_past")
    assert len(await stored(connection, "ours")) == len(versions)


async def test_numbers_that_are_equal_keep_the_places_they_were_written_with(connection: Connection) -> None:
    written = ("0.7", "0.70", "0.700", "7E-1")
    versions = stamped([Everything(GARDEN, n, amount=Decimal(text)) for n, text in enumerate(written)])
    await copy(connection, "ours", copy_columns(TABLE)[0], live_rows(TABLE, versions))
    amounts = await connection.fetch("SELECT amount::text FROM ours ORDER BY number")
    assert [row["amount"] for row in amounts] == ["0.7", "0.70", "0.700", "0.7"]


async def test_a_text_that_postgresql_cannot_hold_is_refused_as_data(connection: Connection) -> None:
    data = live_rows(TABLE, stamped([Everything(GARDEN, 1, words="a\0b")]))
    with pytest.raises(asyncpg.DataError):
        await copy(connection, "ours", copy_columns(TABLE)[0], data)
