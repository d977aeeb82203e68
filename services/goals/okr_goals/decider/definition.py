"""What a key result is, by its type: marks completed, order kept, everything else where it applies."""

from decimal import Decimal
from typing import assert_never

from okr_contracts.errors import DomainError
from okr_contracts.goals import (
    KeyResultDefined,
    KeyResultType,
    Measurement,
    ObjectiveDrafted,
    PlannedMilestone,
)
from okr_goals.decider.commands import DefineKeyResult, Measured
from okr_rules.commitment import ambition_of, default_commit, direction_of, order_fault, proposed
from okr_rules.exact import ONE, ZERO
from okr_rules.expectation import Scheduled
from okr_rules.maintain import Range
from okr_rules.measure import ORDINAL_ZONES
from okr_rules.milestones import weights_fault
from okr_rules.parameters import DEFAULTS

Marks = tuple[Decimal, Decimal, Decimal]
"""Start, commit and target."""

MOVING: frozenset[KeyResultType] = frozenset(("increase", "decrease"))
UNMARKED: frozenset[KeyResultType] = frozenset(("binary", "baseline", "ordinal"))
"""Their marks follow from the type."""
SCHEDULED: frozenset[KeyResultType] = MOVING | {"ordinal"}
"""Of what is planned points can be said; milestones have days of their own, and the rest covers no way."""


def define(command: DefineKeyResult, drafted: ObjectiveDrafted) -> KeyResultDefined:
    """The key result that is asked for, complete. Raises DomainError for what no rule allows."""
    type_, (start, commit, target) = _marks(command)
    return KeyResultDefined(
        key_result_id=command.key_result_id,
        objective_id=drafted.objective_id,
        title=command.title,
        type=type_,
        start=start,
        commit=commit,
        target=target,
        unit=command.unit,
        starts_on=drafted.cycle_starts_on,
        due_on=command.due_on or drafted.cycle_ends_on,
        measurement=_measurement(command, drafted, type_),
        continued_from=command.continued_from,
    )


def require_sound(defined: KeyResultDefined, drafted: ObjectiveDrafted) -> None:
    """Refuse a definition that breaks a rule of its type or leaves its cycle. Raises DomainError."""
    details = defined.measurement
    require_marks(defined.type, defined.start, defined.commit, defined.target, details.stretch)
    days = [
        ("due", defined.due_on),
        *((f"{each.title!r}", each.due_on) for each in details.milestones),
        *(("the schedule's", day) for day, _ in details.schedule),
    ]
    for what, day in days:
        if not drafted.cycle_starts_on <= day <= drafted.cycle_ends_on:
            raise DomainError(
                "DUE_OUTSIDE_CYCLE",
                f"{what} {day} lies outside the cycle, {drafted.cycle_starts_on} to {drafted.cycle_ends_on}",
            )
    _require_ambition(defined)
    match defined.type:
        case "maintain":
            try:
                Range(details.low, details.high, details.tolerance or ZERO)
            except ValueError as error:
                raise DomainError("NO_RANGE", f"{error}; give low, high or both, and a tolerance") from None
        case "milestone":
            fault = weights_fault(each.weight for each in details.milestones)
            if fault is not None:
                raise DomainError("MILESTONE_WEIGHTS", fault)
            if len({each.milestone_id for each in details.milestones}) < len(details.milestones):
                raise DomainError("MILESTONE_REPEATED", "two milestones have the same id; give each its own")
        case "binary" if details.ambition == "aspirational":
            raise DomainError(
                "BINARY_IS_COMMITTED", "what is done or not done is promised; to stretch, measure how far it goes"
            )
        case "ordinal" if len(details.meanings) < 2:
            raise DomainError("MEANINGS_MISSING", "say in words what its commit and its target are, and its stretch")
        case _:
            pass
    if details.schedule:
        try:
            Scheduled(details.schedule)
        except ValueError as error:
            raise DomainError("NO_SCHEDULE", str(error)) from None


def require_fitting(command: DefineKeyResult, defined: KeyResultDefined) -> None:
    """Refuse what is said but has no meaning for this type, all of it at once. Raises DomainError.

    To say what follows from the type anyway is no fault: what was read of a key result can be sent back.
    """
    said = command.measurement
    fixed: list[tuple[str, Decimal | None, Decimal | None]] = []
    if defined.type not in MOVING:
        fixed += [("start", command.start, defined.start)]
    if defined.type in UNMARKED:
        fixed += [("commit", command.commit, defined.commit), ("target", command.target, defined.target)]
        fixed += [("stretch", said.stretch, defined.measurement.stretch if defined.type == "ordinal" else None)]
    foreign = [name for name, stated, implied in fixed if stated is not None and stated != implied]
    if defined.type != "maintain":
        foreign += [name for name in ("low", "high", "tolerance") if getattr(said, name) is not None]
    if defined.type != "milestone" and said.milestones:
        foreign.append("milestones")
    if defined.type not in SCHEDULED and said.schedule:
        foreign.append("schedule")
    if defined.type != "ordinal" and said.meanings:
        foreign.append("meanings")
    if foreign:
        raise DomainError(
            "NOT_OF_ITS_TYPE",
            f"{' and '.join(foreign)}: of no meaning to a key result of type {defined.type}; leave out, "
            "or choose another type",
        )


