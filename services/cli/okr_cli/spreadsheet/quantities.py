"""Numbers as people write them: `1,234.5`, `1.234,5`, `1 234,5`, `1'234.5`, `45 %`, `€ 12`, `(3.5)`.

A numeral is read both ways, with decimal point and with decimal comma. Most allow one reading only;
those are the evidence by which a truly ambiguous one (`1,234`) is settled: first the other numbers of
its column, then those of the whole file, then the file's own habit (a CSV cut by semicolons comes
from a place where the comma is the decimal sign). Contradicting evidence settles nothing: that is a fault.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, NamedTuple

DecimalSign = Literal[".", ","]
BLANKS = frozenset({"-", "\u2013", "\u2014", "n/a", "na", "none"})
"""What people write into a cell to say that it is empty."""

_SPACES = re.compile("[\u00a0\u2007\u2009\u202f\t]")
_CURRENCY = "[€$£¥₹₺₽₩₪₴₫฿]|(?:EUR|USD|GBP|CHF|JPY|CNY|INR|BRL|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|ZAR)(?![A-Za-z])"
_NUMERAL = re.compile(
    rf"""(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY})?\s*(?P<sign_after>[+-]?)\s*
         (?P<body>[0-9]+(?:[.,' ][0-9]+)*|[.,][0-9]+)\s*(?P<tail>[^0-9].*)?""",
    re.VERBOSE | re.DOTALL,
)
_GROUPED = re.compile(r"[0-9]{1,3}(?P<mark>[ '])[0-9]{3}(?:(?P=mark)[0-9]{3})*(?P<rest>[.,][0-9]+)?")


class Numeral(NamedTuple):
    """One written number: its value if the decimal sign is a point, and if it is a comma. None: impossible."""

    point: Decimal | None
    comma: Decimal | None
    percent: bool = False
    currency: str = ""
    tail: str = ""
    """Whatever stands behind the number and is neither percent nor currency, such as `weeks`."""

    @property
    def ambiguous(self) -> bool:
        return self.point is not None and self.comma is not None and self.point != self.comma

    def value(self, sign: DecimalSign) -> Decimal:
        """The number, with `sign` to settle an ambiguous one."""
        first, second = (self.point, self.comma) if sign == "." else (self.comma, self.point)
        chosen = first if first is not None else second
        assert chosen is not None, "a numeral has at least one reading"
        return chosen


def numeral(text: str) -> Numeral | None:
    """What a text says as a number, or None when it is no number at all."""
    text = _SPACES.sub(" ", text).replace("\u2212", "-").replace("\u2013", "-").replace("\u2019", "'").strip()
    in_brackets = text.startswith("(") and text.endswith(")")
    match = _NUMERAL.fullmatch(text[1:-1].strip() if in_brackets else text)
    if match is None or (match["sign"] and match["sign_after"]):
        return None
    negative = in_brackets or "-" in (match["sign"], match["sign_after"])
    readings = _readings(match["body"])
    if readings is None:
        return None
    percent, currency, tail = _tail_of((match["tail"] or "").strip())
    point, comma = ((None if each is None else -each if negative else each) for each in readings)
    return Numeral(point, comma, percent, match["before"] or currency, tail)


def _tail_of(tail: str) -> tuple[bool, str, str]:
    if tail in {"%", "\uff05"}:
        return True, "", ""
    if re.fullmatch(_CURRENCY, tail):
        return False, tail, ""
    return False, "", tail


def _readings(body: str) -> tuple[Decimal | None, Decimal | None] | None:
    """Both readings of digits and marks; None when the marks make no sense."""
    grouped = _GROUPED.fullmatch(body)
    if grouped is not None:
        rest = grouped["rest"] or ""
        whole = body[: len(body) - len(rest)].replace(grouped["mark"], "")
        if not rest:
            return Decimal(whole), Decimal(whole)
        value = Decimal(f"{whole}.{rest[1:]}")
        return (value, None) if rest[0] == "." else (None, value)
    if " " in body or "'" in body:
        return None
    point, comma = _western(body, "."), _western(body, ",")
    return None if point is None and comma is None else (point, comma)


def _western(body: str, sign: DecimalSign) -> Decimal | None:
    """The value when `sign` is the decimal sign and the other one groups thousands."""
    grouping = "," if sign == "." else "."
    whole, _, decimals = body.partition(sign)
    if sign in decimals or grouping in decimals:
        return None
    if grouping in whole and not re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:\{grouping}[0-9]{{3}})+", whole):
        return None
    return (
        Decimal(f"{whole.replace(grouping, '') or '0'}.{decimals or '0'}")
        if decimals
        else Decimal(whole.replace(grouping, "") or "0")
    )


def decimal_sign(numerals: Iterable[Numeral]) -> DecimalSign | Literal["mixed"] | None:
    """The decimal sign that the unambiguous numbers prove; None when they prove nothing."""
    signs: set[DecimalSign] = set()
    for each in numerals:
        if each.comma is None:
            signs.add(".")
        elif each.point is None:
            signs.add(",")
    if len(signs) == 2:
        return "mixed"
    return signs.pop() if signs else None


def digits(value: Decimal) -> int:
    """How many digits a number needs when written in full."""
    return len(written(value).lstrip("-").replace(".", "").lstrip("0"))


def places(value: Decimal) -> int:
    """How many digits stand after the decimal sign, trailing zeros left out."""
    return len(written(value).partition(".")[2])


def written(value: Decimal) -> str:
    """A number as contracts carry it: plain digits, a point, no exponent, no trailing zeros."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text
