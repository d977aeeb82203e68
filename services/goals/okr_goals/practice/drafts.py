"""From a draft in a request, a template with somebody's numbers, or a stored objective to what the rules look at."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, Field

from okr_chassis.fields import Id, OptionalConfidence, OptionalId, OptionalNumber, OptionalTitle
from okr_contracts.errors import InvalidInputError, Violation
from okr_contracts.goals import KeyResultType, Measurement, TemplateKeyResult
from okr_goals.decider.commands import NOTHING_ELSE, DefineKeyResult, Measured, NamedChampion
from okr_goals.decider.objective import MAX_KEY_RESULTS
from okr_goals.practice.library import Template
from okr_rules.commitment import ambition_of, direction_of
from okr_rules.lint import DraftKeyResult
from okr_rules.measure import Kind

MAX_UNITS = 40


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
    """The template with somebody's own numbers in place of its samples. Raises InvalidInputError for a place it lacks.

    Who gives a target and no commit gets one proposed: the sample's promise says nothing of another target.
    """
    key_results = list(template.key_results)
    for index, own in enumerate(numbers):
        if not 1 <= own.key_result <= len(key_results):
            message = f"{template.template_id} has {len(key_results)} key results, found number {own.key_result}"
            raise InvalidInputError([Violation(f"numbers.{index}.key_result", message, "NO_SUCH_KEY_RESULT")])
        sample = key_results[own.key_result - 1]
        moved = own.start is not None or own.target is not None
        details = replace(
            sample.measurement,
            low=sample.measurement.low if own.low is None else own.low,
            high=sample.measurement.high if own.high is None else own.high,
            tolerance=sample.measurement.tolerance if own.tolerance is None else own.tolerance,
        )
        start = sample.start if own.start is None else own.start
        target = sample.target if own.target is None else own.target
        way = None if start is None or target is None else direction_of(start, target)
        key_results[own.key_result - 1] = replace(
            sample,
            type=way if way is not None and sample.type in ("increase", "decrease") else sample.type,
            start=start,
            commit=own.commit if own.commit is not None or moved else sample.commit,
            target=target,
            measurement=details,
        )
    return replace(template, key_results=tuple(key_results))


def definitions(template: Template, objective_id: UUID, accountable_id: UUID) -> tuple[DefineKeyResult, ...]:
    """What has to be defined so that an objective becomes what the template says."""
    return tuple(
        DefineKeyResult(
            objective_id=objective_id,
            key_result_id=uuid5(objective_id, f"{template.template_id}:{place}"),
            title=each.title,
            type=each.type,
            measurement=measured(each.measurement),
            start=each.start,
            commit=each.commit,
            target=each.target,
            unit=each.unit,
            champions=(NamedChampion(person_id=accountable_id, role="accountable"),),
        )
        for place, each in enumerate(template.key_results, start=1)
    )


def measured(details: Measurement) -> Measured:
    """A stored measurement as a request would say it."""
    if not details.milestones and not details.schedule:
        said = msgspec.structs.asdict(details)
        return Measured.model_validate({**said, "update_days": details.update_days or 0})
    return NOTHING_ELSE  # dated in the past: a template keeps no days


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
    """Without what belongs to one cycle: milestones and planned points have days."""
    details = replace(key_result.measurement, milestones=(), schedule=())
    return replace(key_result, measurement=details)
