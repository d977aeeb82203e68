"""Grades at the end, and lines of sight."""

from decimal import Decimal as D

import pytest

from okr_rules.alignment import closes_loop, depth, depth_below, depths_below, line_of_sight
from okr_rules.grading import band, score
from okr_rules.rollup import roll_up, with_children


def test_a_committed_key_result_is_measured_against_its_promise() -> None:
    assert score(D(0), D(10), D(10), D(5)) == D("0.5")
    assert score(D(0), D(10), D(20), D(10), ambition="committed") == 1


def test_without_a_stretch_the_target_scores_all() -> None:
    assert score(D(0), D(10), D(20), D(20)) == 1
    assert score(D(0), D(10), D(20), D(15)) == D("0.65")


@pytest.mark.parametrize(
    ("grade", "name"),
    [("0", "learned"), ("0.3999", "learned"), ("0.4", "partly"), ("0.7", "achieved"), ("1", "achieved")],
)
def test_bands_have_no_gaps(grade: str, name: str) -> None:
    assert band(D(grade)) == name


def test_a_weight_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        roll_up([(D(0), D(1))])


def test_where_an_objective_has_no_key_results_its_children_decide_alone() -> None:
    assert with_children(None, D("0.4")) == D("0.4")
    assert with_children(D("0.4"), None) == D("0.4")
    assert with_children(None, None) is None


def test_nobody_contributes_to_itself() -> None:
    assert closes_loop({}, "A", "A")


def test_a_loop_over_several_is_seen() -> None:
    parents = {"A": "B", "B": "C"}
    assert closes_loop(parents, "C", "A")
    assert not closes_loop(parents, "D", "A")


def test_the_line_of_sight_ends_at_the_top_even_on_a_broken_graph() -> None:
    assert line_of_sight({"A": "B", "B": "C"}, "A") == ["A", "B", "C"]
    assert line_of_sight({"A": "B", "B": "A"}, "A") == ["A", "B"]


def test_depth_counts_levels_above_and_below() -> None:
    parents = {"A": "B", "B": "C", "D": "C"}
    assert (depth(parents, "A"), depth_below(parents, "C"), depth_below(parents, "A")) == (3, 3, 1)
    assert depths_below(parents) == {"A": 1, "B": 2, "C": 3, "D": 1}
