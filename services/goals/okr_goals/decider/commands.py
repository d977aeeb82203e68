"""What may be asked of an objective."""

from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, InstanceOf, model_validator

from okr_chassis.fields import Id, Number, OptionalDay, OptionalNumber, Title, invalid, text
from okr_contracts.goals import ChampionRole, KeyResultType, ObjectiveOutcome, PlannedKeyResult
from okr_contracts.sealed import SealedText
from okr_goals.decider.cycle import Cycle

Unit = Annotated[str, text(40)]
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


class DefineKeyResult(BaseModel, frozen=True):
    """Left out: `type` is told from start and target, `commit` is halfway, `due_on` the cycle's last day."""

    objective_id: Id
    key_result_id: Id
    title: Title
    type: KeyResultType | None = None
    start: Number
    commit: OptionalNumber = None
    target: Number
    unit: Unit
    due_on: OptionalDay = None
    champions: tuple[NamedChampion, ...] = ()


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


class ReviseTarget(_TargetRevision, frozen=True):
    """The `reason` is a person's; without one the `source` says what revises: a row of an import."""

    reason: InstanceOf[SealedText] | None = None
    source: str = ""


class CloseObjective(BaseModel, frozen=True):
    objective_id: Id
    outcome: ObjectiveOutcome


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
    | AssignChampion
    | ReleaseChampion
    | ActivateObjective
    | ReviseTarget
    | CloseObjective
    | ApplyPlan
)
