"""Days and moments as people say them, where the command runs."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from okr_cli.moments import HERE, end_of, moment, noon_of


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
def test_a_summer_day_said_in_winter_ends_by_summer_time() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC).astimezone(HERE)
    assert now.hour == 13
    assert end_of(date(2026, 7, 1), HERE).astimezone(UTC) == datetime(2026, 7, 1, 21, 59, 59, 999999, UTC)
    assert moment("2026-07-01", now).astimezone(UTC).hour == 21
    assert moment("2026-07-01", now, noon_of).astimezone(UTC).hour == 10
    assert moment("2026-11-01", now).astimezone(UTC).hour == 22


@pytest.mark.usefixtures("in_berlin")
def test_an_hour_that_comes_twice_and_one_that_never_comes_are_moments() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC).astimezone(HERE)
    assert moment("2026-10-25T02:30", now).astimezone(UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert moment("2026-03-29T02:30", now).astimezone(UTC) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.usefixtures("in_berlin")
def test_weeks_ago_mean_the_same_hour_of_the_day() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC).astimezone(HERE)
    assert moment("8 weeks ago", now).astimezone(UTC) == datetime(2026, 9, 27, 11, tzinfo=UTC)
