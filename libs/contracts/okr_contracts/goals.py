"""Events of goals: cycles, objectives, key results, champions, grades, imports."""

from datetime import date
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import Struct

from okr_contracts.sealed import SealedText

KeyResultType = Literal["increase", "decrease", "maintain", "milestone", "binary", "baseline", "ordinal"]
Ambition = Literal["committed", "aspirational"]
Indicator = Literal["leading", "lagging"]
ChampionRole = Literal["accountable", "responsible", "data_steward", "reviewer", "contributor", "watcher"]
ObjectiveOutcome = Literal["achieved", "partly", "learned"]
GradeZone = Literal["below_commit", "commit", "target", "stretch"]


class CycleDrafted(Struct, frozen=True):
    """A planning cycle from its first day to its last, both included."""

    cycle_id: UUID
    name: str
    starts_on: date
    ends_on: date


class PinnedRules(Struct, frozen=True):
    """The numbers that the rules compare with, by name, as they were when a cycle took them for its own."""

    version: str
    parameters: dict[str, str]


class CyclePublished(Struct, frozen=True):
    """Everybody may read what is planned. From its first day on the cycle runs, and to its end these rules judge it."""

    cycle_id: UUID
    rules: PinnedRules


class CycleActivated(Struct, frozen=True):
    """The cycle runs. `rules` are there where it was never published, and so has none yet."""

    cycle_id: UUID
    rules: PinnedRules | None = None


class CycleGradingOpened(Struct, frozen=True):
    """The time is over, or was ended early: key results get their grades."""

    cycle_id: UUID


class CycleClosing(Struct, frozen=True):
    """Everything is graded and nothing may be added; objectives are closed one by one, then the cycle itself."""

    cycle_id: UUID


class CycleClosed(Struct, frozen=True):
    """The end. `positions` say how far each service's log went: what was known when the cycle ended."""

    cycle_id: UUID
    positions: tuple[str, ...] = ()


class CycleCancelled(Struct, frozen=True):
    """Given up before its end, and why."""

    __sealed__: ClassVar[dict[str, str]] = {"reason": "cycle_id"}

    cycle_id: UUID
    reason: SealedText | None


class ObjectiveDrafted(Struct, frozen=True):
    """An objective of one unit in one cycle; the cycle's days come along, so that no reader must ask.

    `template` is the one it was made from, if any.
    """

    objective_id: UUID
    cycle_id: UUID
    unit_id: UUID
    owner_id: UUID
    title: str
    cycle_starts_on: date
    cycle_ends_on: date
    template: str = ""


class PlannedMilestone(Struct, frozen=True):
    """A dated part of a milestone key result; the weights of all come to 1."""

    milestone_id: UUID
    title: str
    weight: Decimal
    due_on: date


class Measurement(Struct, frozen=True, omit_defaults=True):
    """What else there is to a key result, by its type and by good practice.

    No `ambition` stated: committed when commit and target are the same. `low`, `high` and `tolerance` are a
    maintain one's range, in its unit. `schedule` are planned points
    (day, share of the way), `meanings` what commit, target and stretch of an ordinal one are in words.
    """

    stretch: Decimal | None = None
    ambition: Ambition | None = None
    indicator: Indicator | None = None
    guard_rail: bool = False
    weight: Decimal = Decimal(1)
    low: Decimal | None = None
    high: Decimal | None = None
    tolerance: Decimal | None = None
    milestones: tuple[PlannedMilestone, ...] = ()
    schedule: tuple[tuple[date, Decimal], ...] = ()
    meanings: tuple[str, ...] = ()
    metric: str = ""
    update_days: int | None = None


PLAIN = Measurement()
"""A way from start to target, and nothing else to be said."""


class KeyResultDefined(Struct, frozen=True):
    """What is measured: from `start`, `commit` promised, `target` hoped for, all in `unit`.

    Of a maintain key result the three are shares of the time inside its range, of a milestone one shares
    of its weights, of an ordinal one the numbers of its zones. `continued_from` is the key result of an
    earlier cycle that this one goes on with.
    """

    key_result_id: UUID
    objective_id: UUID
    title: str
    type: KeyResultType
    start: Decimal
    commit: Decimal
    target: Decimal
    unit: str
    starts_on: date
    due_on: date
    measurement: Measurement = PLAIN
    continued_from: UUID | None = None


class ChampionAssigned(Struct, frozen=True):
    key_result_id: UUID
    objective_id: UUID
    person_id: UUID
    role: ChampionRole
    key_result_title: str


class ChampionReleased(Struct, frozen=True):
    key_result_id: UUID
    objective_id: UUID
    person_id: UUID
    role: ChampionRole


class ObjectiveActivated(Struct, frozen=True):
    objective_id: UUID


