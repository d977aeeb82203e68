"""What holds for all numbers, not only for those somebody thought of."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

from hypothesis import assume, given
from hypothesis import strategies as st

from okr_rules.alignment import closes_loop, depth
from okr_rules.commitment import default_commit, order_fault, zone
from okr_rules.exact import EXACT
from okr_rules.grading import score
from okr_rules.measure import Measure
from okr_rules.pace import expected, judge
from okr_rules.progress import percent, progress, raw_progress
from okr_rules.rollup import mean, roll_up

numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=D("-1E15"), max_value=D("1E15"), places=4)
shares = st.decimals(min_value=0, max_value=1, places=4)
weights = st.decimals(min_value=D("0.01"), max_value=1000, places=2)
days = st.dates(min_value=date(2020, 1, 1), max_value=date(2030, 1, 1))
seconds = st.integers(0, 12 * 366 * 86_400)
moments = seconds.map(lambda passed: datetime(2019, 1, 1, tzinfo=UTC) + timedelta(seconds=passed))


@given(numbers, numbers, numbers)
def test_progress_lies_between_nothing_and_all(start: D, target: D, value: D) -> None:
    assume(start != target)
    assert 0 <= progress(start, target, value) <= 1


@given(numbers, numbers)
def test_progress_is_nothing_at_the_start_and_all_at_the_target(start: D, target: D) -> None:
    assume(start != target)
    assert progress(start, target, start) == 0
    assert progress(start, target, target) == 1


@given(numbers, numbers, numbers, numbers)
def test_progress_never_falls_on_the_way_to_the_target(start: D, target: D, one: D, other: D) -> None:
    assume(start != target)
    nearer, farther = sorted((one, other), reverse=target > start)
    assert raw_progress(start, target, nearer) >= raw_progress(start, target, farther)


@given(numbers, numbers, numbers)
def test_only_a_reached_target_is_a_hundred_percent(start: D, target: D, value: D) -> None:
    assume(start != target)
    done = value >= target if target > start else value <= target
    assert (percent(progress(start, target, value)) == "100 %") == done


@given(st.lists(st.tuples(weights, shares), min_size=1))
def test_a_roll_up_lies_between_the_least_and_the_most(weighted: list[tuple[D, D]]) -> None:
    rolled = roll_up(weighted)
    assert rolled is not None
    assert min(share for _, share in weighted) <= rolled <= max(share for _, share in weighted)


def test_a_roll_up_of_nothing_is_undefined() -> None:
    assert mean([]) is None


@given(days, days, moments, moments)
def test_what_is_expected_grows_with_time_and_stays_a_share(
    one: date, other: date, now: datetime, later: datetime
) -> None:
    first, last = sorted((one, other))
    now, later = sorted((now, later))
    assert 0 <= expected(first, last, now) <= expected(first, last, later) <= 1


@given(numbers, numbers, numbers, st.none() | numbers, days, st.integers(0, 400), moments)
def test_every_verdict_can_be_explained(
    start: D, commit: D, target: D, value: D | None, first: date, length: int, now: datetime
) -> None:
    assume(start != target)
    verdict = judge(Measure(start, commit, target, first, first + timedelta(days=length)), value, now)
    assert verdict.parameters.version in verdict.explain()


@given(numbers, numbers)
def test_the_proposed_promise_stands_in_order(start: D, target: D) -> None:
    assume(start != target)
    assert order_fault(start, default_commit(start, target), target) is None


@given(numbers, numbers, numbers, numbers)
def test_a_kept_promise_scores_at_least_its_anchor(start: D, target: D, commit: D, value: D) -> None:
    assume(order_fault(start, commit, target) is None)
    grade = score(start, commit, target, value)
    assert 0 <= grade <= 1
    if zone(start, commit, target, value) != "below_commit":
        assert grade >= D("0.3")


@given(numbers, numbers, numbers, numbers, numbers)
def test_scores_never_fall_on_the_way(start: D, target: D, commit: D, one: D, other: D) -> None:
    assume(order_fault(start, commit, target) is None)
    farther, nearer = sorted((one, other), reverse=target < start)
    assert score(start, commit, target, farther) <= score(start, commit, target, nearer)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12))))
def test_edges_that_close_no_loop_never_make_one(edges: list[tuple[int, int]]) -> None:
    parents: dict[int, int] = {}
    for child, parent in edges:
        if not closes_loop(parents, child, parent):
            parents[child] = parent
    for node in parents:
        steps, at = 0, node
        while at in parents:
            at, steps = parents[at], steps + 1
            assert steps <= len(parents)
        assert depth(parents, node) == steps + 1


def test_arithmetic_is_the_same_whatever_the_surrounding_precision() -> None:
    assert raw_progress(D(0), D("1E-15"), D("12345678901234567890")) == EXACT.multiply(
        D("12345678901234567890"), D("1E15")
    )
