"""From a draft in a request, a template with somebody's numbers, or a stored objective to what the rules look at."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, Field

from okr_chassis.rpc.fields import Id, OptionalConfidence, OptionalId, OptionalNumber, OptionalTitle
from okr_contracts.errors import InvalidInputError, Violation
from okr_contracts.goals import KeyResultType, Measurement, TemplateKeyResult
from okr_goals.decider.commands import NOTHING_ELSE, DefineKeyResult, Measured, NamedChampion
from okr_goals.decider.definition import MOVING, UNMARKED
from okr_goals.decider.objective import MAX_KEY_RESULTS
from okr_goals.practice.library import Template
from okr_rules.commitment import ambition_of, direction_of
from okr_rules.exact import ZERO
from okr_rules.lint import DraftKeyResult
from okr_rules.maintain import Range
from okr_rules.measure import Kind

MAX_UNITS = 40

_SHARED: frozenset[KeyResultType] = MOVING | {"maintain", "milestone"}
_RANGED: frozenset[KeyResultType] = frozenset(("maintain",))
OWN_NUMBERS: Mapping[str, frozenset[KeyResultType]] = {
    "start": MOVING,
    "commit": _SHARED,
    "target": _SHARED,
    "low": _RANGED,
    "high": _RANGED,
    "tolerance": _RANGED,
}
"""Which types have which numbers."""


class DraftedKeyResult(BaseModel, frozen=True):
    """A key result of a draft. Whatever is missing is what the rules are there to say."""

    key_result_id: OptionalId = None
    title: OptionalTitle = None
    type: KeyResultType | None = None
    start: OptionalNumber = None
    commit: OptionalNumber = None
    target: OptionalNumber = None
    unit: str = Field(default="", max_length=MAX_UNITS)
    champions: tuple[NamedChampion, ...] = Field(default=(), max_length=8)
    measurement: Measured | None = None
    confidence: OptionalConfidence = None


class Drafted(BaseModel, frozen=True):
    """An objective that is only being thought of."""

    title: OptionalTitle = None
    cycle_id: OptionalId = None
    unit_id: OptionalId = None
    owner_id: OptionalId = None
    parent_objective_id: OptionalId = None
    key_results: tuple[DraftedKeyResult, ...] = Field(default=(), max_length=MAX_KEY_RESULTS)


class Numbers(BaseModel, frozen=True):
    """Somebody's own numbers for a key result of a template, by its place from 1."""

    key_result: int
    start: OptionalNumber = None
    commit: OptionalNumber = None
    target: OptionalNumber = None
    low: OptionalNumber = None
    high: OptionalNumber = None
    tolerance: OptionalNumber = None


class Application(BaseModel, frozen=True):
    """A template applied to a unit and a cycle, in somebody's hands."""

    template_id: str = Field(min_length=1, max_length=40)
    cycle_id: Id
    unit_id: Id
    owner_id: Id
    accountable_id: OptionalId = None
    title: OptionalTitle = None
    numbers: tuple[Numbers, ...] = Field(default=(), max_length=MAX_KEY_RESULTS)


def with_numbers(template: Template, numbers: Sequence[Numbers]) -> Template:
    """The template with somebody's own numbers in place of its samples.

    Raises InvalidInputError with each place it lacks and each number that its key result cannot have.
    Who gives a target and no commit gets one proposed: the sample's promise says nothing of another target.
    """
    key_results, faults = list(template.key_results), list[Violation]()
    for index, own in enumerate(numbers):
        if not 1 <= own.key_result <= len(key_results):
            message = f"{template.template_id} has {len(key_results)} key results, found number {own.key_result}"
            faults.append(Violation(f"numbers.{index}.key_result", message, "NO_SUCH_KEY_RESULT"))
            continue
        changed = _with_own(key_results[own.key_result - 1], own)
        faults += [
            Violation(f"numbers.{index}.{field}", message, reason) for field, message, reason in _faults(own, changed)
        ]
        key_results[own.key_result - 1] = changed
    if faults:
        raise InvalidInputError(faults)
    return replace(template, key_results=tuple(key_results))


def _with_own(sample: TemplateKeyResult, own: Numbers) -> TemplateKeyResult:
    """What a sample says of promise, stretch and ambition holds no longer where somebody's marks are others."""
    moved = own.start is not None or own.target is not None
    said = sample.measurement
    restated = (moved or own.commit is not None) and not said.guard_rail
    details = replace(
        said,
        stretch=None if moved else said.stretch,
        ambition=None if restated and said.ambition == "aspirational" else said.ambition,
        low=said.low if own.low is None else own.low,
        high=said.high if own.high is None else own.high,
        tolerance=said.tolerance if own.tolerance is None else own.tolerance,
    )
    return replace(
        sample,
        start=sample.start if own.start is None else own.start,
        commit=own.commit if own.commit is not None or moved else sample.commit,
        target=sample.target if own.target is None else own.target,
        measurement=details,
    )


