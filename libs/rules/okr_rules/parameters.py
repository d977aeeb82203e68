"""The thresholds of the rules, as one named and versioned value."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class RuleParameters:
    """Every number a rule compares with. Change one, and `version` changes with it.

    Shares lie between 0 and 1. A delta is progress less what was expected by now, so it is below
    zero for whoever is behind.
    """

    version: str = "2026-1"

    just_started_share: Decimal = Decimal("0.10")
    """While less than this share of the time has passed, pace says nothing yet."""
    ahead_from: Decimal = Decimal("0.05")
    on_pace_from: Decimal = Decimal("-0.10")
    behind_from: Decimal = Decimal("-0.25")
    """The lowest delta of each state; what lies below the last is far behind."""

    default_commit_share: Decimal = Decimal("0.5")
    """Where on the way from start to target a promise is proposed."""

    commit_score: Decimal = Decimal("0.3")
    target_score: Decimal = Decimal("0.7")
    """Scores of an aspirational key result at its commit and its target; the stretch value scores 1."""
    partly_from: Decimal = Decimal("0.4")
    achieved_from: Decimal = Decimal("0.7")
    """The lowest scores of the middle and the upper band."""

    maintain_commit_share: Decimal = Decimal("0.9")
    maintain_target_share: Decimal = Decimal("1")
    """The shares of the time inside its range that a maintain key result promises and hopes for by default."""
    partial_milestone_limit: Decimal = Decimal("0.9")
    """How far a milestone may count before somebody accepted it as done."""

    objectives_per_team: int = 3
    objectives_at_most: int = 5
    key_results_at_least: int = 2
    key_results_to: int = 5
    key_results_at_most: int = 7
    title_words_at_least: int = 4
    title_words_to: int = 20
    accountable_for_at_most: int = 5
    sandbagging_above: Decimal = Decimal("0.9")
    fantasy_below: Decimal = Decimal("0.25")
    """Mean confidences at drafting that hint at targets too easy or out of reach."""
    complexity_hint_above: Decimal = Decimal("20")
    alignment_depth_free: int = 3
    """Levels of alignment that cost no complexity."""

    children_share: Decimal = Decimal("0")
    """How much of an objective's roll-up its children decide (lambda); contribution is not arithmetic."""

    max_alignment_depth: int = 6
    """How many objectives a line of sight may pass, the first and the last included."""


DEFAULTS = RuleParameters()
