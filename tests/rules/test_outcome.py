"""What a key result came to at the end of its cycle, kind by kind."""

from datetime import UTC, date, datetime
from decimal import Decimal as D

import pytest

from okr_rules.grading import portfolio_hint
from okr_rules.maintain import Range
from okr_rules.measure import Kind, Measure
from okr_rules.outcome import outcome_of
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.series import Reading

END = datetime(2026, 4, 1, tzinfo=UTC)
FEBRUARY, MARCH = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)


def measure(
    kind: Kind = "increase",
    start: str = "100",
    commit: str = "120",
    target: str = "150",
    stretch: str | None = "200",
    range_: Range | None = None,
) -> Measure:
    return Measure(
        D(start),
        D(commit),
        D(target),
        date(2026, 1, 1),
        date(2026, 3, 31),
        kind,
        None if stretch is None else D(stretch),
        range_,
    )


def at(value: str, moment: datetime = MARCH) -> Reading:
    return Reading(moment, D(value))


@pytest.mark.parametrize(
    ("value", "score", "zone"),
    [
        ("100", "0", "below_commit"),
        ("110", "0.15", "below_commit"),
        ("120", "0.3", "commit"),
        ("135", "0.5", "commit"),
        ("150", "0.7", "target"),
        ("175", "0.85", "target"),
        ("230", "1", "stretch"),
    ],
)
def test_a_way_is_scored_by_its_last_value(value: str, score: str, zone: str) -> None:
    found = outcome_of(measure(), [at("199", FEBRUARY), at(value)], END)
    assert (found.score, found.zone, found.value) == (D(score), zone, D(value))
    assert "rule grading, version 2026-1" in found.explain()


def test_what_is_promised_as_a_whole_is_scored_by_its_commit() -> None:
    found = outcome_of(measure(commit="150", stretch=None), [at("125")], END)
    assert (found.score, found.zone, found.ambition) == (D("0.5"), "below_commit", "committed")


def test_what_was_measured_after_the_end_does_not_count() -> None:
    late = at("200", END)
    assert outcome_of(measure(), [at("120"), late], END).score == D("0.3")
    assert outcome_of(measure(), [late], END).value is None


def test_nothing_measured_counts_as_not_begun() -> None:
    found = outcome_of(measure(), [], END)
    assert (found.score, found.zone, found.value) == (D(0), "below_commit", None)
    assert "Nothing was measured" in found.explain()


@pytest.mark.parametrize(
    ("value", "score", "zone"), [("0.5", "0.5", "commit"), ("1", "1", "target"), ("0.4", "0.4", "below_commit")]
)
def test_milestones_are_scored_by_the_weights_that_are_done(value: str, score: str, zone: str) -> None:
    found = outcome_of(measure("milestone", "0", "0.5", "1", None), [at(value)], END)
    assert (found.score, found.zone) == (D(score), zone)


@pytest.mark.parametrize(("value", "score", "zone"), [("0", "0", "below_commit"), ("1", "1", "target")])
def test_what_is_done_or_not_is_one_or_nothing(value: str, score: str, zone: str) -> None:
    found = outcome_of(measure("binary", "0", "1", "1", None), [at(value)], END)
    assert (found.score, found.zone) == (D(score), zone)


def test_a_baseline_is_reached_once_its_value_is_known_whatever_it_is() -> None:
    found = outcome_of(measure("baseline", "0", "1", "1", None), [at("-7")], END)
    assert (found.score, found.zone) == (D(1), "target")


@pytest.mark.parametrize(
    ("value", "score", "zone"),
    [("0", "0", "below_commit"), ("1", "0.3", "commit"), ("2", "0.7", "target"), ("3", "1", "stretch")],
)
def test_zones_in_words_have_a_score_each(value: str, score: str, zone: str) -> None:
    found = outcome_of(measure("ordinal", "0", "1", "2", "3"), [at(value)], END)
    assert (found.score, found.zone) == (D(score), zone)


def test_a_range_is_scored_by_the_share_of_the_time_inside() -> None:
    """Inside from the first of January, outside from the first of March: 59 of 90 days."""
    kept = measure("maintain", "0", "0.9", "1", None, Range(D(95), None, D(5)))
    inside = Reading(datetime(2026, 1, 1, tzinfo=UTC), D(96))
    found = outcome_of(kept, [inside, at("90")], END)
    assert found.value == D("0.6556")
    assert (found.score, found.zone) == (D("0.2185"), "below_commit")
    assert outcome_of(kept, [inside], END).score == D(1)


def test_a_cycles_own_anchors_decide() -> None:
    old = RuleParameters(version="2020-1", commit_score=D("0.5"), target_score=D("0.9"))
    found = outcome_of(measure(), [at("120")], END, parameters=old)
    assert found.score == D("0.5")
    assert "version 2020-1" in found.explain()


def test_parameters_come_back_from_their_document() -> None:
    rules = RuleParameters(version="2020-1", commit_score=D("0.5"), objectives_at_most=9)
    assert RuleParameters.of("2020-1", rules.document()) == rules


def test_a_document_from_before_a_number_existed_takes_todays() -> None:
    document = {name: text for name, text in DEFAULTS.document().items() if name != "too_safe_above"}
    found = RuleParameters.of("2019-1", document | {"a_rule_of_the_future": "7"})
    assert found.too_safe_above == DEFAULTS.too_safe_above


@pytest.mark.parametrize(
    ("mean", "hint"), [("0.86", "too_safe"), ("0.85", None), ("0.4", None), ("0.39", "overreached"), (None, None)]
)
def test_the_mean_of_a_cycle_hints_at_how_its_targets_were_set(mean: str | None, hint: str | None) -> None:
    assert portfolio_hint(None if mean is None else D(mean)) == hint