def _faults(own: Numbers, changed: TemplateKeyResult) -> Iterator[tuple[str, str, str]]:
    """Field, message and reason of what no key result of this type can have. Good practice says the rest."""
    type_, details = changed.type, changed.measurement
    for field in ("start", "commit", "target", "low", "high", "tolerance"):
        if getattr(own, field) is not None and type_ not in OWN_NUMBERS[field]:
            yield field, f"{changed.title!r} is of type {type_} and has no such number", "NOT_OF_ITS_TYPE"
    if changed.start is not None and changed.target is not None and type_ in MOVING:
        way = direction_of(changed.start, changed.target)
        if way is not None and way != type_:
            message = (
                f"{changed.start:f} to {changed.target:f} would {way}, and {changed.title!r} is there to {type_}; "
                "give a start and a target of your own"
            )
            yield "target", message, "DIRECTION_DIFFERS"
    if type_ == "maintain":
        try:
            Range(details.low, details.high, details.tolerance or ZERO)
        except ValueError as error:
            yield "tolerance" if own.tolerance is not None else "low", str(error), "NO_RANGE"


def definitions(template: Template, objective_id: UUID, accountable_id: UUID) -> tuple[DefineKeyResult, ...]:
    """What has to be defined so that an objective becomes what the template says."""

    def definition(place: int, each: TemplateKeyResult) -> DefineKeyResult:
        key_result_id = uuid5(objective_id, f"{template.template_id}:{place}")
        return DefineKeyResult(
            objective_id=objective_id,
            key_result_id=key_result_id,
            title=each.title,
            type=each.type,
            measurement=_measured(each.measurement, key_result_id),
            start=each.start,
            commit=each.commit,
            target=each.target,
            unit=each.unit,
            champions=(NamedChampion(person_id=accountable_id, role="accountable"),),
        )

    return tuple(definition(place, each) for place, each in enumerate(template.key_results, start=1))


def _measured(details: Measurement, key_result_id: UUID) -> Measured:
    """A template's measurement as a request would say it.

    Its milestones are new ones of this key result, due with it: their days were those of another cycle.
    """
    milestones = [
        {"milestone_id": uuid5(key_result_id, str(each.milestone_id)), "title": each.title, "weight": each.weight}
        for each in details.milestones
    ]
    said = {**msgspec.structs.asdict(details), "milestones": milestones, "schedule": ()}
    return Measured.model_validate({**said, "update_days": details.update_days or 0})


def draft_of_definition(command: DefineKeyResult, place: int, confidence: Decimal | None = None) -> DraftKeyResult:
    """A definition as the rules look at it."""
    drafted = DraftedKeyResult(
        key_result_id=command.key_result_id,
        title=command.title,
        type=command.type,
        start=command.start,
        commit=command.commit,
        target=command.target,
        unit=command.unit,
        champions=command.champions,
        measurement=command.measurement,
        confidence=confidence,
    )
    return draft_key_result(drafted, place)


def draft_key_result(said: DraftedKeyResult, place: int) -> DraftKeyResult:
    """A key result of a request as the rules look at it; without an id it goes by its place."""
    details = said.measurement or NOTHING_ELSE
    kind = said.type or _way(said)
    commit = said.commit
    if details.guard_rail and commit is None:
        commit = said.target
    told = None if commit is None or said.target is None else ambition_of(commit, said.target)
    promised = details.guard_rail or kind in ("binary", "baseline", "maintain")
    return DraftKeyResult(
        id=str(said.key_result_id) if said.key_result_id else str(place),
        title=said.title or "",
        kind=kind,
        unit=said.unit,
        start=said.start,
        commit=commit,
        target=said.target,
        stretch=details.stretch,
        ambition=details.ambition or told or ("committed" if promised else None),
        indicator=details.indicator,
        guard_rail=details.guard_rail,
        milestone_weights=tuple(each.weight for each in details.milestones),
        accountable=tuple(str(each.person_id) for each in said.champions if each.role == "accountable"),
        update_days=details.update_days or None,
        metric=details.metric,
        confidence=said.confidence,
    )


def _way(said: DraftedKeyResult) -> Kind:
    """Without a type it is a way; which direction cannot matter while a mark is missing."""
    return (
        direction_of(said.start, said.target) if said.start is not None and said.target is not None else None
    ) or "increase"


def as_template(key_result: TemplateKeyResult) -> TemplateKeyResult:
    """Without planned points, which belong to one cycle, and without an ambition that a revision has overtaken."""
    ambition, (commit, target) = key_result.measurement.ambition, (key_result.commit, key_result.target)
    if key_result.type not in UNMARKED and commit is not None and target is not None:
        ambition = ambition if ambition == ambition_of(commit, target) else None
    return replace(key_result, measurement=replace(key_result.measurement, schedule=(), ambition=ambition))
