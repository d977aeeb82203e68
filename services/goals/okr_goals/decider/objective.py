"""An objective with its key results: what is promised, what is hoped for, and by whom."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError, OkrError
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultGraded,
    KeyResultOpened,
    LintOverridden,
    ObjectiveActivated,
    ObjectiveCancelled,
    ObjectiveClosed,
    ObjectiveDrafted,
    ObjectiveEvent,
    ObjectiveOutcome,
    PlannedKeyResult,
    TargetRevised,
)
from okr_eventstore.decider import Decider
from okr_goals.decider import definition
from okr_goals.decider.champions import Champion, accountable_of, require_sound
from okr_goals.decider.commands import (
    ActivateObjective,
    ApplyPlan,
    ApplyTemplate,
    AssignChampion,
    CancelObjective,
    CloseByGrades,
    CloseObjective,
    DefineKeyResult,
    DraftObjective,
    GradeKeyResult,
    NamedChampion,
    ObjectiveCommand,
    OverrideLint,
    ReleaseChampion,
    ReviseTarget,
)
from okr_goals.decider.cycle import ENDED, ended, not_active
from okr_rules import lint
from okr_rules.commitment import direction_of
from okr_rules.grading import band
from okr_rules.parameters import RuleParameters
from okr_rules.rollup import roll_up

MAX_KEY_RESULTS = 50
"""Of one objective. Good practice is five; this bound only keeps a stream readable."""


class KeyResult(Struct, frozen=True):
    """`defined` is what it was at first and `named` who ever held which role: the same definition again is known.

    `graded_commit` and `graded_target` are what its grade measures by: the marks it began its time with, unless
    something outside moved them.
    """

    defined: KeyResultDefined
    commit: Decimal
    target: Decimal
    graded_commit: Decimal
    graded_target: Decimal
    champions: tuple[Champion, ...] = ()
    named: frozenset[Champion] = frozenset()
    grade: KeyResultGraded | None = None


class Objective(Struct, frozen=True):
    """`drafted` is None while there is no such objective."""

    drafted: ObjectiveDrafted | None = None
    state: Literal["draft", "active", "closed", "cancelled"] = "draft"
    outcome: ObjectiveOutcome | None = None
    key_results: dict[UUID, KeyResult] = {}
    overridden: frozenset[tuple[str, UUID]] = frozenset()
    """(rule, subject) of the findings that somebody gave a reason for."""


class Refusal(NamedTuple):
    """A row of a plan that a rule refused, and the rule's own words."""

    row: int
    error: OkrError


def decide(state: Objective, command: ObjectiveCommand) -> list[ObjectiveEvent]:
    match command:
        case DraftObjective():
            return _draft(state, command)
        case ApplyPlan():
            return carry_out(state, command)[0]
        case ApplyTemplate():
            return _apply(state, command)
        case _ if state.drafted is None:
            raise NotFoundError("objective", command.objective_id)
        case CloseObjective():
            return _close(state, command)
        case GradeKeyResult():
            return _grade(state, key_result_of(state, command.key_result_id), command)
        case CloseByGrades():
            return _close_by_grades(state, command)
        case CancelObjective():
            return _cancel(state, command)
        case _ if state.state in ("closed", "cancelled"):
            raise DomainError("OBJECTIVE_CLOSED", f"{state.drafted.title!r} is {state.state}; draft a new objective")
        case ActivateObjective():
            return _activate(state, state.drafted, command)
        case DefineKeyResult():
            return _define(state, state.drafted, command)
        case AssignChampion():
            return _assign(key_result_of(state, command.key_result_id), _champion(command.champion))
        case ReleaseChampion():
            return _release(key_result_of(state, command.key_result_id), _champion(command.champion))
        case ReviseTarget():
            return _revise(key_result_of(state, command.key_result_id), command)
        case OverrideLint():
            return _override(state, command)
        case _:
            assert_never(command)


