"""Many progresses as one: weighted, and undefined rather than zero where there is nothing to weigh."""

from collections.abc import Iterable
from decimal import Decimal

from okr_rules.exact import EXACT, ONE, ZERO, four_places
from okr_rules.parameters import DEFAULTS, RuleParameters


def roll_up(weighted: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """The weighted mean of (weight, progress) pairs, four places; None when there are none.

    A weight is stated for each and lies above 0 (ValueError), so that nothing drops out unnoticed.
    """
    total, weights = ZERO, ZERO
    for weight, share in weighted:
        if weight <= 0:
            raise ValueError(f"a weight lies above 0, found {weight}")
        total = EXACT.add(total, EXACT.multiply(weight, share))
        weights = EXACT.add(weights, weight)
    return None if weights == 0 else four_places(EXACT.divide(total, weights))


def mean(shares: Iterable[Decimal]) -> Decimal | None:
    """The roll-up of equals, each of weight 1."""
    return roll_up((ONE, share) for share in shares)


def with_children(
    own: Decimal | None, children: Decimal | None, parameters: RuleParameters = DEFAULTS
) -> Decimal | None:
    """An objective's own roll-up mixed with that of its children, by the share the parameters give them.

    Where one of the two is undefined the other decides alone.
    """
    if own is None or children is None:
        return children if own is None else own
    weight = parameters.children_share
    return four_places(EXACT.add(EXACT.multiply(ONE - weight, own), EXACT.multiply(weight, children)))
