"""Ahead or behind, at every moment of a key result's life."""

from datetime import UTC, date, datetime
from decimal import Decimal as D

import pytest

from okr_rules.measure import Measure
from okr_rules.pace import judge
from okr_rules.parameters import RuleParameters
from okr_rules.progress import percent

QUARTER = Measure(D(0), D(50), D(100), date(2026, 1, 1), date(2026, 4, 11))  # a hundred days


def at(day: int) -> datetime:
    return datetime.fromordinal(date(2026, 1, 1).toordinal() + day).replace(tzinfo=UTC)


def test_before_its_first_day_nothing_is_expected() -> None:
    verdict = judge(QUARTER, None, at(-1))
    assert (verdict.state, verdict.expected, verdict.progress) == ("not_started", D(0), None)


def test_without_a_check_in_it_is_pending_and_what_is_expected_still_shows() -> None:
    verdict = judge(QUARTER, None, at(50))
    assert (verdict.state, verdict.expected, verdict.delta, verdict.days) == ("pending", D("0.5"), None, None)


@pytest.mark.parametrize(
    ("day", "value", "state"),
    [
        (9, "0", "just_started"),
        (10, "0", "on_pace"),
        (50, "56", "ahead"),
        (50, "50", "on_pace"),
        (50, "39", "behind"),
        (50, "20", "far_behind"),
        (100, "100", "on_pace"),
        (400, "99", "on_pace"),
        (400, "80", "behind"),
    ],
)
def test_the_state_follows_from_progress_and_time(day: int, value: str, state: str) -> None:
    assert judge(QUARTER, D(value), at(day)).state == state


def test_over_achievement_is_kept_raw_and_counts_as_all_of_the_way() -> None:
    verdict = judge(QUARTER, D(130), at(50))
    assert (verdict.raw, verdict.progress, verdict.delta) == (D("1.3"), D(1), D("0.5"))


def test_a_key_result_of_a_single_day_is_due_when_it_begins() -> None:
    day = Measure(D(0), D(1), D(2), date(2026, 1, 1), date(2026, 1, 1))
    assert judge(day, D(0), at(0)).expected == 1
    assert judge(day, D(0), at(-1)).expected == 0


def test_a_verdict_names_its_rule_its_version_and_its_inputs() -> None:
    words = judge(QUARTER, D(20), at(50)).explain()
    for part in ("Far behind by 30.0 days", "20 %", "50 %", "2026-01-01 to 2026-04-11", "rule pace, version 2026-1"):
        assert part in words


@pytest.mark.parametrize(
    ("day", "value", "first_words"),
    [
        (-1, None, "Not started"),
        (50, None, "No check-in yet"),
        (5, "1", "Just started"),
        (50, "60", "Ahead by 10.0 days"),
        (50, "50", "On pace:"),
        (50, "39", "Behind by 11.0 days"),
    ],
)
def test_every_state_explains_itself(day: int, value: str | None, first_words: str) -> None:
    assert judge(QUARTER, None if value is None else D(value), at(day)).explain().startswith(first_words)


def test_thresholds_are_parameters_with_a_version_of_their_own() -> None:
    lenient = RuleParameters(version="ours-1", on_pace_from=D("-0.2"))
    verdict = judge(QUARTER, D(35), at(50), lenient)
    assert verdict.state == "on_pace"
    assert "version ours-1" in verdict.explain()


@pytest.mark.parametrize(
    ("share", "shown"),
    [("0.4249", "42 %"), ("0.425", "43 %"), ("0.9999", "99 %"), ("1", "100 %"), ("1.5", "150 %"), ("0", "0 %")],
)
def test_a_hundred_percent_is_said_of_nothing_less(share: str, shown: str) -> None:
    assert percent(D(share)) == shown
