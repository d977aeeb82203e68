"""From protobuf messages to typed commands and back. Every fault of a request is found at once."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from pydantic import BaseModel, TypeAdapter, ValidationError

from okr.common.v1 import common_pb2
from okr_chassis.rpc.fields import Id, uuid_in
from okr_chassis.rpc.violations import violations_of
from okr_contracts.errors import InvalidInputError, Violation
from okr_eventstore.model import Done, Position

LONGEST_MIN_POSITIONS = 16
"""A read may wait for at most so many positions."""

Model = TypeVar("Model", bound=BaseModel)
EnumValue = TypeVar("EnumValue", bound=int)

_ETAG = re.compile(r'"([0-9]{1,18})"')
_ids: TypeAdapter[UUID] = TypeAdapter(Id)


class EnumType(Protocol[EnumValue]):
    """What protoc generates for an enum, as far as it matters here."""

    def Name(self, number: EnumValue, /) -> str: ...

    def Value(self, name: str, /) -> EnumValue: ...


def accept(model: type[Model], request: Message, **known: Any) -> Model:
    """The command a request stands for. Raises InvalidInputError with all that is wrong with the request.

    Fields are taken from the message by name; `known` adds what does not come from it (`at`), and wins.
    Enums arrive as the text in their name (`KEY_RESULT_TYPE_INCREASE` → "increase", UNSPECIFIED → None),
    sub-messages that are not set as None. What all requests share (request_id, etag, page,
    min_positions) is checked as well, whether the model wants it or not.
    """
    violations = _common_violations(request)
    try:
        accepted = model.model_validate(_content(model, request) | known, from_attributes=True)
    except ValidationError as error:
        found = violations_of(error)
        named = {each.field for each in found}
        raise InvalidInputError([*(each for each in violations if each.field not in named), *found]) from error
    if violations:
        raise InvalidInputError(violations)
    return accepted


def check(request: Message) -> None:
    """Refuse what is wrong with the fields all requests share; for reads that need no model."""
    violations = _common_violations(request)
    if violations:
        raise InvalidInputError(violations)


def id_of(request: Message, field: str) -> UUID:
    """The UUID in one field, when that is all there is to accept."""
    violations = _common_violations(request)
    value = getattr(request, field)
    found = uuid_in(value)
    if found is not None and not violations:
        return found
    try:
        found = _ids.validate_python(value)
    except ValidationError as error:
        violations += [Violation(field, each.message, each.reason) for each in violations_of(error)]
    if violations or found is None:
        raise InvalidInputError(violations)
    return found


def _common_violations(request: Message) -> list[Violation]:
    violations: list[Violation] = []
    for field, faults_in in _common_checks(request.DESCRIPTOR):
        violations += faults_in(field, getattr(request, field))
    return violations


Check: TypeAlias = Callable[[str, Any], Sequence[Violation]]


@cache
def _common_checks(descriptor: Any) -> tuple[tuple[str, Check], ...]:
    """Those of the shared fields that a message has. Asked of every request, and the same for all of a kind."""
    checks: dict[str, Check] = {
        "request_id": _request_id_faults,
        "etag": lambda _, value: _faults_of(expected_version, value),
        "page": _page_faults,
        "min_positions": lambda _, value: _faults_of(positions, value),
    }
    return tuple((field, check) for field, check in checks.items() if field in descriptor.fields_by_name)


def _request_id_faults(field: str, value: str) -> Sequence[Violation]:
    if uuid_in(value) is not None:
        return ()
    try:
        _ids.validate_python(value)
    except ValidationError as error:
        return [Violation(field, each.message, each.reason) for each in violations_of(error)]
    return ()


def _page_faults(field: str, value: Any) -> Sequence[Violation]:
    return [Violation(f"{field}.size", "must not be negative", "PAGE_SIZE_NEGATIVE")] if value.size < 0 else ()


def _faults_of(read: Callable[[Any], Any], value: Any) -> Sequence[Violation]:
    try:
        read(value)
    except InvalidInputError as error:
        return error.violations
    return ()


def _content(model: type[BaseModel], message: Message) -> dict[str, Any]:
    """The fields of a message that a model asks for, as pydantic likes to see them."""
    fields = _Fields(message)
    return {
        name: getattr(message, name) if plain else getattr(fields, name)
        for name, plain in _wanted(model, message.DESCRIPTOR)
    }


@cache
def _wanted(model: type[BaseModel], descriptor: Any) -> tuple[tuple[str, bool], ...]:
    """The fields that a model and a message share, and which of them are plain values."""
    described = descriptor.fields_by_name
    return tuple((name, _is_plain(described[name])) for name in model.model_fields if name in described)


def _is_plain(field: Any) -> bool:
    return not (field.is_repeated or field.has_presence or field.enum_type or field.message_type)


class _Fields:
    """A message as pydantic likes to see it: attributes, with lists, None and enum texts in their places."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        field = self._message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise AttributeError(name)
        value = getattr(self._message, name)
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                return dict(value)
            return [_value(field, each) for each in value]
        if field.has_presence and not self._message.HasField(name):
            return None
        return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    """`field` is a descriptor; the two implementations of protobuf have a class each."""
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        if named is None:
            return value  # an enum of a newer release: no model takes a number for a word
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return named.name.removeprefix(prefix).lower() if named.number else None
    if field.message_type is not None:
        return _Fields(value)
    return value