def evolve(state: Objective, event: ObjectiveEvent) -> Objective:
    match event:
        case ObjectiveDrafted():
            return Objective(drafted=event)
        case KeyResultDefined():
            marks = (event.commit, event.target)
            return _with(state, event.key_result_id, KeyResult(event, *marks, *marks))
        case ChampionAssigned():
            known = state.key_results[event.key_result_id]
            champion = Champion(event.person_id, event.role)
            known = replace(known, champions=(*known.champions, champion), named=known.named | {champion})
            return _with(state, event.key_result_id, known)
        case ChampionReleased():
            known = state.key_results[event.key_result_id]
            gone = Champion(event.person_id, event.role)
            left = tuple(champion for champion in known.champions if champion != gone)
            return _with(state, event.key_result_id, replace(known, champions=left))
        case TargetRevised():
            known = replace(state.key_results[event.key_result_id], commit=event.commit, target=event.target)
            if event.external or state.state == "draft":
                known = replace(known, graded_commit=event.commit, graded_target=event.target)
            return _with(state, event.key_result_id, known)
        case LintOverridden():
            return replace(state, overridden=state.overridden | {(event.rule, event.subject_id)})
        case ObjectiveActivated():
            return replace(state, state="active")
        case KeyResultGraded():
            known = replace(state.key_results[event.key_result_id], grade=event)
            return _with(state, event.key_result_id, known)
        case ObjectiveClosed():
            return replace(state, state="closed", outcome=event.outcome)
        case ObjectiveCancelled():
            return replace(state, state="cancelled")
        case KeyResultOpened() | KeyResultClosed():
            return state  # told to others; here it follows from the objective's own state
        case _:
            assert_never(event)


def key_result_of(state: Objective, key_result_id: UUID) -> KeyResult:
    """The key result with this id. Raises NotFoundError."""
    known = state.key_results.get(key_result_id)
    if known is None:
        raise NotFoundError("key result", key_result_id)
    return known


def carry_out(state: Objective, plan: ApplyPlan) -> tuple[list[ObjectiveEvent], list[Refusal]]:
    """The events that make an objective what a plan says, and the rows that a rule refuses.

    A row is applied whole or not at all; a refused one does not keep its neighbours waiting. Run on
    the state it has led to, it yields no event and the same refusals.
    """
    events: list[ObjectiveEvent] = []
    refusals: list[Refusal] = []

    def try_to(commands: Sequence[ObjectiveCommand], before: Objective) -> Objective:
        after, told = before, list[ObjectiveEvent]()
        for command in commands:
            for event in decide(after, command):
                told.append(event)
                after = evolve(after, event)
        events.extend(told)
        return after

    try:
        draft = DraftObjective(
            objective_id=plan.objective_id,
            cycle_id=plan.cycle_id,
            unit_id=plan.unit_id,
            owner_id=plan.owner_id,
            title=plan.title,
            cycle=plan.cycle,
        )
        state = try_to([draft], state)
    except OkrError as error:
        return [], [Refusal(planned.row, error) for planned in plan.key_results]
    for planned in plan.key_results:
        try:
            state = try_to(_commands(state, plan, planned), state)
        except OkrError as error:
            refusals.append(Refusal(planned.row, error))
    if state.state == "draft" and state.key_results:
        try:
            try_to([ActivateObjective(objective_id=plan.objective_id, cycle=plan.cycle)], state)
        except OkrError as error:
            refusals += [Refusal(planned.row, error) for planned in plan.key_results]
    return events, refusals


