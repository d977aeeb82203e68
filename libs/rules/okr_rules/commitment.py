"""Start, commit, target, stretch: their order, the proposed promise, and where a value lies among them."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

from okr_rules.exact import EXACT
from okr_rules.parameters import DEFAULTS, RuleParameters

Direction = Literal["increase", "decrease"]
Ambition = Literal["committed", "aspirational"]
Zone = Literal["below_commit", "commit", "target", "stretch"]
SMALLEST = Decimal("1E-10")
"""The last place that numbers of the platform have."""

WRITABLE = Context(prec=20, rounding=ROUND_HALF_UP)
"""As many digits as a number may be entered with: what we propose can be sent back to us."""

OrderFault = Literal["START_EQUALS_TARGET", "COMMIT_BEFORE_START", "COMMIT_BEYOND_TARGET", "STRETCH_BEFORE_TARGET"]


def direction_of(start: Decimal, target: Decimal) -> Direction | None:
    """Which way leads from `start` to `target`; None when they are the same."""
    if start == target:
        return None
    return "increase" if target > start else "decrease"


def default_commit(start: Decimal, target: Decimal, parameters: RuleParameters = DEFAULTS) -> Decimal:
    """The promise proposed where none is stated: half of the way, with at most ten places and twenty digits.

    Where the way is too short for that, the target itself.
    """
    way = EXACT.multiply(parameters.default_commit_share, EXACT.subtract(target, start))
    halfway = WRITABLE.plus(EXACT.add(start, way).quantize(SMALLEST, context=EXACT))
    return plain(target if halfway == start else halfway)


def proposed(start: Decimal, stretch: Decimal, parameters: RuleParameters = DEFAULTS) -> tuple[Decimal, Decimal]:
    """The commit and target proposed where only a stretch is stated: three and seven tenths of the way to it."""

    def at(share: Decimal) -> Decimal:
        way = EXACT.multiply(share, EXACT.subtract(stretch, start))
        mark = WRITABLE.plus(EXACT.add(start, way).quantize(SMALLEST, context=EXACT))
        return plain(stretch if mark == start else mark)

    return at(parameters.commit_score), at(parameters.target_score)


def plain(number: Decimal) -> Decimal:
    """The same number without trailing zeros and without an exponent: 50, not 5E+1 or 50.0."""
    stripped = number.normalize(EXACT)
    if stripped == 0:
        return Decimal(0)
    exponent = stripped.as_tuple().exponent
    return stripped.quantize(Decimal(1), context=EXACT) if isinstance(exponent, int) and exponent > 0 else stripped


def order_fault(start: Decimal, commit: Decimal, target: Decimal, stretch: Decimal | None = None) -> OrderFault | None:
    """The first thing wrong with the order start < commit ≤ target ≤ stretch (reversed when counting down)."""
    direction = direction_of(start, target)
    if direction is None:
        return "START_EQUALS_TARGET"
    sign = 1 if direction == "increase" else -1
    if sign * start >= sign * commit:
        return "COMMIT_BEFORE_START"
    if sign * commit > sign * target:
        return "COMMIT_BEYOND_TARGET"
    if stretch is not None and sign * stretch < sign * target:
        return "STRETCH_BEFORE_TARGET"
    return None


def ambition_of(commit: Decimal, target: Decimal) -> Ambition:
    """Committed: the whole target is promised. Aspirational: the target lies beyond the promise."""
    return "committed" if commit == target else "aspirational"


def reached(start: Decimal, mark: Decimal, value: Decimal) -> bool:
    """Whether `value`, coming from `start`, has come to `mark` or beyond it."""
    return value >= mark if mark > start else value <= mark


def zone(start: Decimal, commit: Decimal, target: Decimal, value: Decimal, stretch: Decimal | None = None) -> Zone:
    """The highest mark that `value` has reached. Commit and target are both a promise kept."""
    if stretch is not None and stretch != target and reached(start, stretch, value):
        return "stretch"
    if reached(start, target, value):
        return "target"
    if reached(start, commit, value):
        return "commit"
    return "below_commit"
