"""The kinds of fields that requests consist of, each with its limits named: text in, typed value or violation out.

They take what arrives over gRPC as well as what comes out of JSON and CSV. The `Optional…` variants
read an empty text as absent (None); the others say that it is required.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

NAME_LENGTH = 200
TITLE_LENGTH = 300
TEXT_LENGTH = 2_000
NOTE_LENGTH = 10_000
"""Characters, after surrounding white space was taken away."""

NUMBER_DIGITS = 20
NUMBER_PLACES = 10
"""A number is below 10^20 and has at most 20 digits, 10 of them after the point: numeric(38, 10) holds all."""

KEPT_IDS = 8192
KEPT_NUMBERS = 8192
"""How many texts are remembered with what they mean."""

EARLIEST_YEAR = 1900
LATEST_YEAR = 2199
"""Days and moments outside are typing errors; the bounds keep calendar arithmetic far from overflow."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_NUMBER_TEXT_LENGTH = 64
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_ID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

_required = PydanticCustomError("required", "is required")


def invalid(field: str, message: str, reason: str = "INVALID") -> PydanticCustomError:
    """What a model's own validator raises about one of its fields: `raise invalid("ends_on", "lies before …")`."""
    return PydanticCustomError(reason.lower(), "{message}", {"field": field, "message": message})


def text(max_length: int, *, required: bool = True) -> BeforeValidator:
    """Text up to a length: `title: Annotated[str, text(80)]`. Surrounding white space is taken away."""
    return BeforeValidator(lambda value: _text(value, max_length, required))


def optional_text(max_length: int) -> BeforeValidator:
    """Text that may be missing: `title: Annotated[str | None, optional_text(80)] = None`."""
    return BeforeValidator(lambda value: _text(value, max_length, False) or None if value is not None else None)


def _text(value: Any, max_length: int, required: bool) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("text_expected", "must be text")
    if "\x00" in value:
        raise PydanticCustomError("text_with_nul", "must not contain the character NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("text_not_unicode", "must not contain lone surrogates") from None
    stripped = value.strip()
    if required and not stripped:
        raise _required
    if len(stripped) > max_length:
        raise PydanticCustomError(
            "text_too_long",
            "must have at most {max_length} characters, has {length}",
            {"max_length": max_length, "length": len(stripped)},
        )
    return stripped


@lru_cache(maxsize=KEPT_IDS)
def uuid_in(value: str) -> UUID | None:
    """The UUID a text is, in its usual form alone; the other spellings Python knows would let one id have several
    texts. One call reads the same id several times over, hence the memory."""
    return UUID(value) if _ID.fullmatch(value) else None


def _id(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if value in ("", None):
        raise _required
    found = uuid_in(value) if isinstance(value, str) else None
    if found is not None:
        return found
    raise PydanticCustomError("uuid_expected", "must be a UUID such as 0190a7c4-3d5e-7b2a-9c1f-5a8e6d4b2f10")


def _number(value: Any) -> Decimal:
    return _number_in(value) if isinstance(value, str) else _checked_number(value)


@lru_cache(maxsize=KEPT_NUMBERS)
def _number_in(value: str) -> Decimal:
    """Many people say the same few numbers, confidences above all. What is refused is not remembered."""
    return _checked_number(value)


def _checked_number(value: Any) -> Decimal:
    if isinstance(value, str):
        if not value.strip():
            raise _required
        if len(value) > _NUMBER_TEXT_LENGTH or not _NUMBER.fullmatch(value.strip()):
            raise PydanticCustomError("number_expected", "must be a decimal number such as -12.50")
        value = Decimal(value.strip())
    elif isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    elif value is None:
        raise _required
    if not isinstance(value, Decimal) or not value.is_finite():
        raise PydanticCustomError("number_expected", "must be a decimal number such as -12.50")
    _, digits, exponent = value.as_tuple()
    places = max(0, -int(exponent))
    if not value:
        return Decimal(0)  # whatever its sign and places
    if value.adjusted() >= NUMBER_DIGITS or places > NUMBER_PLACES or len(digits) > NUMBER_DIGITS:
        raise PydanticCustomError(
            "number_out_of_range",
            "must have at most {digits} digits, {places} of them after the point",
            {"digits": NUMBER_DIGITS, "places": NUMBER_PLACES},
        )
    return Decimal(format(value, "f"))


def _confidence(value: Any) -> Decimal:
    number = _number(value)
    if not 0 <= number <= 1:
        raise PydanticCustomError("confidence_out_of_range", "must lie between 0.0 and 1.0")
    return number


def _moment(value: Any) -> datetime:
    if value in ("", None):
        raise _required
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    if isinstance(value, datetime) and value.tzinfo is not None and _in_calendar(value):
        return value.astimezone(UTC)
    raise PydanticCustomError(
        "moment_expected",
        "must be a moment with its offset, such as 2026-03-31T17:00:00Z, between the years {first} and {last}",
        {"first": EARLIEST_YEAR, "last": LATEST_YEAR},
    )


def _day(value: Any) -> date:
    if value in ("", None):
        raise _required
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, date) and not isinstance(value, datetime) and _in_calendar(value):
        return value
    raise PydanticCustomError(
        "day_expected",
        "must be a day such as 2026-03-31, between the years {first} and {last}",
        {"first": EARLIEST_YEAR, "last": LATEST_YEAR},
    )


def _in_calendar(value: date) -> bool:
    return EARLIEST_YEAR <= value.year <= LATEST_YEAR


def _optional(read: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(
        lambda value: None if value is None or (isinstance(value, str) and not value.strip()) else read(value)
    )


Id = Annotated[UUID, BeforeValidator(_id)]
OptionalId = Annotated[UUID | None, _optional(_id)]
Name = Annotated[str, text(NAME_LENGTH)]
OptionalName = Annotated[str | None, optional_text(NAME_LENGTH)]
Title = Annotated[str, text(TITLE_LENGTH)]
OptionalTitle = Annotated[str | None, optional_text(TITLE_LENGTH)]
Text = Annotated[str, text(TEXT_LENGTH)]
OptionalText = Annotated[str | None, optional_text(TEXT_LENGTH)]
Note = Annotated[str, text(NOTE_LENGTH, required=False)]
"""Free text that may be empty, and stays empty rather than absent."""
OptionalNote = Annotated[str | None, optional_text(NOTE_LENGTH)]
Number = Annotated[Decimal, BeforeValidator(_number)]
OptionalNumber = Annotated[Decimal | None, _optional(_number)]
Confidence = Annotated[Decimal, BeforeValidator(_confidence)]
OptionalConfidence = Annotated[Decimal | None, _optional(_confidence)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
OptionalMoment = Annotated[datetime | None, _optional(_moment)]
Day = Annotated[date, BeforeValidator(_day)]
OptionalDay = Annotated[date | None, _optional(_day)]