def _commands(state: Objective, plan: ApplyPlan, planned: PlannedKeyResult) -> list[ObjectiveCommand]:
    """What has to be asked so that one key result becomes what its row says."""
    known = state.key_results.get(planned.key_result_id)
    wanted = [NamedChampion(person_id=planned.champions[0], role="accountable")]
    wanted += [NamedChampion(person_id=person_id, role="responsible") for person_id in planned.champions[1:]]
    if known is None:
        return [
            DefineKeyResult(
                objective_id=plan.objective_id,
                key_result_id=planned.key_result_id,
                title=planned.title,
                start=planned.start,
                commit=planned.commit,
                target=planned.target,
                unit=planned.unit,
                due_on=planned.due_on,
                champions=tuple(wanted),
            )
        ]
    fixed = known.defined
    if (fixed.start, fixed.unit, fixed.due_on) != (planned.start, planned.unit, planned.due_on):
        raise AlreadyExistsError("key result", planned.key_result_id)
    commands: list[ObjectiveCommand] = []
    if (known.commit, known.target) != (planned.commit, planned.target):
        commands.append(
            ReviseTarget(
                objective_id=plan.objective_id,
                key_result_id=planned.key_result_id,
                commit=planned.commit,
                target=planned.target,
                source=f"import {plan.source}, row {planned.row}",
            )
        )
    busy = {champion.person_id for champion in known.champions}
    accountable = accountable_of(known.champions)
    for champion in wanted:
        takes_over = champion.role == "accountable" and champion.person_id != accountable
        if takes_over or champion.person_id not in busy:
            commands.append(
                AssignChampion(objective_id=plan.objective_id, key_result_id=planned.key_result_id, champion=champion)
            )
    return commands


def _apply(state: Objective, command: ApplyTemplate) -> list[ObjectiveEvent]:
    """Everything or nothing: a template half applied would be worse than none."""
    events: list[ObjectiveEvent] = []
    for event in _draft(state, command.draft, command.template):
        events.append(event)
        state = evolve(state, event)
    for each in command.key_results:
        for event in decide(state, each):
            events.append(event)
            state = evolve(state, event)
    return events


def _override(state: Objective, command: OverrideLint) -> list[ObjectiveEvent]:
    known = next((rule for rule in lint.rules() if rule.id == command.rule), None)
    if known is None:
        raise NotFoundError("practice", command.rule)
    if command.subject_id != command.objective_id:
        key_result_of(state, command.subject_id)
    if known.binding:
        raise DomainError("PRACTICE_IS_BINDING", f"{known.id} cannot be overridden: {known.why}")
    if (command.rule, command.subject_id) in state.overridden:
        return []
    return [
        LintOverridden(
            objective_id=command.objective_id, rule=known.id, subject_id=command.subject_id, reason=command.reason
        )
    ]


def _draft(state: Objective, command: DraftObjective, template: str = "") -> list[ObjectiveEvent]:
    cycle = command.cycle
    if state.drafted is None and cycle.state == "none":
        raise NotFoundError("cycle", command.cycle_id)
    drafted = ObjectiveDrafted(
        objective_id=command.objective_id,
        cycle_id=command.cycle_id,
        unit_id=command.unit_id,
        owner_id=command.owner_id,
        title=command.title,
        cycle_starts_on=cycle.starts_on,
        cycle_ends_on=cycle.ends_on,
        template=template,
    )
    if state.drafted == drafted:
        return []
    if state.drafted is not None:
        raise AlreadyExistsError("objective", command.objective_id)
    if cycle.state in ENDED:
        raise ended(cycle)
    return [drafted]


def _activate(state: Objective, drafted: ObjectiveDrafted, command: ActivateObjective) -> list[ObjectiveEvent]:
    if state.state == "active":
        return []
    if command.cycle.state in ENDED:
        raise ended(command.cycle)
    # What was agreed on and never entered can still be graded, hence also while grading.
    if command.cycle.state not in ("active", "grading"):
        raise not_active(command.cycle)
    if not state.key_results:
        raise DomainError("NO_KEY_RESULTS", f"{drafted.title!r} has no key result yet; define one, then activate")
    return [
        ObjectiveActivated(objective_id=drafted.objective_id),
        *(_opened(known.defined) for known in state.key_results.values()),
    ]


