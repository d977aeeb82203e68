"""Decimal arithmetic that never loses a digit that matters: four places inside, half up."""

from decimal import ROUND_HALF_UP, Context, Decimal

EXACT = Context(prec=128, rounding=ROUND_HALF_UP)
"""Precise enough for the quotient of any two numbers of 20 digits, whatever their exponents at the edge."""

ZERO = Decimal(0)
ONE = Decimal(1)
PLACES = Decimal("0.0001")


def clamp(share: Decimal) -> Decimal:
    """`share`, but not below 0 and not above 1."""
    return min(ONE, max(ZERO, share))


def four_places(exact: Decimal) -> Decimal:
    """`exact` with four places, half up, except that what is short of 1 stays short of it.

    Otherwise 0.99996 would be shown as reached.
    """
    rounded = EXACT.add(EXACT.quantize(exact, PLACES), ZERO)  # the sum turns a minus zero into a plain one
    return ONE - PLACES if rounded >= ONE > exact else rounded
