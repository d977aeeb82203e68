"""How far a key result has come."""

from decimal import ROUND_HALF_UP, Decimal

from okr_rules.exact import EXACT, ONE, clamp, four_places


def raw_progress(start: Decimal, target: Decimal, value: Decimal) -> Decimal:
    """The way from `start` to `target` that `value` stands for, unclamped, with four places.

    Above 1 means over-achieved, below 0 worse than at the start. A target below its start counts
    downwards. Raises ValueError when start equals target.
    """
    if start == target:
        raise ValueError(f"start and target are both {start}: a key result needs a distance to cover")
    return four_places(EXACT.divide(EXACT.subtract(value, start), EXACT.subtract(target, start)))


def progress(start: Decimal, target: Decimal, value: Decimal) -> Decimal:
    """How far a key result has come from `start` towards `target`: 0 to 1, four places.

    All three are in the key result's own unit (euros, percent, customers). The scale is that of OKR
    grades (Google re:Work, "Grade OKRs"). Raises ValueError when start equals target.
    """
    return clamp(raw_progress(start, target, value))


def percent(share: Decimal) -> str:
    """A share as people read it, "42 %". It says "100 %" of nothing that is short of 1."""
    whole = EXACT.multiply(share, Decimal(100)).quantize(ONE, ROUND_HALF_UP, EXACT)
    if share < ONE <= whole / 100:
        whole = Decimal(99)
    return f"{whole:f} %"