def _define(state: Objective, drafted: ObjectiveDrafted, command: DefineKeyResult) -> list[ObjectiveEvent]:
    defined = definition.define(command, drafted)
    champions = [_champion(named) for named in command.champions]
    known = state.key_results.get(command.key_result_id)
    if known is not None:
        if known.defined != defined or not known.named.issuperset(champions):
            raise AlreadyExistsError("key result", command.key_result_id)
        return []
    definition.require_fitting(command, defined)
    definition.require_sound(defined, drafted)
    require_sound(champions)
    if len(state.key_results) >= MAX_KEY_RESULTS:
        raise DomainError("TOO_MANY_KEY_RESULTS", f"{drafted.title!r} has {MAX_KEY_RESULTS} key results already")
    opened = [_opened(defined)] if state.state == "active" else []
    return [defined, *(_assigned(defined, champion) for champion in champions), *opened]


def _assign(known: KeyResult, champion: Champion) -> list[ObjectiveEvent]:
    if champion in known.champions:
        return []
    before = accountable_of(known.champions)
    if champion.role != "accountable" or before is None:
        require_sound((*known.champions, champion))
        return [_assigned(known.defined, champion)]
    former, stays = Champion(before, "accountable"), Champion(before, "responsible")
    kept = [each for each in known.champions if each not in (former, stays)]
    require_sound((*kept, stays, champion))
    events: list[ObjectiveEvent] = [_released(known.defined, former)]
    if stays not in known.champions:
        events.append(_assigned(known.defined, stays))
    return [*events, _assigned(known.defined, champion)]


def _release(known: KeyResult, champion: Champion) -> list[ObjectiveEvent]:
    if champion not in known.champions:
        raise NotFoundError("champion", f"{champion.person_id} ({champion.role}) of {known.defined.title!r}")
    if champion.role == "accountable":
        raise DomainError(
            "ACCOUNTABLE_NEEDS_SUCCESSOR",
            f"{champion.person_id} is accountable; make somebody else accountable instead, which releases them",
        )
    return [_released(known.defined, champion)]


def _revise(known: KeyResult, command: ReviseTarget) -> list[ObjectiveEvent]:
    commit = known.commit if command.commit is None else command.commit
    target = known.target if command.target is None else command.target
    defined = known.defined
    if (commit, target) == (known.commit, known.target):
        return []
    if command.cycle is not None and command.cycle.state in ENDED:
        raise ended(command.cycle)
    if command.cycle is not None and command.cycle.state == "grading":
        raise DomainError(
            "CYCLE_IN_GRADING",
            f"the time of {command.cycle.name} is over; a target is not moved when the result is known. "
            "Give another final grade, with the reason",
        )
    if defined.type in ("binary", "baseline", "ordinal"):
        raise DomainError(
            "NOTHING_TO_REVISE", f"of type {defined.type} it has no marks to move; define another key result"
        )
    direction = direction_of(defined.start, target)
    moves = defined.type in ("increase", "decrease")
    if moves and direction is not None and direction != defined.type:
        raise DomainError(
            "DIRECTION_DIFFERS",
            f"from {defined.start:f} to {target:f} would {direction}, and this key result is there to {defined.type}; "
            "define another key result for that",
        )
    definition.require_marks(defined.type, defined.start, commit, target, defined.measurement.stretch)
    return [
        TargetRevised(
            key_result_id=defined.key_result_id,
            objective_id=defined.objective_id,
            commit=commit,
            target=target,
            previous_commit=known.commit,
            previous_target=known.target,
            reason=command.reason,
            source=command.source,
            external=command.external,
        )
    ]


