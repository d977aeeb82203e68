"""How much of the way should be covered by now, for every way of expecting it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okr_rules.exact import four_places
from okr_rules.expectation import (
    Always,
    AtTheEnd,
    ByMilestones,
    Expectation,
    Linear,
    Scheduled,
    WorkingDays,
    days_between,
)
from okr_rules.milestones import Milestone

FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
LATE_BLOOMER = Scheduled([(FIRST, D(0)), (date(2026, 2, 1), D("0.1")), (date(2026, 3, 1), D("0.4")), (LAST, D(1))])
BUILDING = ByMilestones(
    [
        Milestone(D("0.2"), date(2026, 1, 31)),
        Milestone(D("0.3"), date(2026, 2, 28)),
        Milestone(D("0.5"), LAST),
    ]
)


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def test_linear_by_mid_february() -> None:
    assert four_places(Linear(FIRST, LAST).at(at(2, 15))) == D("0.5056")


def test_scheduled_points_are_joined_by_straight_lines() -> None:
    assert LATE_BLOOMER.at(at(2, 15)) == D("0.25")


def test_a_milestone_is_expected_from_its_day_on() -> None:
    assert [BUILDING.at(moment) for moment in (at(1, 30, 23), at(1, 31), at(3, 30), at(3, 31))] == [
        0, D("0.2"), D("0.5"), 1
    ]  # fmt: skip


def test_weekends_are_not_expected_to_bring_anything() -> None:
    week = WorkingDays(date(2026, 1, 5), date(2026, 1, 19))
    assert week.at(at(1, 10)) == week.at(at(1, 12)) == D("0.5")
    assert week.at(at(1, 7, 12)) == D("0.25")


def test_what_is_kept_is_expected_at_all_times() -> None:
    assert Always().at(at(1, 1)) == 1


def test_what_is_done_or_not_is_expected_at_the_end() -> None:
    assert [AtTheEnd(LAST).at(moment) for moment in (at(3, 30, 23), at(3, 31))] == [0, 1]


def test_forty_two_percent_of_ninety_days_in_the_middle_are_seven_days_behind() -> None:
    assert days_between(Linear(date(2026, 1, 1), date(2026, 4, 1)), D("0.42"), at(2, 15)) == D("-7.2")


def test_days_follow_the_schedule_and_not_the_calendar() -> None:
    assert days_between(LATE_BLOOMER, D("0.1"), at(2, 15)) == D("-14.0")
    assert days_between(BUILDING, D("0.5"), at(2, 1)) == D("27.0")
    assert days_between(AtTheEnd(LAST), D(0), at(2, 1)) is None


def test_between_two_milestones_nobody_is_ahead_or_behind() -> None:
    assert days_between(BUILDING, D("0.2"), at(2, 20)) == 0
    assert days_between(BUILDING, D(0), at(1, 10)) == 0


def test_one_who_missed_a_milestone_is_behind_since_its_day() -> None:
    assert days_between(BUILDING, D("0.2"), at(3, 10)) == D("-10.0")


def test_who_has_more_than_a_schedule_ever_asks_for_is_never_behind() -> None:
    easy = Scheduled([(date(2026, 1, 1), D(0)), (date(2026, 2, 1), D("0.5"))])
    assert days_between(easy, D("0.9"), at(3, 1)) == 0


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        ([(FIRST, D(0))], "found 1"),
        ([(FIRST, D("0.5")), (LAST, D("0.4"))], "never fall"),
        ([(LAST, D(0)), (FIRST, D(1))], "follow each other"),
        ([(FIRST, D(0)), (LAST, D("1.1"))], "between 0 and 1"),
    ],
)
def test_what_is_no_schedule_is_refused(points: list[tuple[date, D]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Scheduled(points)


days = st.dates(date(2025, 1, 1), date(2027, 1, 1))
spans = st.tuples(days, st.integers(0, 400)).map(lambda drawn: (drawn[0], drawn[0] + timedelta(days=drawn[1])))
weekdays = st.sets(st.integers(0, 6), min_size=1).map(frozenset)
expectations: st.SearchStrategy[Expectation] = st.one_of(
    spans.map(lambda span: Linear(*span)),
    st.tuples(spans, weekdays).map(lambda drawn: WorkingDays(*drawn[0], drawn[1])),
    st.just(LATE_BLOOMER),
    st.just(BUILDING),
    st.just(Always()),
    st.just(AtTheEnd(LAST)),
)
moments = st.integers(-100 * 24, 900 * 24).map(lambda hours: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hours))


@given(expectations, moments, moments)
def test_expectation_never_falls_and_stays_within_bounds(
    expectation: Expectation, one: datetime, other: datetime
) -> None:
    earlier, later = sorted((one, other))
    assert 0 <= expectation.at(earlier) <= expectation.at(later) <= 1


@given(
    st.one_of(
        spans.map(lambda span: Linear(*span)),
        st.tuples(spans, weekdays).map(lambda d: WorkingDays(*d[0], d[1])),
        st.just(LATE_BLOOMER),
    ),
    st.decimals(0, 1, places=4),
)
def test_the_moment_of_a_share_is_when_it_is_expected(expectation: Linear | WorkingDays | Scheduled, share: D) -> None:
    moment = expectation.moment_of(share)
    assert expectation.at(moment + timedelta(microseconds=1)) >= share - D("0.000001")
    if expectation.at(moment) < 1:
        assert expectation.at(moment) <= share + D("0.000001")
