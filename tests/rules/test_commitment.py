"""Start, commit and target in their order, whichever way the numbers go."""

from decimal import Decimal as D

import pytest

from okr_rules.commitment import ambition_of, default_commit, direction_of, order_fault, plain, reached, zone


@pytest.mark.parametrize(
    ("start", "commit", "target", "fault"),
    [
        ("0", "50", "100", None),
        ("0", "100", "100", None),
        ("9", "5", "2", None),
        ("-5", "-1", "3", None),
        ("5", "5", "5", "START_EQUALS_TARGET"),
        ("5", "6", "5", "START_EQUALS_TARGET"),
        ("0", "0", "100", "COMMIT_BEFORE_START"),
        ("0", "-1", "100", "COMMIT_BEFORE_START"),
        ("9", "10", "2", "COMMIT_BEFORE_START"),
        ("0", "101", "100", "COMMIT_BEYOND_TARGET"),
        ("9", "1", "2", "COMMIT_BEYOND_TARGET"),
    ],
)
def test_start_commit_and_target_stand_in_order(start: str, commit: str, target: str, fault: str | None) -> None:
    assert order_fault(D(start), D(commit), D(target)) == fault


def test_a_stretch_lies_at_the_target_or_beyond() -> None:
    assert order_fault(D(0), D(50), D(100), D(99)) == "STRETCH_BEFORE_TARGET"
    assert order_fault(D(0), D(50), D(100), D(100)) is None


def test_the_direction_is_told_from_start_and_target() -> None:
    assert [direction_of(D(0), D(t)) for t in (1, -1, 0)] == ["increase", "decrease", None]


def test_promising_the_whole_target_is_a_commitment() -> None:
    assert ambition_of(D(10), D(10)) == "committed"
    assert ambition_of(D(5), D(10)) == "aspirational"


@pytest.mark.parametrize(
    ("value", "lies"),
    [("4.9", "below_commit"), ("5", "commit"), ("9.9", "commit"), ("10", "target"), ("12", "stretch")],
)
def test_a_value_lies_in_the_zone_of_the_last_mark_it_reached(value: str, lies: str) -> None:
    assert zone(D(0), D(5), D(10), D(value), stretch=D(12)) == lies


def test_marks_are_reached_downwards_too() -> None:
    assert reached(D(9), D(5), D(5))
    assert reached(D(9), D(5), D(4))
    assert not reached(D(9), D(5), D(6))


def test_proposals_are_plain_numbers() -> None:
    assert [f"{default_commit(D(0), D(t))}" for t in (100, 1, 3)] == ["50", "0.5", "1.5"]
    assert [str(plain(D(text))) for text in ("1E+3", "2.50", "0.00", "-0")] == ["1000", "2.5", "0", "0"]
