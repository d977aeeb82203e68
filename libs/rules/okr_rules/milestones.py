"""Key results made of dated milestones, each worth its weight."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from okr_rules.exact import EXACT, ONE, ZERO, four_places
from okr_rules.parameters import DEFAULTS, RuleParameters


@dataclass(frozen=True)
class Milestone:
    """`share` is how much of it is done, 0 to 1. Only what somebody `accepted` is done altogether."""

    weight: Decimal
    due_on: date
    share: Decimal = ZERO
    accepted: bool = False


def weights_fault(weights: Iterable[Decimal]) -> str | None:
    """What is wrong with the weights of a key result's milestones; None when they are above 0 and come to 1."""
    stated = list(weights)
    if not stated:
        return "a milestone key result has at least one milestone, found none"
    if any(weight <= 0 for weight in stated):
        return f"a milestone's weight lies above 0, found {min(stated):f}"
    if (total := sum(stated, ZERO)) != ONE:
        return f"the weights of milestones come to 1, found {total:f}"
    return None


class Counted(Protocol):
    """A milestone as far as it counts."""

    @property
    def weight(self) -> Decimal: ...
    @property
    def share(self) -> Decimal: ...
    @property
    def accepted(self) -> bool: ...


def progress_of(milestones: Iterable[Counted], parameters: RuleParameters = DEFAULTS) -> Decimal:
    """The weights of what is done, four places. Nobody's word alone takes a milestone beyond the partial limit."""
    done = ZERO
    for each in milestones:
        share = ONE if each.accepted else min(each.share, parameters.partial_milestone_limit)
        done = EXACT.add(done, EXACT.multiply(each.weight, share))
    return four_places(done)
