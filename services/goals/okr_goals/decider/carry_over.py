"""Going on with a key result in another cycle: the new one, as far as it follows from the former."""

from decimal import Decimal

from pydantic import BaseModel

from okr_chassis.rpc.fields import Id, OptionalDay, OptionalNumber
from okr_contracts.errors import DomainError
from okr_contracts.goals import KeyResultType, Measurement
from okr_goals.decider.commands import DefineKeyResult, Measured, NamedChampion
from okr_goals.decider.objective import KeyResult
from okr_rules.commitment import ambition_of, direction_of, order_fault, plain, reached
from okr_rules.exact import ONE

MOVING: frozenset[KeyResultType] = frozenset(("increase", "decrease"))


class CarryOverSaid(BaseModel, frozen=True):
    """What is left out is taken from the former key result where it still fits."""

    key_result_id: Id
    new_key_result_id: Id
    objective_id: Id
    commit: OptionalNumber = None
    target: OptionalNumber = None
    due_on: OptionalDay = None


def continued(former: KeyResult, value: Decimal | None, said: CarryOverSaid) -> DefineKeyResult:
    """The same promise anew, from where the former key result stands. Its progress begins at 0. Raises DomainError."""
    defined = former.defined
    if defined.type == "milestone":
        raise DomainError(
            "MILESTONES_ARE_DATED",
            f"the milestones of {defined.title!r} have their days in its own cycle; define a key result with those "
            "that are left, and say what it is continued from",
        )
    moves = defined.type in MOVING
    start, commit, target = _marks(former, value, said) if moves else (None, said.commit, said.target)
    if defined.type == "maintain":
        commit, target = commit or former.commit, target or former.target
    return DefineKeyResult(
        objective_id=said.objective_id,
        key_result_id=said.new_key_result_id,
        title=defined.title,
        type=None if moves else defined.type,
        measurement=_measured(former, start, target),
        start=start,
        commit=commit,
        target=target,
        unit=defined.unit,
        due_on=said.due_on,
        champions=tuple(NamedChampion(person_id=each.person_id, role=each.role) for each in former.champions),
        continued_from=defined.key_result_id,
    )


def _marks(
    former: KeyResult, value: Decimal | None, said: CarryOverSaid
) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """Start, commit (None: to be proposed) and target of a way that goes on."""
    start = former.defined.start if value is None else value
    target = former.target if said.target is None else said.target
    if said.target is None and reached(former.defined.start, former.target, start):
        raise DomainError(
            "TARGET_REACHED",
            f"{former.defined.title!r} stands at {plain(start):f} and has come to its target, {plain(target):f}; "
            "say a new target, or begin something else",
        )
    if said.commit is not None:
        return start, said.commit, target
    if ambition_of(former.commit, former.target) == "committed":
        return start, target, target
    fits = direction_of(start, target) is not None and order_fault(start, former.commit, target) is None
    return start, former.commit if fits and former.commit != target else None, target


def _measured(former: KeyResult, start: Decimal | None, target: Decimal | None) -> Measured:
    """What else there was to it, but for planned points, whose days are over."""
    details: Measurement = former.defined.measurement
    stretch = details.stretch if former.defined.type != "ordinal" else None
    if stretch is not None and start is not None and target is not None:
        stretch = stretch if order_fault(start, target, target, stretch) is None else None
    return Measured(
        stretch=stretch,
        ambition=details.ambition,
        indicator=details.indicator,
        guard_rail=details.guard_rail,
        weight=details.weight if details.weight != ONE else None,
        low=details.low,
        high=details.high,
        tolerance=details.tolerance,
        meanings=details.meanings,
        metric=details.metric,
        update_days=details.update_days or 0,
    )
