"""Values and confidences typed on the command line, read as leniently as those in spreadsheets."""

from decimal import Decimal

from okr_cli.failures import SetupError
from okr_cli.spreadsheet import confidences, quantities


def value(text: str) -> str:
    """A value as contracts carry it. Raises SetupError where a guess would be needed."""
    numeral = quantities.numeral(text)
    if numeral is None or numeral.tail:
        raise SetupError(f"{text!r} is not a number, as in 12.5 or 1200", reason="NOT_A_NUMBER")
    if numeral.ambiguous:
        point, comma = (quantities.written(numeral.value(sign)) for sign in (".", ","))
        raise SetupError(f"{text!r} is {point} or {comma}; write it that way", reason="AMBIGUOUS_NUMBER")
    return quantities.written(numeral.value("."))


def share(text: str) -> str:
    """How much of something is done: `0.5` or `50%`. Raises SetupError for what is neither."""
    numeral = quantities.numeral(text)
    if numeral is not None and not numeral.tail and not numeral.ambiguous:
        found = numeral.value(".") / 100 if numeral.percent else numeral.value(".")
        if 0 <= found <= Decimal(1):
            return quantities.written(found)
    raise SetupError(f"{text!r} is no share of a milestone: expected 0.0 to 1.0, or 0% to 100%", reason="NOT_A_SHARE")


def confidence(text: str) -> str:
    """`0.7`, `70%`, `7/10` or `7`. Raises SetupError for what is none of these."""
    found = confidences.of_ten(text)
    numeral = quantities.numeral(text)
    if found is None and numeral is not None and not numeral.tail and not numeral.ambiguous:
        number = numeral.value(".")
        if numeral.percent:
            found = number / 100
        else:
            found = confidences.scaled(number, confidences.FRACTION if number <= 1 else confidences.TENTHS)
    if found is None or not 0 <= found <= Decimal(1):
        raise SetupError(f"confidence {text!r}: expected 0.0 to 1.0, 0% to 100%, or 0 to 10", reason="NOT_A_CONFIDENCE")
    return quantities.written(found)
