"""Rows in PostgreSQL's binary COPY format, made a column at a time.

The driver looks at every value by itself, and takes decimals and moments apart in Python: that cost more than
reading, decoding and folding together. A column of one type is encoded by loops inside the interpreter instead,
and what comes again and again (numbers, kinds of events, people) only once.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, repeat
from operator import add, attrgetter, floordiv, sub
from struct import Struct
from typing import Any

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

_TO_BYTES: Callable[..., bytes] = int.to_bytes
_size = Struct(">i").pack
_smallint = Struct(">ih").pack
_day = Struct(">ii").pack
_bigint = Struct(">iq").pack
_of_columns = Struct(">h").pack

Fields = Iterable[bytes]
"""A column's values, each behind its length."""


def live_rows(table: Table, rows: Sequence[tuple[Row, Stamp]]) -> bytes:
    """Rows as a COPY into their table takes them: their columns, then those of LAST."""
    return _copied(table, rows, map(_LAST_OF, (stamp for _, stamp in rows)), LAST)


def past_rows(table: Table, versions: Sequence[tuple[Row, Stamp]]) -> bytes:
    """Versions as a COPY into their history takes them: the row's columns, then those of STAMPS."""
    return _copied(table, versions, map(astuple, (stamp for _, stamp in versions)), STAMPS)


_LAST_OF = attrgetter(*(name.removeprefix("_") for name, _ in LAST))


def _copied(
    table: Table,
    rows: Sequence[tuple[Row, Stamp]],
    stamps: Iterable[tuple[Any, ...]],
    stamp_types: Sequence[tuple[str, str]],
) -> bytes:
    types = [*(column.sql_type for column in table.columns), *(sql_type for _, sql_type in stamp_types)]
    columns = chain(zip(*map(astuple, (row for row, _ in rows)), strict=True), zip(*stamps, strict=True))
    fields = [_fields(sql_type, column) for sql_type, column in zip(types, columns, strict=True)]
    lines = zip(repeat(_of_columns(len(types)), len(rows)), *fields, strict=True)
    return b"".join(chain((_HEADER,), chain.from_iterable(lines), (_TRAILER,)))


def _fields(sql_type: str, column: Sequence[Any]) -> Fields:
    encode = _ENCODERS[sql_type]
    present = [value for value in column if value is not None]
    if len(present) == len(column):
        return encode(present)
    encoded = iter(encode(present))
    return [_NULL if value is None else next(encoded) for value in column]


def _uuids(values: Sequence[Any]) -> Fields:
    return map(add, repeat(_size(16)), map(_TO_BYTES, map(attrgetter("int"), values), repeat(16), repeat("big")))


def _moments(values: Sequence[Any]) -> Fields:
    if not all(map(attrgetter("tzinfo"), values)):
        values = [value.astimezone(UTC) for value in values]  # as the driver takes them
    return map(_bigint, repeat(8), map(floordiv, map(sub, values, repeat(_EPOCH)), repeat(_MICROSECOND)))


def _days(values: Sequence[Any]) -> Fields:
    return [_day(4, _ENDS_OF_TIME.get(value) or value.toordinal() - _EPOCH_DAY) for value in values]


def _json(values: Sequence[Any]) -> Fields:
    return map(_sized, map(JSON_ENCODER.encode, values))


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
        return Struct(">hhHh").pack(0, 0, _SPECIAL[exponent, negative], 0)
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
    return Struct(f">hhHh{len(groups)}h").pack(len(groups), weight if groups else 0, sign, shown, *groups)


_SPECIAL = {("n", 0): 0xC000, ("n", 1): 0xC000, ("F", 0): 0xD000, ("F", 1): 0xF000}
"""Not a number, and the two infinities."""
_TEXTS, _NUMBERS = _Texts(), _Numbers()
_TRUTH = {False: _size(1) + b"\0", True: _size(1) + b"\1"}

_ENCODERS: dict[str, Callable[[Sequence[Any]], Fields]] = {
    "uuid": _uuids,
    "text": lambda values: map(_TEXTS.__getitem__, values),
    "boolean": lambda values: map(_TRUTH.__getitem__, values),
    "smallint": lambda values: map(_smallint, repeat(2), values),
    "bigint": lambda values: map(_bigint, repeat(8), values),
    "numeric": lambda values: map(_NUMBERS.__getitem__, map(str, values)),
    "date": _days,
    "timestamptz": _moments,
    "json": _json,
}