def enum_text(kind: EnumType[EnumValue], value: EnumValue, prefix: str) -> str | None:
    """An enum's value as the word events use: `enum_text(pb.UnitKind, kind, "UNIT_KIND_")` → "team"; None for none."""
    try:
        word = kind.Name(value).removeprefix(prefix)
    except ValueError:
        field = prefix.rstrip("_").lower()
        raise InvalidInputError([Violation(field, f"{int(value)} is not a value of it", "ENUM")]) from None
    return None if word == "UNSPECIFIED" else word.lower()


def enum_value(kind: EnumType[EnumValue], word: str | None, prefix: str) -> EnumValue:
    """The enum's value for a word of ours, UNSPECIFIED for None."""
    return kind.Value(prefix + (word or "UNSPECIFIED").upper())


def wire(value: Decimal | datetime | date | UUID | None) -> str:
    """How a value is written in messages: plain decimals, RFC 3339 in UTC, ISO days; empty for None."""
    match value:
        case None:
            return ""
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case UUID():
            return str(value)


def receipt(done: Done) -> common_pb2.Receipt:
    """What every command answers."""
    return common_pb2.Receipt(version=done.version, position=done.token)


def etag(version: int) -> str:
    """A stream's version as an etag (AIP-154)."""
    return f'"{version}"'


def expected_version(etag_text: str) -> int | None:
    """The version an etag demands; None when there is no etag. Raises InvalidInputError."""
    if not etag_text:
        return None
    found = _ETAG.fullmatch(etag_text)
    if found is None:
        raise InvalidInputError([Violation("etag", 'must be an etag as it was read, such as "4"', "ETAG_MALFORMED")])
    return int(found[1])


def positions(tokens: Sequence[str], field: str = "min_positions") -> list[Position]:
    """The positions a read is to wait for. Raises InvalidInputError naming each malformed one."""
    if len(tokens) > LONGEST_MIN_POSITIONS:
        message = f"must hold at most {LONGEST_MIN_POSITIONS} positions, holds {len(tokens)}"
        raise InvalidInputError([Violation(field, message, "TOO_MANY")])
    found, violations = [], []
    for index, token in enumerate(tokens):
        try:
            found.append(Position.parse(token))
        except ValueError:
            message = "must be a position as a receipt shows it, service:shard:epoch:position"
            violations.append(Violation(f"{field}.{index}", message, "POSITION_MALFORMED"))
    if violations:
        raise InvalidInputError(violations)
    return found
