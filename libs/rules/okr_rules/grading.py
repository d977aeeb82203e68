"""Scores at the end of a cycle, 0.0 to 1.0. A promise kept is never a failure."""

from decimal import Decimal
from itertools import pairwise
from typing import Literal

from okr_rules.commitment import Ambition, ambition_of
from okr_rules.exact import EXACT, ONE, ZERO, clamp, four_places
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.progress import progress

Band = Literal["learned", "partly", "achieved"]
PortfolioHint = Literal["too_safe", "overreached"]


def score(
    start: Decimal,
    commit: Decimal,
    target: Decimal,
    value: Decimal,
    *,
    stretch: Decimal | None = None,
    ambition: Ambition | None = None,
    parameters: RuleParameters = DEFAULTS,
) -> Decimal:
    """The grade of a key result that ended at `value`: 0 to 1, four places.

    An aspirational one runs straight through (start, 0), (commit, 0.3), (target, 0.7), (stretch, 1);
    without a stretch the target plays its role. A committed one is measured against its commit alone.
    The ambition is told from commit and target where it is not given.
    """
    if (ambition or ambition_of(commit, target)) == "committed":
        return progress(start, commit, value)
    anchors = [(start, ZERO), (commit, parameters.commit_score)]
    if stretch is None or stretch == target:
        anchors.append((target, ONE))
    else:
        anchors += [(target, parameters.target_score), (stretch, ONE)]
    return _through(anchors, value)


def band(grade: Decimal, parameters: RuleParameters = DEFAULTS) -> Band:
    """Google's three bands without the gaps between them."""
    if grade >= parameters.achieved_from:
        return "achieved"
    return "partly" if grade >= parameters.partly_from else "learned"


def portfolio_hint(mean: Decimal | None, parameters: RuleParameters = DEFAULTS) -> PortfolioHint | None:
    """What the mean of a whole cycle says of how its targets were set. A hint, never a grade of anybody."""
    if mean is None:
        return None
    if mean > parameters.too_safe_above:
        return "too_safe"
    return "overreached" if mean < parameters.overreached_below else None


def _through(anchors: list[tuple[Decimal, Decimal]], value: Decimal) -> Decimal:
    """The height at `value` of the straight pieces through `anchors` (mark, height), clamped at both ends."""
    sign = 1 if anchors[-1][0] > anchors[0][0] else -1
    for (low, low_score), (high, high_score) in reversed(list(pairwise(anchors))):
        if sign * value >= sign * high:
            return four_places(high_score)
        if sign * value >= sign * low:
            share = EXACT.divide(EXACT.subtract(value, low), EXACT.subtract(high, low))
            return four_places(EXACT.add(low_score, EXACT.multiply(share, high_score - low_score)))
    return clamp(anchors[0][1])
