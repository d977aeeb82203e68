"""How facts are judged at a moment, without a database."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from okr_insights.board import Cycle, cycle_of_the_day
from okr_insights.standing import KeyResult, Summary, key_result, summarise
from tests.insights.facts import ANA, Q1_ENDS, Q1_STARTS, REVENUE, day, named

HALFWAY = datetime.fromisoformat("2026-02-15T00:00:00+00:00")


def standing(value: str | None, now: datetime = HALFWAY, **changes: Any) -> KeyResult:
    """A key result from 0 to 100 over the first quarter, last seen at `value`."""
    record = {
        "key_result_id": REVENUE,
        "title": "Revenue",
        "type": "increase",
        "measurement": "{}",
        "unit": "EUR",
        "start": Decimal(0),
        "commit": Decimal(50),
        "target": Decimal(100),
        "starts_on": Q1_STARTS,
        "due_on": Q1_ENDS,
        "cycle_starts_on": Q1_STARTS,
        "accountable_id": ANA,
        "open": True,
        "continued_from": None,
        "score": None,
        "computed_score": None,
        "zone": "",
        "value": None if value is None else Decimal(value),
        "confidence": None if value is None else Decimal("0.5"),
        "checked_in_at": None if value is None else day(40),
    }
    return key_result(record | changes, now)


def test_a_key_result_is_judged_against_the_days_that_have_passed() -> None:
    verdict = standing("42").verdict
    assert verdict.expected == Decimal("0.5056")
    assert (verdict.progress, verdict.state, verdict.days) == (Decimal("0.4200"), "on_pace", Decimal("-7.6"))


def test_the_time_of_a_key_result_begins_no_earlier_than_its_cycle() -> None:
    assert standing("42", starts_on=date(2025, 12, 1)).verdict.expected == Decimal("0.5056")
    later = standing("42", starts_on=date(2026, 2, 1)).verdict
    assert later.expected == Decimal("0.2414")


def test_an_objective_without_key_results_has_no_progress_rather_than_none_made() -> None:
    assert summarise([]) == Summary(progress=None, expected=None, pace=None, checked_in_at=None)


def test_an_objective_stands_at_the_mean_of_its_key_results() -> None:
    summary = summarise([standing("80"), standing("40"), standing("0")])
    assert (summary.progress, summary.expected) == (Decimal("0.4000"), Decimal("0.5056"))
    assert summary.pace == "behind"


def test_a_heavier_key_result_counts_for_more() -> None:
    heavy = standing("80", measurement='{"weight": "2"}')
    assert summarise([heavy, standing("40"), standing("0")]).progress == Decimal("0.5000")


AVAILABILITY: dict[str, Any] = {
    "type": "maintain",
    "commit": Decimal("0.9"),
    "target": Decimal(1),
    "measurement": '{"low": "99.5", "tolerance": "0.5"}',
}
MIGRATION: dict[str, Any] = {
    "type": "milestone",
    "target": Decimal(1),
    "commit": Decimal(1),
    "measurement": '{"milestones": [{"milestone_id": "00000000-0000-0000-0000-000000000001", "title": "Moved", '
    '"weight": "1", "due_on": "2026-03-31"}]}',
}


def test_what_is_kept_in_a_range_does_not_drag_its_objective_down_before_anybody_has_looked() -> None:
    summary = summarise([standing("50"), standing(None, **AVAILABILITY)])
    assert (summary.progress, summary.expected, summary.pace) == (Decimal("0.5000"), Decimal("0.5056"), "on_pace")
    assert summarise([standing("50"), standing("98", **AVAILABILITY)]).pace == "far_behind"
    assert summarise([standing(None, **AVAILABILITY)]).pace == "pending"


def test_an_objective_of_milestones_to_come_is_judged_by_the_time_that_has_passed() -> None:
    assert summarise([standing("1", **MIGRATION)]).pace == "ahead"
    assert summarise([standing("0", **MIGRATION)]).pace == "on_pace"
    assert summarise([standing("0", day(3), **MIGRATION)]).pace == "just_started"


def test_an_objective_of_what_is_done_or_not_is_not_judged_before_its_day() -> None:
    assert summarise([standing("0", type="binary", target=Decimal(1), commit=Decimal(1))]).pace == "unpaced"


def test_a_tolerance_said_of_what_covers_a_way_does_not_keep_the_board_from_being_shown() -> None:
    assert standing("50", measurement='{"tolerance": "5"}').verdict.state == "on_pace"


def test_what_is_kept_in_a_range_is_in_it_near_it_or_out() -> None:
    availability: dict[str, Any] = {
        "type": "maintain",
        "commit": Decimal("0.9"),
        "target": Decimal(1),
        "measurement": '{"low": "95", "high": "100", "tolerance": "5"}',
    }
    verdicts = [standing(value, **availability).verdict for value in ("97", "93", "80")]
    assert [verdict.state for verdict in verdicts] == ["in_range", "near_range", "out_of_range"]
    assert [verdict.progress for verdict in verdicts] == [1, Decimal("0.6"), 0]
    assert "from 95 to 100" in verdicts[1].explain()


def test_what_is_done_or_not_has_no_pace_before_its_day() -> None:
    certified: dict[str, Any] = {"type": "binary", "commit": Decimal(1), "target": Decimal(1)}
    assert standing("0", **certified).verdict.state == "unpaced"
    assert standing("1", **certified).verdict.state == "ahead"
    late = datetime.fromisoformat("2026-04-02T00:00:00+00:00")
    assert standing("0", late, **certified).verdict.state == "far_behind"


def test_milestones_are_expected_by_their_days() -> None:
    dated = (
        '{"milestones": [{"milestone_id": "00000000-0000-0000-0000-000000000001", "title": "Shell", "weight": "0.5",'
        ' "due_on": "2026-02-01"}, {"milestone_id": "00000000-0000-0000-0000-000000000002", "title": "Roof",'
        ' "weight": "0.5", "due_on": "2026-03-31"}]}'
    )
    building: dict[str, Any] = {"type": "milestone", "target": Decimal(1), "commit": Decimal(1), "measurement": dated}
    verdict = standing("0.25", **building).verdict
    assert (verdict.expected, verdict.state, verdict.days) == (Decimal("0.5"), "behind", Decimal("-14.0"))


def test_a_key_result_without_a_check_in_counts_as_standing_at_its_start() -> None:
    summary = summarise([standing("100"), standing(None)])
    assert (summary.progress, summary.pace) == (Decimal("0.5000"), "on_pace")


def test_an_objective_that_nobody_has_checked_in_on_waits() -> None:
    assert summarise([standing(None), standing(None)]).pace == "pending"


def test_an_objective_has_not_started_before_its_first_key_result() -> None:
    before = datetime.fromisoformat("2025-12-31T12:00:00+00:00")
    assert summarise([standing(None, before), standing(None, before)]).pace == "not_started"


@pytest.mark.parametrize(
    ("value", "pace"), [("56", "ahead"), ("55", "on_pace"), ("40", "behind"), ("25", "far_behind")], ids=str
)
def test_an_objective_of_one_key_result_has_its_pace(value: str, pace: str) -> None:
    only = standing(value)
    assert summarise([only]).pace == only.verdict.state == pace


def test_an_objective_was_last_checked_in_when_any_of_its_key_results_was() -> None:
    assert summarise([standing("1"), standing("2", checked_in_at=day(44)), standing(None)]).checked_in_at == day(44)


def cycle(name: str, starts_on: date, ends_on: date, state: str = "active") -> Cycle:
    return Cycle(named(name), name, starts_on, ends_on, state)


WINTER = cycle("winter", date(2026, 1, 1), date(2026, 3, 31))
SPRING = cycle("spring", date(2026, 4, 1), date(2026, 6, 30), "draft")
YEAR = cycle("year", date(2026, 1, 1), date(2026, 12, 31), "draft")


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2026, 1, 1), WINTER),
        (date(2026, 3, 31), WINTER),
        (date(2026, 4, 1), SPRING),
        (date(2026, 12, 31), YEAR),
        (date(2025, 12, 31), SPRING),
        (date(2027, 1, 1), SPRING),
    ],
    ids=str,
)
def test_the_board_shows_the_cycle_that_runs_the_active_and_youngest_first_else_the_newest(
    today: date, expected: Cycle
) -> None:
    for cycles in ([WINTER, SPRING, YEAR], [YEAR, SPRING, WINTER]):
        assert cycle_of_the_day(cycles, today) == expected


def test_without_cycles_there_is_none_to_show() -> None:
    assert cycle_of_the_day([], date(2026, 1, 1)) is None