def _grade(state: Objective, known: KeyResult, command: GradeKeyResult) -> list[ObjectiveEvent]:
    cycle, outcome, title = command.cycle, command.outcome, known.defined.title
    if cycle.state in ENDED:
        raise ended(cycle)
    if state.state in ("draft", "cancelled"):
        raise DomainError("OBJECTIVE_NOT_ACTIVE", f"the objective of {title!r} is {state.state}; nothing was tried yet")
    if cycle.state != "grading" and not (cycle.state == "active" and command.closing_early):
        raise DomainError(
            "GRADING_NOT_OPEN",
            f"{cycle.name} is {cycle.state}; grades are given when its time is over or its grading was opened, "
            "or to an objective that is being closed early",
        )
    final = outcome.score if command.final is None else command.final
    if final != outcome.score and command.reason is None:
        raise DomainError(
            "REASON_MISSING",
            f"the rules come to {outcome.score:f} for {title!r}; another grade, {final:f}, needs a reason",
        )
    graded = KeyResultGraded(
        key_result_id=known.defined.key_result_id,
        objective_id=command.objective_id,
        computed=outcome.score,
        final=final,
        zone=outcome.zone,
        value=outcome.value,
        commit=outcome.measure.commit,
        target=outcome.measure.target,
        rule_version=outcome.parameters.version,
        reason=command.reason,
        evidence=command.evidence,
    )
    return [] if known.grade == graded else [graded]


def _close_by_grades(state: Objective, command: CloseByGrades) -> list[ObjectiveEvent]:
    """Nothing for what has ended before; what never came to life stays the draft it is."""
    if state.state != "active":
        return []
    outcome = outcome_by_grades(state, command.parameters)
    return _close(state, CloseObjective(objective_id=command.objective_id, outcome=outcome))


def outcome_by_grades(state: Objective, parameters: RuleParameters) -> ObjectiveOutcome:
    """The band of the weighted grades. Without any, there is at least something to learn from it."""
    graded = [
        (known.defined.measurement.weight, known.grade.final)
        for known in state.key_results.values()
        if known.grade is not None
    ]
    together = roll_up(graded)
    return "learned" if together is None else band(together, parameters)


def _cancel(state: Objective, command: CancelObjective) -> list[ObjectiveEvent]:
    if state.state in ("closed", "cancelled"):
        return []
    closed = [_closed(known.defined) for known in state.key_results.values()] if state.state == "active" else []
    return [*closed, ObjectiveCancelled(objective_id=command.objective_id)]


def _close(state: Objective, command: CloseObjective) -> list[ObjectiveEvent]:
    if state.state == "closed" and state.outcome == command.outcome:
        return []
    if state.state in ("closed", "cancelled"):
        how = f"closed before as {state.outcome}" if state.state == "closed" else "cancelled"
        raise DomainError("OBJECTIVE_CLOSED", f"it was {how}")
    if state.state != "active":
        raise DomainError("OBJECTIVE_NOT_ACTIVE", "it is still a draft; only an active objective has an outcome")
    return [
        *(_closed(known.defined) for known in state.key_results.values()),
        ObjectiveClosed(objective_id=command.objective_id, outcome=command.outcome),
    ]


def _champion(named: NamedChampion) -> Champion:
    return Champion(named.person_id, named.role)


def _assigned(defined: KeyResultDefined, champion: Champion) -> ChampionAssigned:
    return ChampionAssigned(
        key_result_id=defined.key_result_id,
        objective_id=defined.objective_id,
        person_id=champion.person_id,
        role=champion.role,
        key_result_title=defined.title,
    )


def _released(defined: KeyResultDefined, champion: Champion) -> ChampionReleased:
    return ChampionReleased(
        key_result_id=defined.key_result_id,
        objective_id=defined.objective_id,
        person_id=champion.person_id,
        role=champion.role,
    )


def _opened(defined: KeyResultDefined) -> KeyResultOpened:
    return KeyResultOpened(
        key_result_id=defined.key_result_id,
        objective_id=defined.objective_id,
        starts_on=defined.starts_on,
        type=defined.type,
        milestones=defined.measurement.milestones,
    )


def _closed(defined: KeyResultDefined) -> KeyResultClosed:
    return KeyResultClosed(key_result_id=defined.key_result_id, objective_id=defined.objective_id)


def _with(state: Objective, key_result_id: UUID, known: KeyResult) -> Objective:
    return replace(state, key_results=state.key_results | {key_result_id: known})


objectives: Decider[Objective, ObjectiveCommand, ObjectiveEvent] = Decider(
    category="objective", initial=Objective(), decide=decide, evolve=evolve
)
