"""The verified examples that the rules must reproduce to the last place."""

from datetime import UTC, date, datetime
from decimal import Decimal as D

import pytest

from okr_rules.alignment import closes_loop
from okr_rules.commitment import default_commit
from okr_rules.grading import score
from okr_rules.measure import Measure
from okr_rules.pace import days_ahead, expected, judge, state_of
from okr_rules.parameters import RuleParameters
from okr_rules.progress import progress, raw_progress
from okr_rules.rollup import roll_up, with_children

FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "target", "value", "raw", "share"),
    [
        ("40", "60", "50", "0.5", "0.5"),
        ("40", "60", "70", "1.5", "1"),
        ("40", "60", "35", "-0.25", "0"),
        ("9", "2", "5.5", "0.5", "0.5"),
        ("-10", "10", "0", "0.5", "0.5"),
    ],
)
def test_progress_from_start_to_target(start: str, target: str, value: str, raw: str, share: str) -> None:
    assert raw_progress(D(start), D(target), D(value)) == D(raw)
    assert progress(D(start), D(target), D(value)) == D(share)


@pytest.mark.parametrize(
    ("value", "grade"),
    [("110", "0.15"), ("120", "0.3"), ("135", "0.5"), ("150", "0.7"), ("175", "0.85"), ("230", "1"), ("90", "0")],
)
def test_scores_run_straight_through_their_anchors(value: str, grade: str) -> None:
    assert score(D(100), D(120), D(150), D(value), stretch=D(200)) == D(grade)


def test_scores_of_a_decreasing_key_result() -> None:
    assert score(D(9), D(5), D(3), D(4), stretch=D(2)) == D("0.5")


def test_half_of_february_in_the_first_quarter() -> None:
    assert expected(FIRST, LAST, at(2, 15)) == D("0.5056")


def test_roll_up_by_weight() -> None:
    assert roll_up([(D(2), D("0.8")), (D(1), D("0.4")), (D(1), D(0))]) == D("0.5")


def test_children_weigh_as_the_parameters_say() -> None:
    assert with_children(D("0.5"), D("0.9"), RuleParameters(children_share=D("0.25"))) == D("0.6")


def test_eight_points_behind_over_ninety_days_are_seven_days() -> None:
    assert days_ahead(D("0.42") - D("0.50"), date(2026, 1, 1), date(2026, 4, 1)) == D("-7.2")
    verdict = judge(Measure(D(0), D(50), D(100), date(2026, 1, 1), date(2026, 4, 1)), D(42), at(2, 15))
    assert (verdict.progress, verdict.expected, verdict.days) == (D("0.42"), D("0.5"), D("-7.2"))
    assert verdict.state == "on_pace"


def test_two_objectives_that_serve_each_others_key_results_are_refused() -> None:
    inside = {"key result of A": "A", "key result of B": "B"}
    contributes = {"A": "key result of B"}
    assert closes_loop(inside | contributes, "B", "key result of A")


def test_a_promise_is_proposed_halfway() -> None:
    assert default_commit(D(40), D(60)) == D(50)
    assert default_commit(D(9), D(2)) == D("5.5")


@pytest.mark.parametrize(
    ("delta", "state"),
    [
        ("0.05", "ahead"),
        ("0.0499", "on_pace"),
        ("-0.10", "on_pace"),
        ("-0.1001", "behind"),
        ("-0.25", "behind"),
        ("-0.2501", "far_behind"),
    ],
)
def test_where_one_pace_ends_and_the_next_begins(delta: str, state: str) -> None:
    assert state_of(D(delta), D("0.5")) == state
