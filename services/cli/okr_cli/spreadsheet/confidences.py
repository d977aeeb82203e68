"""Confidence as people write it: `0.7`, `70%`, `7/10`, or a bare `7`.

A bare number is read by the scale of its column. The header may name it ("Confidence (0-10)"),
otherwise the numbers do: any above 10 means percent; else, unless most lie between 0 and 1, any above
1 means tenths, which come in whole and half steps (so a lone 1.2 is a fault, not 0.12); else 0 to 1.
"""

import re
from collections.abc import Iterable
from decimal import Decimal

ONE = Decimal(1)
FRACTION, TENTHS, PERCENT = Decimal(1), Decimal(10), Decimal(100)

_OF = re.compile(r"\s*([0-9]+(?:[.,][0-9]+)?)\s*(?:/|of|out of)\s*(10|100|5)\s*", re.ASCII | re.IGNORECASE)


def stated_scale(header: str) -> Decimal | None:
    """The scale a header names, if it does."""
    text = header.replace(" ", "")
    if "%" in text or re.search(r"(?:-|\u2013|to|/)100\b", text):
        return PERCENT
    if re.search(r"(?:-|\u2013|to|/|of)10\b", text):
        return TENTHS
    if re.search(r"(?:-|\u2013|to)1(?:[.,]0)?\b", text):
        return FRACTION
    return None


def told_scale(bare: Iterable[Decimal]) -> Decimal:
    """The scale that bare numbers of one column are on."""
    numbers = list(bare)
    if any(number > 10 for number in numbers):
        return PERCENT
    above = sum(1 for number in numbers if number > 1)
    between = sum(1 for number in numbers if 0 < number < 1)
    return TENTHS if above > between else FRACTION


def of_ten(text: str) -> Decimal | None:
    """`7/10`, `7 of 10` and the like as 0 to 1; None for anything else."""
    match = _OF.fullmatch(text)
    return None if match is None else Decimal(match[1].replace(",", ".")) / Decimal(match[2])


def scaled(number: Decimal, scale: Decimal) -> Decimal | None:
    """A bare number as 0 to 1; None when it does not fit its scale."""
    if scale == TENTHS and number * 2 % 1:
        return None
    value = number / scale
    return value if 0 <= value <= ONE else None
