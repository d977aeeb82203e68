"""The thresholds of the rules, as one named and versioned value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any


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
    too_safe_above: Decimal = Decimal("0.85")
    overreached_below: Decimal = Decimal("0.4")
    """Mean grades of a whole cycle that hint at targets too easy or out of reach."""

    partial_milestone_limit: Decimal = Decimal("0.9")
    """How far a milestone may count before somebody accepted it as done."""

    weekly_to_days: int = 45
    biweekly_to_days: int = 135
    """The longest cycles, in days, that are checked in weekly and every other week; longer ones every four weeks."""
    weekly_step_days: int = 7
    biweekly_step_days: int = 14
    monthly_step_days: int = 28
    """Days between check-ins. A weekly or shorter step, and a monthly or longer one, is asked to be confirmed."""
    due_weekday: int = 1
    """The weekday of check-ins unless an organisation says otherwise; Monday is 0."""
    due_hour: int = 9
    """The hour, where the people are, at which a check-in is due and reminders go out."""
    grace_working_days: int = 3
    upcoming_days: int = 2
    reminder_working_days: int = 1
    escalation_working_days: int = 3
    """So many working days after a due day its holder is reminded, and then the accountable champion is told."""
    suppressed_days: int = 5
    """Who updated so recently is not reminded."""
    missed_in_a_row: int = 2
    """After so many missed check-ins the objective's owner is asked to have a look."""
    reminders_a_week: int = 10
    """The most reminders of check-ins that one person is sent in seven days, and at most one a day on one subject."""
    reminded_within_days: int = 3
    """What lies further back is no news: nobody is reminded of it."""

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

    def document(self) -> dict[str, str]:
        """Every number by its name, as text: what a cycle keeps of them. The version stands beside it."""
        return {name: f"{number}" for name, number in asdict(self).items() if name != "version"}

    @classmethod
    def of(cls, version: str, document: Mapping[str, str]) -> "RuleParameters":
        """The parameters that a cycle has kept. A number that there was no rule for then is today's."""
        kept: dict[str, Any] = {
            each.name: type(each.default)(document[each.name])
            for each in fields(cls)
            if each.name in document and isinstance(each.default, Decimal | int)
        }
        return cls(version=version, **kept)


DEFAULTS = RuleParameters()
