"""Kinds of key results beside those that rise or fall: kept in a range, made of milestones."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okr_rules.grading import score
from okr_rules.maintain import Range, progress_now, share_inside, state_now
from okr_rules.milestones import Milestone, progress_of, weights_fault
from okr_rules.series import Reading

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TEMPERATURE = Range(D(95), D(100), D(5))


def day(nth: int) -> datetime:
    return BEGIN + timedelta(days=nth)


@pytest.mark.parametrize(
    ("value", "share", "state"), [("97", "1", "in_range"), ("93", "0.6", "near"), ("80", "0", "out")]
)
def test_outside_its_range_a_value_counts_less_the_farther_it_is(value: str, share: str, state: str) -> None:
    assert progress_now(TEMPERATURE, D(value)) == D(share)
    assert state_now(TEMPERATURE, D(value)) == state


def test_an_open_range_has_one_bound() -> None:
    at_most = Range(None, D("1.6"), D("0.4"))
    assert progress_now(at_most, D(0)) == 1
    assert progress_now(at_most, D("1.8")) == D("0.5")


def test_seventy_of_ninety_days_inside() -> None:
    readings = [Reading(day(0), D(97)), Reading(day(70), D(80))]
    assert share_inside(TEMPERATURE, readings, day(0), day(90)) == D("0.7778")


def test_a_value_is_carried_forward_until_the_next() -> None:
    readings = [Reading(day(0), D(80)), Reading(day(10), D(97)), Reading(day(30), D(80)), Reading(day(35), D(99))]
    assert share_inside(TEMPERATURE, readings, day(0), day(40)) == D("0.625")


def test_time_before_the_first_reading_is_not_counted() -> None:
    assert share_inside(TEMPERATURE, [Reading(day(80), D(97))], day(0), day(90)) == 1
    assert share_inside(TEMPERATURE, [], day(0), day(90)) is None


def test_the_share_of_the_time_is_graded_by_the_same_anchors() -> None:
    grades = [score(D(0), D("0.9"), D(1), D(share)) for share in ("0.45", "0.9", "0.95", "1")]
    assert grades == [D("0.15"), D("0.3"), D("0.65"), D(1)]


@pytest.mark.parametrize(
    ("low", "high", "tolerance", "fault"),
    [
        (None, None, "1", "found both"),
        ("5", "4", "1", "found 5 to 4"),
        ("4", "5", "0", "tolerance lies above 0"),
    ],
)
def test_what_is_no_range_is_refused(low: str | None, high: str | None, tolerance: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Range(None if low is None else D(low), None if high is None else D(high), D(tolerance))


readings = st.lists(st.builds(Reading, st.integers(0, 90).map(day), st.decimals(80, 110, places=1)), max_size=12)


@given(readings, st.randoms())
def test_the_order_in_which_readings_arrive_does_not_matter(given_: list[Reading], random: object) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    assert share_inside(TEMPERATURE, shuffled, day(0), day(90)) == share_inside(TEMPERATURE, given_, day(0), day(90))


def milestone(weight: str, share: str = "0", *, accepted: bool = False) -> Milestone:
    return Milestone(D(weight), date(2026, 2, 1), D(share), accepted)


def test_accepted_milestones_count_their_weight() -> None:
    done = [milestone("0.2", accepted=True), milestone("0.3", accepted=True), milestone("0.5")]
    assert progress_of(done) == D("0.5")


def test_nobody_alone_takes_a_milestone_to_its_end() -> None:
    assert progress_of([milestone("1", "1")]) == D("0.9")
    assert progress_of([milestone("1", "1", accepted=True)]) == 1


@pytest.mark.parametrize(
    ("weights", "fault"),
    [((), "found none"), (("0.5", "0.6"), "found 1.1"), (("1.5", "-0.5"), "found -0.5"), (("0.2", "0.3", "0.5"), None)],
)
def test_weights_come_to_one(weights: tuple[str, ...], fault: str | None) -> None:
    found = weights_fault(map(D, weights))
    assert found is None if fault is None else found is not None and fault in found
