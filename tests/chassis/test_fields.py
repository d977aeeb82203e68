"""Fields of requests: what is taken, what is refused, and that nothing ever breaks."""

import string
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from okr.common.v1 import common_pb2
from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2 as pb
from okr_chassis.rpc import fields
from okr_chassis.rpc.messages import accept, check, enum_text, enum_value, etag, expected_version, id_of, receipt, wire
from okr_contracts.errors import InvalidInputError
from okr_contracts.goals import ChampionRole, KeyResultType
from okr_eventstore.model import Done, Position


def read(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(kind, value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("12.50", "12.50"),
        (" 7 ", "7"),
        ("+.5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1E-10", "0.0000000001"),
        ("99999999999999999999", "99999999999999999999"),
        ("-1234567890.0123456789", "-1234567890.0123456789"),
    ],
)
def test_numbers_are_plain_decimals(text: str, number: str) -> None:
    found = read(fields.Number, text)
    assert wire(found) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "NaN", "sNaN", "Infinity", "-inf", "1e999999999", "1e99", "1e20", "1e-11", "9" * 21, "9" * 10_000),
        *("1,5", "1_000", "0x10", "١٢", "½", "--1", "1e", "e1", ".", "1 2", "\x001", "1\x00", "1e+1e1"),
        *(0.1, True, float("nan"), [], {}, None, b"1"),
    ],
)
def test_what_is_no_number_within_the_bounds_is_refused(text: Any) -> None:
    refused(fields.Number, text)


@given(st.text(alphabet=string.digits + "+-.eE_ infNa", max_size=40))
def test_any_number_taken_fits_the_bounds_and_reads_back(text: str) -> None:
    try:
        found = read(fields.Number, text)
    except ValidationError:
        return
    assert found.is_finite()
    assert abs(found) < 10**fields.NUMBER_DIGITS
    assert -found.as_tuple().exponent <= fields.NUMBER_PLACES
    assert read(fields.Number, wire(found)) == found


@pytest.mark.parametrize("text", ["0", "1", "0.5", "1.0", "1e0"])
def test_confidences_lie_between_0_and_1(text: str) -> None:
    assert 0 <= read(fields.Confidence, text) <= 1