class KeyResultOpened(Struct, frozen=True):
    """From now on the key result takes check-ins dated from `starts_on`, with values as its type has them."""

    key_result_id: UUID
    objective_id: UUID
    starts_on: date
    type: KeyResultType | None = None
    milestones: tuple[PlannedMilestone, ...] = ()


class KeyResultClosed(Struct, frozen=True):
    key_result_id: UUID
    objective_id: UUID


class TargetRevised(Struct, frozen=True):
    """New commit and target, the former ones kept beside them, and why.

    The `reason` is a person's; a revision that nobody put into words names its `source`, a row of an import.
    An `external` one followed from something outside that nobody here could move: only such a revision
    changes what the grade measures by.
    """

    __sealed__: ClassVar[dict[str, str]] = {"reason": "key_result_id"}

    key_result_id: UUID
    objective_id: UUID
    commit: Decimal
    target: Decimal
    previous_commit: Decimal
    previous_target: Decimal
    reason: SealedText | None
    source: str = ""
    external: bool = False


class LintOverridden(Struct, frozen=True):
    """Somebody goes on in spite of what a rule of good practice found, and says why."""

    __sealed__: ClassVar[dict[str, str]] = {"reason": "objective_id"}

    objective_id: UUID
    rule: str
    subject_id: UUID
    reason: SealedText | None


class KeyResultGraded(Struct, frozen=True):
    """What a key result came to: the score that the rules `computed` and the `final` one, 0 to 1.

    `value`, `commit` and `target` are what it was measured by; of a maintain one the value is the share of the
    time inside its range. None: nothing was ever measured. Where the two scores differ, the `reason` says why.
    """

    __sealed__: ClassVar[dict[str, str]] = {"reason": "key_result_id", "evidence": "key_result_id"}

    key_result_id: UUID
    objective_id: UUID
    computed: Decimal
    final: Decimal
    zone: GradeZone
    value: Decimal | None
    commit: Decimal
    target: Decimal
    rule_version: str
    reason: SealedText | None = None
    evidence: SealedText | None = None


class ObjectiveClosed(Struct, frozen=True):
    objective_id: UUID
    outcome: ObjectiveOutcome


class ObjectiveCancelled(Struct, frozen=True):
    """Its cycle was cancelled, and the objective with it."""

    objective_id: UUID


class TemplateKeyResult(Struct, frozen=True):
    """A key result to begin with: its numbers are samples."""

    title: str
    type: KeyResultType
    unit: str = ""
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    measurement: Measurement = PLAIN


class TemplateSaved(Struct, frozen=True):
    """An organisation made a template of its own; saved again it is replaced."""

    template_id: UUID
    industry: str
    function: str
    objective: str
    serves: str
    key_results: tuple[TemplateKeyResult, ...]


class PlannedKeyResult(Struct, frozen=True):
    """One row of a spreadsheet, checked and with its ids."""

    row: int
    key_result_id: UUID
    title: str
    start: Decimal
    commit: Decimal
    target: Decimal
    unit: str
    due_on: date
    champions: tuple[UUID, ...]
    current: Decimal | None = None
    confidence: Decimal | None = None


class ImportAccepted(Struct, frozen=True):
    """A spreadsheet was checked as a whole and will be carried out to the end."""

    import_id: UUID
    source: str
    cycle_id: UUID
    cycle_name: str
    cycle_starts_on: date
    cycle_ends_on: date
    rows: int
    units: tuple[tuple[UUID, str], ...]
    objectives: int
    positions: tuple[str, ...] = ()


class ImportObjectivePlanned(Struct, frozen=True):
    """One objective of an accepted import with its rows."""

    import_id: UUID
    objective_id: UUID
    title: str
    unit_id: UUID
    owner_id: UUID
    parent_objective_id: UUID | None
    key_results: tuple[PlannedKeyResult, ...]


class ImportRowRefused(Struct, frozen=True):
    """The world overtook a row between its acceptance and its turn."""

    import_id: UUID
    row: int
    reason: str
    message: str


class ImportObjectiveApplied(Struct, frozen=True):
    import_id: UUID
    objective_id: UUID
    positions: tuple[str, ...] = ()


class ImportCompleted(Struct, frozen=True):
    import_id: UUID


CycleEvent = (
    CycleDrafted | CyclePublished | CycleActivated | CycleGradingOpened | CycleClosing | CycleClosed | CycleCancelled
)
ObjectiveEvent = (
    ObjectiveDrafted
    | KeyResultDefined
    | ChampionAssigned
    | ChampionReleased
    | ObjectiveActivated
    | KeyResultOpened
    | KeyResultClosed
    | TargetRevised
    | LintOverridden
    | KeyResultGraded
    | ObjectiveClosed
    | ObjectiveCancelled
)
ImportEvent = ImportAccepted | ImportObjectivePlanned | ImportRowRefused | ImportObjectiveApplied | ImportCompleted
GoalsEvent = CycleEvent | ObjectiveEvent | ImportEvent | TemplateSaved
