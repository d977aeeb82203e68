"""Good practice, checked on drafts: every rule finds its weak example and leaves its strong one alone."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal as D

import pytest

from okr_rules.lint import (
    DraftKeyResult,
    DraftObjective,
    Finding,
    Severity,
    blame_in,
    blocking,
    complexity,
    lint,
    rules,
)

ACTIVATION = DraftKeyResult(
    "activation", "Activation rate", "increase", "%", D(41), D(50), D(60), indicator="lagging",
    ambition="aspirational", accountable=("ana",), metric="activation", confidence=D("0.5"),
)  # fmt: skip
FIRST_RESULT = DraftKeyResult(
    "first-result", "Median time to first result", "decrease", "days", D(3), D(2), D(1), indicator="leading",
    ambition="aspirational", accountable=("ben",), metric="time to first result", confidence=D("0.5"),
)  # fmt: skip
TICKETS = DraftKeyResult(
    "tickets", "Onboarding complaints per 100 users", "decrease", "tickets", D(22), D(10), D(10),
    ambition="committed", accountable=("ines",), guard_rail=True, metric="complaints",
)  # fmt: skip
GOOD = DraftObjective(
    "o", "New users see value in their first week", "ines", "2026 Q2", "product",
    (ACTIVATION, FIRST_RESULT, TICKETS), has_parent=True, parent_title="Growth we can plan with",
)  # fmt: skip


def with_key_result(**changes: object) -> DraftObjective:
    """GOOD, with its first key result changed."""
    return replace(GOOD, key_results=(replace(ACTIVATION, **changes), FIRST_RESULT, TICKETS))  # type: ignore[arg-type]  # names are checked by replace


def found(objective: DraftObjective) -> list[tuple[str, Severity, str]]:
    return [(finding.rule.id, finding.severity, finding.subject) for finding in lint(objective)]


def test_a_good_draft_has_nothing_to_be_said_about() -> None:
    assert lint(GOOD) == []


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (replace(GOOD, owner=None), ("O1", "error", "o")),
        (replace(GOOD, title="Launch the new help centre for all"), ("O2", "warning", "o")),
        (replace(GOOD, title="Grow revenue by 20 percent this year"), ("O3", "warning", "o")),
        (replace(GOOD, title="Quality"), ("O4", "warning", "o")),
        (replace(GOOD, title=" ".join(["word"] * 21)), ("O4", "warning", "o")),
        (replace(GOOD, objectives_of_unit=4), ("O5", "warning", "o")),
        (replace(GOOD, objectives_of_unit=6), ("O5", "error", "o")),
        (replace(GOOD, has_parent=False), ("O6", "error", "o")),
        (replace(GOOD, has_parent=False, first_cycle=True), ("O6", "warning", "o")),
        (replace(GOOD, parent_title="new users see VALUE, in their first week"), ("O7", "hint", "o")),
        (replace(GOOD, key_results=()), ("K1", "error", "o")),
        (replace(GOOD, key_results=(TICKETS,)), ("K1", "warning", "o")),
        (with_key_result(unit=""), ("K2", "error", "activation")),
        (with_key_result(start=D(60), commit=D(60), ambition="committed"), ("K3", "error", "activation")),
        (with_key_result(commit=D(70)), ("K4", "error", "activation")),
        (with_key_result(stretch=D(55)), ("K4", "error", "activation")),
        (with_key_result(title="Hold customer calls", unit="calls"), ("K5", "warning", "activation")),
        (
            replace(GOOD, key_results=tuple(replace(each, indicator="lagging") for each in GOOD.key_results)),
            ("K6", "warning", "o"),
        ),
        (
            replace(GOOD, key_results=(ACTIVATION, FIRST_RESULT)),
            ("K7", "warning", "first-result"),
        ),
        (with_key_result(accountable=()), ("K8", "error", "activation")),
        (with_key_result(accountable=("ana", "ben")), ("K8", "error", "activation")),
        (with_key_result(update_days=30), ("K9", "warning", "activation")),
        (with_key_result(guard_rail=True), ("K10", "error", "activation")),
        (replace(GOOD, accountable_elsewhere={"ana": 5}), ("K11", "warning", "o")),
        (replace(GOOD, metrics_elsewhere=frozenset({"Activation"})), ("K12", "warning", "activation")),
        (
            replace(GOOD, key_results=tuple(replace(each, confidence=D("0.95")) for each in GOOD.key_results)),
            ("K13", "hint", "o"),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_weak_draft_is_found_out(draft: DraftObjective, expected: tuple[str, Severity, str]) -> None:
    assert expected in found(draft)


def test_milestones_must_come_to_one() -> None:
    draft = with_key_result(kind="milestone", milestone_weights=(D("0.5"), D("0.6")))
    assert ("K3", "error", "activation") in found(draft)


def test_a_binary_key_result_is_never_a_stretch() -> None:
    assert ("K10", "error", "activation") in found(with_key_result(kind="binary"))


def test_all_findings_come_at_once_and_errors_first() -> None:
    poor = replace(GOOD, owner=None, title="Quality 2", key_results=(replace(ACTIVATION, accountable=()),))
    findings = lint(poor)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, key=["error", "warning", "hint"].index)
    assert {"O1", "O3", "O4", "K1", "K8"} <= {finding.rule.id for finding in findings}
    assert {finding.rule.id for finding in blocking(findings)} == {"O1", "K8"}


def test_a_rule_can_be_overridden_for_one_subject() -> None:
    draft = replace(GOOD, objectives_of_unit=6)
    assert _ids(lint(draft, overridden=[("O5", "o")])) == []
    assert _ids(lint(draft, overridden=[("O5", "another")])) == ["O5"]


def test_what_would_make_numbers_meaningless_cannot_be_overridden() -> None:
    draft = with_key_result(commit=D(70))
    assert _ids(lint(draft, overridden=[("K4", "activation")])) == ["K4"]
    assert {rule.id for rule in rules() if rule.binding} == {"O1", "K3", "K4", "K10"}


def test_every_rule_says_why_and_shows_a_weak_and_a_strong_example() -> None:
    known = rules()
    assert [rule.id for rule in known] == [*(f"O{nth}" for nth in range(1, 8)), *(f"K{nth}" for nth in range(1, 14))]
    assert all(rule.why and rule.weak and rule.strong for rule in known)


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        ("He failed to call the supplier", ["He failed"]),
        ("it was their fault, whose fault else?", ["their fault", "whose fault"]),
        ("Der Lieferant war unfähig", ["unfähig"]),
        ("The pump failed twice; we learned to keep a spare", []),
    ],
)
def test_wording_that_blames_a_person_is_pointed_at(text: str, blamed: list[str]) -> None:
    assert blame_in(text) == blamed


def test_simple_planning_gets_no_hint() -> None:
    assert complexity(3, 9, 0, 0, 3).hint == ""


def test_a_hint_names_what_to_drop_and_leaves_goals_for_last() -> None:
    assert "drop weights first" in complexity(4, 12, 14, 0, 3).hint
    assert "drop levels of alignment first" in complexity(8, 24, 1, 0, 6).hint
    assert "drop key results first" in complexity(8, 40, 0, 0, 2).hint


def _ids(findings: Sequence[Finding]) -> list[str]:
    return [finding.rule.id for finding in findings]
