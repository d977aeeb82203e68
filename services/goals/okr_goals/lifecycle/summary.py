"""What the grades of a whole cycle come to."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from okr_contracts.goals import GradeZone
from okr_goals.read_model import GradeEntry
from okr_rules.grading import PortfolioHint, portfolio_hint
from okr_rules.parameters import RuleParameters
from okr_rules.rollup import mean


class Summary(NamedTuple):
    """`mean` is None while nothing is graded. It is a hint about the targets, not a grade of anybody."""

    key_results: int
    graded: int
    zones: Counter[GradeZone]
    mean: Decimal | None
    hint: PortfolioHint | None
    explanation: str


def summarise(grades: Sequence[GradeEntry | None], parameters: RuleParameters) -> Summary:
    """Of the key results that were tried, with the grade of each that has one."""
    given = [grade for grade in grades if grade is not None]
    average = mean(grade.final for grade in given)
    complete = len(given) == len(grades)
    hint = portfolio_hint(average, parameters) if complete else None
    zones: Counter[GradeZone] = Counter(grade.zone for grade in given)
    return Summary(len(grades), len(given), zones, average, hint, _words(average, hint, complete, parameters))


def _words(average: Decimal | None, hint: PortfolioHint | None, complete: bool, parameters: RuleParameters) -> str:
    rule = f"rule portfolio, version {parameters.version}"
    if average is None:
        return ""
    if not complete:
        return f"The mean so far is {average:f}; what it says is told when all is graded ({rule})."
    match hint:
        case "too_safe":
            return (
                f"The mean {average:f} lies above {parameters.too_safe_above:f}: targets may have been too safe. "
                f"Aim for more next time ({rule})."
            )
        case "overreached":
            return (
                f"The mean {average:f} lies below {parameters.overreached_below:f}: this was more than could be done. "
                f"Choose fewer, or nearer, targets ({rule})."
            )
        case _:
            return (
                f"The mean {average:f} lies from {parameters.overreached_below:f} to {parameters.too_safe_above:f}: "
                f"targets asked for much and were within reach ({rule})."
            )
