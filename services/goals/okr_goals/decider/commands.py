"""What may be asked of an objective."""

from decimal import Decimal
from typing import Annotated, Any, Self, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field, InstanceOf, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from okr_chassis.rpc.fields import (
    Confidence,
    Day,
    Id,
    Number,
    OptionalConfidence,
    OptionalDay,
    OptionalId,
    OptionalNumber,
    OptionalText,
    Title,
    invalid,
    text,
)
from okr_contracts.goals import (
    Ambition,
    ChampionRole,
    Indicator,
    KeyResultType,
    ObjectiveOutcome,
    PlannedKeyResult,
)
from okr_contracts.sealed import SealedText
from okr_goals.decider.cycle import Cycle
from okr_rules.exact import PLACES
from okr_rules.outcome import Outcome
from okr_rules.parameters import RuleParameters

Unit = Annotated[str, text(40, required=False)]
MAX_MILESTONES = 50
MAX_SCHEDULE_POINTS = 100
Reason = Annotated[str, text(1_000)]


class NamedChampion(BaseModel, frozen=True):
    """A person in a role, as a request names them."""

    person_id: Id
    role: ChampionRole


class DraftObjective(BaseModel, frozen=True):
    """`cycle` is the cycle as its stream told it when this was asked."""

    objective_id: Id
    cycle_id: Id
    unit_id: Id
    owner_id: Id
    title: Title
    cycle: InstanceOf[Cycle]


class NamedMilestone(BaseModel, frozen=True):
    """Without a day it is due with its key result."""

    milestone_id: Id
    title: Title
    weight: Number
    due_on: OptionalDay = None


class SchedulePoint(BaseModel, frozen=True):
    """By this day, so much of the way: 0 to 1."""

    day: Day
    share: Confidence


