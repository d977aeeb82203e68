"""Rows in PostgreSQL's binary COPY format, made a column at a time.

The driver looks at every value by itself, and takes decimals and moments apart in Python: that cost more than
reading, decoding and folding together. A column of one type is encoded by loops inside the interpreter instead,
and what comes again and again (numbers, kinds of events, people) only once.
"""

import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, repeat
from operator import attrgetter, floordiv, sub
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import astuple

from okr_eventstore.folding import Stamp
from okr_eventstore.projection import Row
from okr_eventstore.tables import JSON_ENCODER, LAST, STAMPS, Table

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL counts microseconds and days from here."""
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_ENDS_OF_TIME = {date.min: -(2**31), date.max: 2**31 - 1}
"""Which the driver writes as infinite."""
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = 4
"""A numeric's digit holds as many decimal ones."""
_REMEMBERED = 20_000
_REMEMBERED_CHARACTERS = 64

_size = struct.Struct(">i").pack
_of_columns = struct.Struct(">h").pack

Fields = Iterable[bytes]
"""A field of each row, or several side by side, each behind its length."""


async def copied(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    """What a COPY takes: rows in as many parts as they were encoded in."""
    yield _HEADER
    for part in parts:
        yield part
    yield _TRAILER


def live_rows(table: Table, rows: Sequence[tuple[Row, Stamp]]) -> bytes:
    """Rows as their table has them: their columns, then those of LAST."""
    return _encoded(table, rows, map(_LAST_OF, (stamp for _, stamp in rows)), LAST)


def past_rows(table: Table, versions: Sequence[tuple[Row, Stamp]]) -> bytes:
    """Versions as their history has them: the row's columns, then those of STAMPS."""
    return _encoded(table, versions, map(astuple, (stamp for _, stamp in versions)), STAMPS)


_LAST_OF = attrgetter(*(name.removeprefix("_") for name, _ in LAST))


def _encoded(
    table: Table,
    rows: Sequence[tuple[Row, Stamp]],
    stamps: Iterable[tuple[Any, ...]],
    stamp_types: Sequence[tuple[str, str]],
) -> bytes:
    types = [*(column.sql_type for column in table.columns), *(sql_type for _, sql_type in stamp_types)]
    columns = chain(zip(*map(astuple, (row for row, _ in rows)), strict=True), zip(*stamps, strict=True))
    lines = zip(repeat(_of_columns(len(types)), len(rows)), *_fields(types, columns), strict=True)
    return b"".join(chain.from_iterable(lines))


def _fields(types: Iterable[str], columns: Iterable[Sequence[Any]]) -> Iterator[Fields]:
    """What stands side by side, is always there and has always the same size is packed at once."""
    packing, packed = ">", list[Iterable[Any]]()
    for sql_type, column in zip(types, columns, strict=True):
        present = [value for value in column if value is not None]
        fixed = _FIXED.get(sql_type)
        if fixed is not None and len(present) == len(column):
            packing += fixed.packing
            packed += [repeat(fixed.size), fixed.plain(present)]
            continue
        if packed:
            yield map(struct.Struct(packing).pack, *packed)
            packing, packed = ">", []
        fields = (
            _SIZED[sql_type](present)
            if fixed is None
            else map(struct.Struct(f">{fixed.packing}").pack, repeat(fixed.size), fixed.plain(present))
        )
        if len(present) == len(column):
            yield fields
        else:
            there = iter(fields)
            yield [_NULL if value is None else next(there) for value in column]
    if packed:
        yield map(struct.Struct(packing).pack, *packed)


# --- what has always the same size -------------------------------------------------------------------


class _Fixed(NamedTuple):
    """How a type is packed behind its length, and what struct takes for its values."""

    packing: str
    size: int
    plain: Callable[[Sequence[Any]], Iterable[Any]]


def _as_they_are(values: Sequence[Any]) -> Sequence[Any]:
    return values


def _bytes(ids: Sequence[UUID]) -> Iterable[bytes]:
    to_bytes: Callable[..., bytes] = int.to_bytes
    return map(to_bytes, map(attrgetter("int"), ids), repeat(16), repeat("big"))


def _microseconds(moments: Sequence[datetime]) -> Iterable[int]:
    if not all(map(attrgetter("tzinfo"), moments)):
        moments = [moment.astimezone(UTC) for moment in moments]  # as the driver takes them
    return map(floordiv, map(sub, moments, repeat(_EPOCH)), repeat(_MICROSECOND))


def _days(days: Sequence[date]) -> Iterable[int]:
    return [_ENDS_OF_TIME.get(day) or day.toordinal() - _EPOCH_DAY for day in days]


_FIXED = {
    "uuid": _Fixed("i16s", 16, _bytes),
    "boolean": _Fixed("i?", 1, _as_they_are),
    "smallint": _Fixed("ih", 2, _as_they_are),
    "bigint": _Fixed("iq", 8, _as_they_are),
    "date": _Fixed("ii", 4, _days),
    "timestamptz": _Fixed("iq", 8, _microseconds),
}

# --- what has a size of its own ----------------------------------------------------------------------


def _sized(field: bytes) -> bytes:
    return _size(len(field)) + field


class _Texts(dict[str, bytes]):
    """Short texts, encoded once."""

    def __missing__(self, text: str) -> bytes:
        field = _sized(text.encode())
        if len(text) <= _REMEMBERED_CHARACTERS:
            _remember(self, text, field)
        return field


class _Numbers(dict[str, bytes]):
    """Decimals by their text, which alone tells 0.7 from 0.70: PostgreSQL keeps the difference."""

    def __missing__(self, text: str) -> bytes:
        return _remember(self, text, _sized(_numeric(Decimal(text))))


def _remember(memory: dict[str, bytes], text: str, field: bytes) -> bytes:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[text] = field
    return field


def _numeric(value: Decimal) -> bytes:
    """As numeric_send does: digits to the base of 10,000, the weight of the first, the sign, how many places show."""
    negative, _, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return struct.Struct(">hhHh").pack(0, 0, _SPECIAL[exponent, negative], 0)
    whole, _, places = f"{value.copy_abs():f}".partition(".")
    whole = whole.lstrip("0")
    shown = len(places)
    whole = whole.zfill(-(-len(whole) // _DIGITS) * _DIGITS)
    places = places.ljust(-(-shown // _DIGITS) * _DIGITS, "0")
    written = whole + places
    groups = [int(written[at : at + _DIGITS]) for at in range(0, len(written), _DIGITS)]
    weight = len(whole) // _DIGITS - 1
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    sign = 0x4000 if negative and groups else 0
    return struct.Struct(f">hhHh{len(groups)}h").pack(len(groups), weight if groups else 0, sign, shown, *groups)


_SPECIAL = {("n", 0): 0xC000, ("n", 1): 0xC000, ("F", 0): 0xD000, ("F", 1): 0xF000}
"""Not a number, and the two infinities."""
_TEXTS, _NUMBERS = _Texts(), _Numbers()

_SIZED: dict[str, Callable[[Sequence[Any]], Fields]] = {
    "text": lambda texts: map(_TEXTS.__getitem__, texts),
    "numeric": lambda numbers: map(_NUMBERS.__getitem__, map(str, numbers)),
    "json": lambda values: map(_sized, map(JSON_ENCODER.encode, values)),
}
