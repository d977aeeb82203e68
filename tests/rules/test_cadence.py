"""When check-ins are due, and what has become of a duty."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okr_rules.cadence import (
    Calendar,
    DutyState,
    Rhythm,
    default_step_days,
    doubt_about,
    due_days,
    due_days_by,
    duty_state,
    windows,
)

FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
TUESDAY = 1
DAY = timedelta(days=1)

QUARTER = due_days(FIRST, LAST, 14, TUESDAY)
ZONES = ("UTC", "Europe/Vienna", "America/New_York", "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe")


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def test_a_quarter_has_six_bi_weekly_dues() -> None:
    assert [
        date(2026, 1, 20), date(2026, 2, 3), date(2026, 2, 17), date(2026, 3, 3), date(2026, 3, 17), date(2026, 3, 31)
    ] == QUARTER  # fmt: skip


def test_a_quarter_has_twelve_weekly_dues() -> None:
    assert len(due_days(FIRST, LAST, 7, TUESDAY)) == 12


def test_each_window_ends_three_working_days_after_its_due() -> None:
    spans = [(window.opens_after, window.closes_on) for window in windows(FIRST, QUARTER, 14)]
    assert spans[:3] == [
        (date(2025, 12, 31), date(2026, 1, 23)),
        (date(2026, 1, 23), date(2026, 2, 6)),
        (date(2026, 2, 6), date(2026, 2, 20)),
    ]


def test_a_grace_ends_before_the_next_due_day() -> None:
    """A cycle that ends on a Tuesday, with Fridays as its weekly days, is closed four days after the last of them."""
    friday, closing = due_days(date(2026, 1, 1), date(2026, 3, 31), 7, weekday=4)[-2:]
    *_, before, last = windows(FIRST, [friday, closing], 7)
    assert (friday, closing) == (date(2026, 3, 27), date(2026, 3, 31))
    assert before.closes_on == date(2026, 3, 30)
    assert duty_state(last, noon(closing), noon(closing)) == "on_time"


def test_a_change_of_rhythm_leaves_what_was_due_and_asks_nobody_twice_in_a_week() -> None:
    default = Rhythm(date.min, 14, TUESDAY)
    weekly = Rhythm(date(2026, 2, 4), 7, 3)
    assert due_days_by(FIRST, LAST, [default]) == QUARTER
    changed = due_days_by(FIRST, LAST, [default, weekly])
    assert changed[:4] == [date(2026, 1, 20), date(2026, 2, 3), date(2026, 2, 12), date(2026, 2, 19)]
    back = due_days_by(FIRST, LAST, [default, weekly, Rhythm(date(2026, 2, 20), 14, TUESDAY)])
    assert back[:6] == [*changed[:4], date(2026, 3, 3), date(2026, 3, 17)]


def test_holidays_lengthen_the_grace() -> None:
    carnival = Calendar(holidays={date(2026, 2, 18)})
    assert windows(FIRST, QUARTER, 14, carnival)[2].closes_on == date(2026, 2, 23)


@pytest.mark.parametrize(("days", "step"), [(30, 7), (45, 7), (46, 14), (90, 14), (135, 14), (136, 28), (365, 28)])
def test_the_usual_step_grows_with_the_cycle(days: int, step: int) -> None:
    assert default_step_days(FIRST, FIRST + (days - 1) * DAY) == step


def test_weekly_and_monthly_are_asked_to_be_confirmed_in_a_quarter() -> None:
    assert doubt_about(7, FIRST, LAST) == "WEEKLY_IS_EXCESSIVE"
    assert doubt_about(28, FIRST, LAST) == "MONTHLY_IS_TOO_RARE"
    assert doubt_about(14, FIRST, LAST) is None
    assert doubt_about(21, FIRST, LAST) is None


def test_weekly_is_usual_in_a_month() -> None:
    assert doubt_about(7, FIRST, date(2026, 1, 31)) is None


def test_a_cycle_shorter_than_its_step_is_checked_in_on_its_last_day() -> None:
    assert due_days(FIRST, date(2026, 1, 10), 14, TUESDAY) == [date(2026, 1, 10)]


def test_a_closing_check_in_comes_only_when_the_last_one_is_long_past() -> None:
    assert due_days(FIRST, date(2026, 3, 24), 14, TUESDAY)[-1] == date(2026, 3, 17)
    assert due_days(FIRST, date(2026, 3, 25), 14, TUESDAY)[-1] == date(2026, 3, 25)


@pytest.mark.parametrize(
    ("day", "state"),
    [
        (date(2026, 1, 17), "scheduled"),
        (date(2026, 1, 18), "upcoming"),
        (date(2026, 1, 20), "due"),
        (date(2026, 1, 21), "overdue"),
        (date(2026, 1, 23), "overdue"),
        (date(2026, 1, 24), "stale"),
        (date(2026, 2, 3), "stale"),
        (date(2026, 2, 4), "missed"),
    ],
)
def test_a_duty_nobody_fulfils_goes_stale_and_is_missed(day: date, state: DutyState) -> None:
    first = windows(FIRST, QUARTER, 14)[0]
    assert duty_state(first, None, noon(day)) == state


def test_a_check_in_is_on_time_to_the_end_of_the_due_day_where_its_person_lives() -> None:
    first = windows(FIRST, QUARTER, 14)[0]
    late_evening = datetime(2026, 1, 21, 4, 59, tzinfo=UTC)  # 23:59 on the 20th in New York
    now = noon(date(2026, 2, 1))
    assert duty_state(first, late_evening, now, Calendar(ZoneInfo("America/New_York"))) == "on_time"
    assert duty_state(first, late_evening, now) == "late"


def test_a_check_in_after_the_window_does_not_put_it_right() -> None:
    first, second, *_ = windows(FIRST, QUARTER, 14)
    afterwards = noon(date(2026, 1, 24))
    assert duty_state(first, afterwards, noon(date(2026, 1, 25))) == "stale"
    assert duty_state(second, afterwards, noon(date(2026, 1, 25))) == "on_time"


def test_where_clocks_skip_midnight_the_day_begins_when_they_do() -> None:
    beirut = Calendar(ZoneInfo("Asia/Beirut"))
    begins = beirut.begins_at(date(2026, 3, 29))  # 00:00 becomes 01:00
    assert begins == datetime(2026, 3, 28, 22, tzinfo=UTC)
    assert beirut.day_of(begins) == date(2026, 3, 29)
    assert beirut.day_of(begins - timedelta(microseconds=1)) == date(2026, 3, 28)


cycles = st.tuples(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 500)).map(
    lambda drawn: (drawn[0], drawn[0] + drawn[1] * DAY)
)
steps = st.integers(1, 60)
calendars = st.builds(
    Calendar,
    st.sampled_from(ZONES).map(ZoneInfo),
    st.sets(st.integers(0, 6), min_size=1).map(frozenset),
)


@given(cycles, steps, st.integers(0, 6))
def test_dues_never_skip_or_double(cycle: tuple[date, date], step: int, weekday: int) -> None:
    starts_on, ends_on = cycle
    days = due_days(starts_on, ends_on, step, weekday)
    assert days
    assert all(starts_on <= day <= ends_on for day in days)
    gaps = [(later - earlier).days for earlier, later in pairwise(days)]
    assert all(gap == step for gap in gaps[:-1])
    assert not gaps or step / 2 < gaps[-1] <= step
    assert 2 * (ends_on - days[-1]).days <= step


@given(cycles, steps, st.integers(0, 6), calendars)
def test_each_day_up_to_the_last_grace_lies_in_exactly_one_window(
    cycle: tuple[date, date], step: int, weekday: int, calendar: Calendar
) -> None:
    starts_on, ends_on = cycle
    found = windows(starts_on, due_days(starts_on, ends_on, step, weekday), step, calendar)
    for nth in range((found[-1].closes_on - starts_on).days + 1):
        assert sum(window.holds(starts_on + nth * DAY) for window in found) == 1


@given(calendars, st.dates(date(2024, 1, 1), date(2028, 1, 1)))
def test_a_moment_belongs_to_the_day_that_began_last(calendar: Calendar, day: date) -> None:
    begins = calendar.begins_at(day)
    if calendar.day_of(begins) == day:  # a day that a place skipped altogether never was
        assert calendar.day_of(begins - timedelta(microseconds=1)) < day


@given(cycles, steps, calendars, st.integers(-10, 520), st.one_of(st.none(), st.integers(-10, 520)))
def test_a_duty_only_moves_on(
    cycle: tuple[date, date], step: int, calendar: Calendar, hours_from: int, checked_in: int | None
) -> None:
    starts_on, ends_on = cycle
    order: list[DutyState] = ["scheduled", "upcoming", "due", "overdue", "stale", "missed"]
    window = windows(starts_on, due_days(starts_on, ends_on, step, TUESDAY), step, calendar)[0]
    at = noon(starts_on) + hours_from * DAY
    when = None if checked_in is None else noon(starts_on) + checked_in * DAY
    now, then = duty_state(window, when, at, calendar), duty_state(window, when, at + DAY, calendar)
    if now in order and then in order:
        assert order.index(now) <= order.index(then)
    else:
        assert then in ("on_time", "late")
