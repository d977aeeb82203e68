"""Events of every version ever written are read as today's."""

from typing import Any

import pytest
from msgspec import Struct

from okr_eventstore.codec import Codec, UnknownEvent, UnreadableEvent


class Priced(Struct, frozen=True):
    cents: int
    currency: str = "EUR"


def euros_to_cents(older: dict[str, Any]) -> dict[str, Any]:
    return {"cents": older["euros"] * 100}


codec = Codec([Priced], {"Priced": 2}, {("Priced", 1): euros_to_cents})


def test_an_event_is_written_in_todays_version_and_read_back_equal() -> None:
    assert codec.encode(Priced(250)) == ("Priced", 2, '{"cents":250,"currency":"EUR"}')
    assert codec.decode("Priced", 2, '{"cents":250,"currency":"EUR"}') == Priced(250)


def test_an_older_event_is_led_up_to_todays_version() -> None:
    assert codec.decode("Priced", 1, '{"euros":3}') == Priced(300)


def test_a_field_added_later_has_its_default_in_older_events() -> None:
    assert codec.decode("Priced", 2, '{"cents":250}') == Priced(250, "EUR")


def test_an_unknown_field_of_a_newer_release_is_passed_over() -> None:
    assert codec.decode("Priced", 2, '{"cents":250,"tax":19}') == Priced(250)


def test_an_unknown_type_and_a_newer_version_are_told_apart() -> None:
    assert codec.decode("Weighed", 1, "{}") == UnknownEvent("Weighed")
    newer = codec.decode("Priced", 3, "{}")
    assert isinstance(newer, UnreadableEvent)
    assert "newer release" in newer.reason


@pytest.mark.parametrize(
    ("version", "data"), [(2, b'{"cents":"many"}'), (2, b"{"), (2, b"\xff"), (1, b"{}"), (1, b"[]")]
)
def test_bytes_that_do_not_make_the_event_say_so_in_its_place(version: int, data: bytes) -> None:
    """One damaged event must not take its whole batch along."""
    event = codec.decode("Priced", version, data)
    assert isinstance(event, UnreadableEvent)
    assert event.type == "Priced"


def test_a_type_no_reader_would_know_is_not_written() -> None:
    with pytest.raises(ValueError, match="registry"):
        codec.encode(UnknownEvent("Weighed"))