class Measured(BaseModel, frozen=True):
    """What else is said of a key result. Which of it applies is told by the type."""

    stretch: OptionalNumber = None
    ambition: Ambition | None = None
    indicator: Indicator | None = None
    guard_rail: bool = False
    weight: OptionalNumber = None
    low: OptionalNumber = None
    high: OptionalNumber = None
    tolerance: OptionalNumber = None
    milestones: tuple[NamedMilestone, ...] = Field(default=(), max_length=MAX_MILESTONES)
    schedule: tuple[SchedulePoint, ...] = Field(default=(), max_length=MAX_SCHEDULE_POINTS)
    meanings: tuple[Annotated[str, text(300)], ...] = Field(default=(), max_length=3)
    metric: Annotated[str, text(100, required=False)] = ""
    update_days: int = Field(default=0, ge=0, le=3660)

    @field_validator("weight", "tolerance")
    @classmethod
    def _above_nothing(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and value <= 0:
            raise PydanticCustomError("not_positive", "must lie above 0")
        return value


NOTHING_ELSE = Measured()


class DefineKeyResult(BaseModel, frozen=True):
    """Left out: `type` is told from start and target, marks are proposed, `due_on` is the cycle's last day."""

    objective_id: Id
    key_result_id: Id
    title: Title
    type: KeyResultType | None = None
    measurement: Measured = NOTHING_ELSE
    start: OptionalNumber = Field(default=None, validate_default=True)
    commit: OptionalNumber = None
    target: OptionalNumber = Field(default=None, validate_default=True)
    unit: Unit = Field(default="", validate_default=True)
    due_on: OptionalDay = None
    champions: tuple[NamedChampion, ...] = ()
    continued_from: OptionalId = None
    """The key result of an earlier cycle that this one goes on with."""

    @field_validator("measurement", mode="before")
    @classmethod
    def _may_be_missing(cls, value: Any) -> Any:
        return NOTHING_ELSE if value is None else value

    @field_validator("start", "target", "unit")
    @classmethod
    def _as_the_type_needs(cls, value: Any, info: ValidationInfo) -> Any:
        """A way has a unit, a start and somewhere to go to; a range has a unit; the others need none of them."""
        kind = info.data.get("type")
        moves = kind in (None, "increase", "decrease")
        stretches = info.field_name == "target" and getattr(info.data.get("measurement"), "stretch", None) is not None
        needed = (moves and not stretches) or (kind == "maintain" and info.field_name == "unit")
        if needed and (value is None or value == ""):
            raise PydanticCustomError("required", "is required")
        return value


class ApplyTemplate(BaseModel, frozen=True):
    """An objective with all its key results, as a template and somebody's own numbers make it."""

    draft: DraftObjective
    template: str
    key_results: tuple[DefineKeyResult, ...]

    @property
    def objective_id(self) -> UUID:
        return self.draft.objective_id


class OverrideSaid(BaseModel, frozen=True):
    """Going on in spite of a finding, in plain words. No rule sees it so."""

    objective_id: Id
    rule: Annotated[str, text(10)]
    subject_id: OptionalId = None
    reason: Reason


class OverrideLint(BaseModel, frozen=True):
    objective_id: Id
    rule: str
    subject_id: Id
    reason: InstanceOf[SealedText] | None


class AssignChampion(BaseModel, frozen=True):
    """A new accountable champion takes over from the present one, who stays responsible."""

    objective_id: Id
    key_result_id: Id
    champion: NamedChampion


class ReleaseChampion(BaseModel, frozen=True):
    objective_id: Id
    key_result_id: Id
    champion: NamedChampion


class ActivateObjective(BaseModel, frozen=True):
    """`cycle` is the objective's cycle as its stream told it when this was asked."""

    objective_id: Id
    cycle: InstanceOf[Cycle]


class _TargetRevision(BaseModel, frozen=True):
    """What is left out stays. Never without a reason: both numbers and the reason are kept."""

    objective_id: Id
    key_result_id: Id
    commit: OptionalNumber = None
    target: OptionalNumber = None

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if self.commit is None and self.target is None:
            raise invalid("target", "give a new commit, a new target, or both", "REQUIRED")
        return self


class RevisionSaid(_TargetRevision, frozen=True):
    """A revision as somebody says it, in plain words. No rule sees it so."""

    reason: Reason
    external: bool = False


class ReviseTarget(_TargetRevision, frozen=True):
    """The `reason` is a person's; without one the `source` says what revises: a row of an import.

    `cycle`, where it is known, is the objective's cycle as its stream told it when this was asked.
    """

    reason: InstanceOf[SealedText] | None = None
    source: str = ""
    external: bool = False
    cycle: InstanceOf[Cycle] | None = None


class GradeSaid(BaseModel, frozen=True):
    """A grade as somebody says it, in plain words. No rule sees it so. No `final`: as the rules compute it."""

    key_result_id: Id
    final: OptionalConfidence = None
    reason: OptionalText = None
    evidence: OptionalText = None
    closing_early: bool = False

    @field_validator("final")
    @classmethod
    def _as_fine_as_scores_are(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and value != value.quantize(PLACES):
            raise PydanticCustomError("grade_too_fine", "must have at most four places, as in 0.7")
        return value


class GradeKeyResult(BaseModel, frozen=True):
    """`outcome` is what the rules say of it; `final` is None where that shall be the grade.

    `cycle` is the objective's cycle as its stream told it when this was asked. With `closing_early` the
    objective ends before its cycle does.
    """

    objective_id: Id
    key_result_id: Id
    cycle: InstanceOf[Cycle]
    outcome: InstanceOf[Outcome]
    final: Decimal | None = None
    reason: InstanceOf[SealedText] | None = None
    evidence: InstanceOf[SealedText] | None = None
    closing_early: bool = False


class CloseObjective(BaseModel, frozen=True):
    objective_id: Id
    outcome: ObjectiveOutcome


class CloseByGrades(BaseModel, frozen=True):
    """The end of an objective when its cycle closes: its outcome follows from the grades, by the cycle's own rules."""

    objective_id: Id
    parameters: InstanceOf[RuleParameters]


class CancelObjective(BaseModel, frozen=True):
    """The end of an objective when its cycle is cancelled."""

    objective_id: Id


class ApplyPlan(BaseModel, frozen=True):
    """An objective as a spreadsheet has it: whatever differs is brought about, whatever agrees is left alone.

    Rows that a rule refuses are left out, see `okr_goals.decider.apply.carry_out`.
    """

    objective_id: Id
    cycle_id: Id
    unit_id: Id
    owner_id: Id
    title: Title
    cycle: InstanceOf[Cycle]
    key_results: tuple[InstanceOf[PlannedKeyResult], ...]
    source: str


ObjectiveCommand: TypeAlias = (
    DraftObjective
    | DefineKeyResult
    | ApplyTemplate
    | OverrideLint
    | AssignChampion
    | ReleaseChampion
    | ActivateObjective
    | ReviseTarget
    | GradeKeyResult
    | CloseObjective
    | CloseByGrades
    | CancelObjective
    | ApplyPlan
)