def require_marks(
    type_: KeyResultType, start: Decimal, commit: Decimal, target: Decimal, stretch: Decimal | None = None
) -> None:
    """Refuse marks out of their order, and shares above the whole. Raises DomainError."""
    require_order(start, commit, target, stretch)
    highest = target if stretch is None else stretch
    if type_ in ("maintain", "milestone") and highest > ONE:
        of = "of the time inside its range" if type_ == "maintain" else "of the weights of its milestones"
        raise DomainError("SHARE_ABOVE_ONE", f"its marks are shares {of}, at most 1; found {highest:f}")


def _require_ambition(defined: KeyResultDefined) -> None:
    """Refuse an ambition that is not the one its marks tell, since nothing could mend that later."""
    ambition, guard_rail = defined.measurement.ambition, defined.measurement.guard_rail
    if guard_rail and ambition == "aspirational":
        raise DomainError(
            "GUARD_RAIL_IS_COMMITTED", "a guard-rail is promised, never a stretch; leave its ambition out"
        )
    told = ambition_of(defined.commit, defined.target)
    if ambition is not None and defined.type not in UNMARKED and ambition != told:
        raise DomainError(
            "AMBITION_DIFFERS",
            f"commit {defined.commit:f} and target {defined.target:f} make it {told}, and it is said to be {ambition}; "
            "of what is committed both are the same",
        )


def require_order(start: Decimal, commit: Decimal, target: Decimal, stretch: Decimal | None = None) -> None:
    """Refuse marks out of their order: start, commit, target, stretch. Raises DomainError."""
    fault = order_fault(start, commit, target, stretch)
    if fault is None:
        return
    numbers = f"start {start:f}, commit {commit:f}, target {target:f}"
    match fault:
        case "START_EQUALS_TARGET":
            message = f"start and target are both {start:f}; a key result needs a distance to cover"
        case "COMMIT_BEFORE_START":
            message = f"{numbers}: the commit lies between start and target, and is not the start"
        case "COMMIT_BEYOND_TARGET":
            message = f"{numbers}: the commit lies beyond the target; promise the target or less"
        case "STRETCH_BEFORE_TARGET":
            message = f"{numbers}, stretch {stretch:f}: the stretch lies beyond the target, or is left out"
        case _:
            assert_never(fault)
    raise DomainError(fault, message)


def _marks(command: DefineKeyResult) -> tuple[KeyResultType, Marks]:
    """The type and its marks, proposed where they are not stated."""
    promised_whole = command.measurement.ambition == "committed" or command.measurement.guard_rail
    match command.type:
        case "maintain":
            target = DEFAULTS.maintain_target_share if command.target is None else command.target
            proposal = target if promised_whole else min(DEFAULTS.maintain_commit_share, target)
            return "maintain", (ZERO, proposal if command.commit is None else command.commit, target)
        case "milestone":
            target = ONE if command.target is None else command.target
            proposal = target if promised_whole else default_commit(ZERO, target)
            return "milestone", (ZERO, proposal if command.commit is None else command.commit, target)
        case "binary" | "baseline" as type_:
            return type_, (ZERO, ONE, ONE)
        case "ordinal":
            zones = [Decimal(ORDINAL_ZONES.index(zone)) for zone in ("commit", "target")]
            return "ordinal", (ZERO, zones[0], zones[1])
        case _:
            return _way(command, promised_whole)


def _way(command: DefineKeyResult, promised_whole: bool) -> tuple[KeyResultType, Marks]:
    """A way from start to target in a unit of its own. The request's shape says that both are there, or a stretch."""
    start, target, commit, stretch = command.start, command.target, command.commit, command.measurement.stretch
    assert start is not None, "a way has a start, which the command's shape demands"
    if target is None:
        assert stretch is not None, "without a target there is a stretch, which the command's shape demands"
        target = proposed(start, stretch)[1]
    if commit is None and stretch is not None and not promised_whole:
        commit = proposed(start, stretch)[0]
    if commit is None:
        commit = target if promised_whole else default_commit(start, target)
    direction = direction_of(start, target)
    if direction is None:
        require_order(start, commit, target)
        raise AssertionError("a way without a distance is out of order")
    if command.type is not None and command.type != direction:
        raise DomainError("DIRECTION_DIFFERS", f"{start:f} to {target:f} is no {command.type}; it is {direction}")
    return direction, (start, commit, target)


def _measurement(command: DefineKeyResult, drafted: ObjectiveDrafted, type_: KeyResultType) -> Measurement:
    said = command.measurement
    return Measurement(
        stretch=_stretch(said, type_),
        ambition=said.ambition,
        indicator=said.indicator,
        guard_rail=said.guard_rail,
        weight=ONE if said.weight is None else said.weight,
        low=said.low,
        high=said.high,
        tolerance=said.tolerance,
        milestones=_milestones(command, drafted),
        schedule=tuple((point.day, point.share) for point in said.schedule),
        meanings=said.meanings,
        metric=said.metric,
        update_days=said.update_days or None,
    )


def _stretch(said: Measured, type_: KeyResultType) -> Decimal | None:
    if type_ == "ordinal":
        return Decimal(ORDINAL_ZONES.index("stretch")) if len(said.meanings) > 2 else None
    return said.stretch


def _milestones(command: DefineKeyResult, drafted: ObjectiveDrafted) -> tuple[PlannedMilestone, ...]:
    last = command.due_on or drafted.cycle_ends_on
    return tuple(
        PlannedMilestone(each.milestone_id, each.title, each.weight, each.due_on or last)
        for each in command.measurement.milestones
    )