@pytest.mark.parametrize("text", ["-0.1", "1.0000000001", "2", "50%", "NaN", ""])
def test_other_confidences_are_refused(text: str) -> None:
    refused(fields.Confidence, text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-31T17:00:00Z", datetime(2026, 3, 31, 17, tzinfo=UTC)),
        ("2026-03-31t19:00:00.5+02:00", datetime(2026, 3, 31, 17, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-03-31T17:00:00.123456789z", datetime(2026, 3, 31, 17, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_moments_are_read_into_utc(text: str, moment: datetime) -> None:
    found = read(fields.Moment, text)
    assert found == moment
    assert found.tzinfo is UTC
    assert read(fields.Moment, wire(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-03-31", "2026-03-31T17:00:00", "2026-03-31 17:00:00Z", "2026-02-30T00:00:00Z", "now", "1774976400"),
        *("2026-03-31T24:00:01Z", "2026-03-31T17:00:60Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
        *("10000-01-01T00:00:00Z", "2026-03-31T17:00:00+99:00", "2026-W14-2T00:00:00Z", 1774976400),
        datetime(2026, 3, 31),  # noqa: DTZ001 - naive is the point
    ],
)
def test_what_is_no_moment_is_refused(text: Any) -> None:
    refused(fields.Moment, text)


def test_days_are_iso_days() -> None:
    assert read(fields.Day, "2028-02-29") == date(2028, 2, 29)
    assert read(fields.OptionalDay, "") is None
    wrong = ("", "2026-02-29", "31.03.2026", "2026-3-1", "1899-12-31", "2200-01-01", "20260331", "9999-99-99", 46112)
    for text in (*wrong, datetime(2026, 3, 31, tzinfo=UTC)):
        refused(fields.Day, text)


def test_texts_lose_their_edges_and_nothing_else() -> None:
    assert read(fields.Name, "  Żaneta\u00a0🦊 O'Neil  ") == "Żaneta\u00a0🦊 O'Neil"
    assert read(fields.Note, "") == ""
    assert read(fields.OptionalText, "  ") is None
    assert read(fields.OptionalText, None) is None


@pytest.mark.parametrize(
    "text", ["", "   ", "a\x00b", "\ud800", "a\udfffb", "\udc80" * 3, "x" * 201, "x" * 1_048_576, 7, None, b"x", []]
)
def test_texts_that_no_store_keeps_are_refused(text: Any) -> None:
    refused(fields.Name, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0190a7c43d5e7b2a9c1f5a8e6d4b2f10", "{0190a7c4-3d5e-7b2a-9c1f-5a8e6d4b2f1}", " " * 36, "é" * 36),
        *("urn:uuid:0190a7c4-3d5e-7b2a-9c1f-5a8", "0190a7c4-3d5e-7b2a-9c1f-5a8e6d4b2f1\x00", 7, None),
    ],
)
def test_what_is_no_uuid_in_its_usual_form_is_refused(text: Any) -> None:
    refused(fields.Id, text)


def test_uuids_are_read_in_either_case() -> None:
    identifier = uuid4()
    assert read(fields.Id, str(identifier).upper()) == identifier
    assert read(fields.OptionalId, "") is None


# --- messages ------------------------------------------------------------------------------------


class Champion(BaseModel, frozen=True):
    person_id: fields.Id
    role: ChampionRole


class DefineKeyResult(BaseModel, frozen=True):
    objective_id: fields.Id
    key_result_id: fields.Id
    title: fields.Title
    type: KeyResultType | None
    start: fields.Number
    commit: fields.OptionalNumber
    target: fields.Number
    champions: tuple[Champion, ...]
    at: datetime

    @model_validator(mode="after")
    def _moves(self) -> "DefineKeyResult":
        if self.start == self.target:
            raise fields.invalid("target", "is the same as start", "NO_DISTANCE")
        return self


NOW = datetime(2026, 3, 31, tzinfo=UTC)


def define(**changes: Any) -> pb.DefineKeyResultRequest:
    fine: dict[str, Any] = {
        "request_id": str(uuid4()),
        "objective_id": str(uuid4()),
        "key_result_id": str(uuid4()),
        "title": "More",
        "start": "1",
        "target": "2",
        "champions": [pb.Champion(person_id=str(uuid4()), role=pb.CHAMPION_ROLE_DATA_STEWARD)],
    }
    return pb.DefineKeyResultRequest(**{**fine, **changes})


def faults(request: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        accept(DefineKeyResult, request, at=NOW)
    return [(each.field, each.reason) for each in caught.value.violations]


def test_a_message_becomes_a_command_with_words_for_enums_and_none_for_nothing() -> None:
    command = accept(DefineKeyResult, define(type=pb.KEY_RESULT_TYPE_DECREASE), at=NOW)
    assert (command.type, command.commit, command.at) == ("decrease", None, NOW)
    assert command.champions[0].role == "data_steward"
    assert accept(DefineKeyResult, define(), at=NOW).type is None


def test_faults_are_named_by_their_path_in_the_message() -> None:
    wrong = define(
        request_id="",
        title="",
        start="NaN",
        champions=[pb.Champion(person_id=str(uuid4()), role=pb.CHAMPION_ROLE_WATCHER), pb.Champion(person_id="x")],
        etag="4",
        type=99,
    )
    assert faults(wrong) == [
        ("request_id", "REQUIRED"),
        ("etag", "ETAG_MALFORMED"),
        ("title", "REQUIRED"),
        ("type", "LITERAL_ERROR"),
        ("start", "NUMBER_EXPECTED"),
        ("champions.1.person_id", "UUID_EXPECTED"),
        ("champions.1.role", "REQUIRED"),
    ]


def test_a_model_names_the_field_its_own_rule_is_about() -> None:
    assert faults(define(target="1")) == [("target", "NO_DISTANCE")]


def test_what_all_requests_share_is_checked_without_a_model() -> None:
    check(directory_pb2.ListUnitsRequest(page=common_pb2.PageRequest(size=3), min_positions=["goals:7:1:42"]))
    with pytest.raises(InvalidInputError) as caught:
        check(directory_pb2.ListUnitsRequest(page=common_pb2.PageRequest(size=-3), min_positions=["goals:7"]))
    assert [each.field for each in caught.value.violations] == ["page.size", "min_positions.0"]
    with pytest.raises(InvalidInputError) as caught:
        id_of(directory_pb2.GetUnitRequest(unit_id="x", min_positions=["y"]), "unit_id")
    assert [each.field for each in caught.value.violations] == ["min_positions.0", "unit_id"]


def test_etags_are_quoted_versions() -> None:
    assert expected_version(etag(4)) == 4
    assert expected_version("") is None
    for wrong in ("4", '"-1"', '"x"', 'W/"4"', '"' + "9" * 40 + '"', '"٤"'):
        with pytest.raises(InvalidInputError):
            expected_version(wrong)


def test_enums_go_both_ways() -> None:
    assert enum_text(pb.KeyResultType, pb.KEY_RESULT_TYPE_INCREASE, "KEY_RESULT_TYPE_") == "increase"
    assert enum_text(pb.KeyResultType, pb.KEY_RESULT_TYPE_UNSPECIFIED, "KEY_RESULT_TYPE_") is None
    assert enum_value(pb.KeyResultType, "increase", "KEY_RESULT_TYPE_") == pb.KEY_RESULT_TYPE_INCREASE
    assert enum_value(pb.KeyResultType, None, "KEY_RESULT_TYPE_") == pb.KEY_RESULT_TYPE_UNSPECIFIED


def test_values_are_written_in_one_way() -> None:
    assert wire(None) == ""
    assert wire(Decimal("1E+3")) == "1000"
    assert wire(NOW) == "2026-03-31T00:00:00Z"
    assert wire(NOW.date()) == "2026-03-31"
    assert wire(UUID(int=7)) == "00000000-0000-0000-0000-000000000007"
    done = Done(3, Position("goals", 7, 1, 42), duplicate=False)
    assert receipt(done) == common_pb2.Receipt(version=3, position="goals:7:1:42")
