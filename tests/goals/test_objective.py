"""Rules of an objective with its key results and their champions."""

from datetime import date
from decimal import Decimal as D
from uuid import UUID

import pytest

from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    ChampionRole,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    KeyResultType,
    ObjectiveActivated,
    ObjectiveClosed,
    ObjectiveDrafted,
    ObjectiveEvent,
    TargetRevised,
)
from okr_goals.decider import objective as rules
from okr_goals.decider.commands import (
    ActivateObjective,
    AssignChampion,
    CloseObjective,
    DefineKeyResult,
    DraftObjective,
    NamedChampion,
    ObjectiveCommand,
    ReleaseChampion,
    ReviseTarget,
    RevisionSaid,
)
from okr_goals.decider.cycle import Cycle
from okr_goals.decider.objective import objectives
from tests.support.sealed import sealed
from tests.support.spec import spec, violations

OBJECTIVE, CYCLE, UNIT, ELSEWHERE = (UUID(int=number) for number in (1, 2, 3, 4))
TRIALS, CHURN, NO_SUCH = (UUID(int=number) for number in (10, 11, 19))
ANA, BEN, CLEO = (UUID(int=number) for number in (21, 22, 23))
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)

DRAFT = Cycle(state="draft", name="Q1", starts_on=FIRST, ends_on=LAST)
ACTIVE = Cycle(state="active", name="Q1", starts_on=FIRST, ends_on=LAST)
CLOSED_CYCLE = Cycle(state="closed", name="Q1", starts_on=FIRST, ends_on=LAST)

objective_spec = spec(objectives)


def drafted(title: str = "Grow") -> ObjectiveDrafted:
    return ObjectiveDrafted(
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        unit_id=UNIT,
        owner_id=ANA,
        title=title,
        cycle_starts_on=FIRST,
        cycle_ends_on=LAST,
    )


def draft(title: str = "Grow", cycle: Cycle = DRAFT) -> DraftObjective:
    return DraftObjective(objective_id=OBJECTIVE, cycle_id=CYCLE, unit_id=UNIT, owner_id=ANA, title=title, cycle=cycle)


def defined(
    start: str = "0",
    commit: str = "50",
    target: str = "100",
    direction: KeyResultType = "increase",
    due_on: date = LAST,
) -> KeyResultDefined:
    return KeyResultDefined(
        key_result_id=TRIALS,
        objective_id=OBJECTIVE,
        title="Trials",
        type=direction,
        start=D(start),
        commit=D(commit),
        target=D(target),
        unit="trials",
        starts_on=FIRST,
        due_on=due_on,
    )


def champion(person_id: UUID, role: ChampionRole) -> NamedChampion:
    return NamedChampion(person_id=person_id, role=role)


ACCOUNTABLE = champion(ANA, "accountable")


def define(
    start: str = "0",
    commit: str | None = None,
    target: str = "100",
    direction: KeyResultType | None = None,
    due_on: date | None = None,
    champions: tuple[NamedChampion, ...] = (ACCOUNTABLE,),
    key_result_id: UUID = TRIALS,
    title: str = "Trials",
) -> DefineKeyResult:
    return DefineKeyResult(
        objective_id=OBJECTIVE,
        key_result_id=key_result_id,
        title=title,
        type=direction,
        start=D(start),
        commit=None if commit is None else D(commit),
        target=D(target),
        unit="trials",
        due_on=due_on,
        champions=champions,
    )


def assigned(person_id: UUID, role: ChampionRole) -> ChampionAssigned:
    return ChampionAssigned(
        key_result_id=TRIALS, objective_id=OBJECTIVE, person_id=person_id, role=role, key_result_title="Trials"
    )


def released(person_id: UUID, role: ChampionRole) -> ChampionReleased:
    return ChampionReleased(key_result_id=TRIALS, objective_id=OBJECTIVE, person_id=person_id, role=role)


def assign(person_id: UUID, role: ChampionRole, key_result_id: UUID = TRIALS) -> AssignChampion:
    return AssignChampion(objective_id=OBJECTIVE, key_result_id=key_result_id, champion=champion(person_id, role))


def release(person_id: UUID, role: ChampionRole) -> ReleaseChampion:
    return ReleaseChampion(objective_id=OBJECTIVE, key_result_id=TRIALS, champion=champion(person_id, role))


def revise(commit: str | None = None, target: str | None = None, reason: str = "the market moved") -> ReviseTarget:
    return ReviseTarget(
        objective_id=OBJECTIVE,
        key_result_id=TRIALS,
        commit=None if commit is None else D(commit),
        target=None if target is None else D(target),
        reason=sealed(reason),
    )


def activate(cycle: Cycle = ACTIVE) -> ActivateObjective:
    return ActivateObjective(objective_id=OBJECTIVE, cycle=cycle)


close = CloseObjective(objective_id=OBJECTIVE, outcome="achieved")
ACTIVATED = ObjectiveActivated(objective_id=OBJECTIVE)
OPENED = KeyResultOpened(key_result_id=TRIALS, objective_id=OBJECTIVE, starts_on=FIRST, type="increase")
CLOSED = ObjectiveClosed(objective_id=OBJECTIVE, outcome="achieved")

READY: tuple[ObjectiveEvent, ...] = (drafted(), defined(), assigned(ANA, "accountable"))
RUNNING: tuple[ObjectiveEvent, ...] = (*READY, ACTIVATED, OPENED)
OVER: tuple[ObjectiveEvent, ...] = (*RUNNING, CLOSED)


# --- the objective ---------------------------------------------------------------------------------


def test_an_objective_is_drafted_in_a_cycle_that_is_not_closed() -> None:
    objective_spec.when(draft()).then(drafted())
    objective_spec.when(draft(cycle=ACTIVE)).then(drafted())
    objective_spec.when(draft(cycle=CLOSED_CYCLE)).then_refused("CYCLE_CLOSED")


def test_the_cycle_has_to_exist() -> None:
    objective_spec.when(draft(cycle=Cycle())).then_not_found("CYCLE_NOT_FOUND")


def test_drafting_the_same_again_changes_nothing_even_when_the_cycle_is_closed_by_now() -> None:
    objective_spec.given(drafted()).when(draft()).then_nothing()
    objective_spec.given(*OVER).when(draft(cycle=CLOSED_CYCLE)).then_nothing()


def test_a_taken_id_with_another_title_is_refused() -> None:
    objective_spec.given(drafted()).when(draft("Shrink")).then_already_exists("OBJECTIVE_ALREADY_EXISTS")


def test_activation_opens_every_key_result() -> None:
    objective_spec.given(*READY).when(activate()).then(ACTIVATED, OPENED)
    objective_spec.given(*RUNNING).when(activate()).then_nothing()


def test_activation_needs_a_key_result() -> None:
    objective_spec.given(drafted()).when(activate()).then_refused("NO_KEY_RESULTS")


def test_activation_needs_an_active_cycle() -> None:
    objective_spec.given(*READY).when(activate(DRAFT)).then_refused("CYCLE_NOT_ACTIVE")
    objective_spec.given(*READY).when(activate(CLOSED_CYCLE)).then_refused("CYCLE_CLOSED")


def test_closing_closes_every_key_result() -> None:
    shut = KeyResultClosed(key_result_id=TRIALS, objective_id=OBJECTIVE)
    objective_spec.given(*RUNNING).when(close).then(shut, CLOSED)
    objective_spec.given(*OVER).when(close).then_nothing()


def test_a_closed_objective_keeps_its_outcome() -> None:
    learned = CloseObjective(objective_id=OBJECTIVE, outcome="learned")
    objective_spec.given(*OVER).when(learned).then_refused("OBJECTIVE_CLOSED")


def test_a_draft_has_no_outcome() -> None:
    objective_spec.given(*READY).when(close).then_refused("OBJECTIVE_NOT_ACTIVE")


@pytest.mark.parametrize(
    "command", [define(), assign(BEN, "reviewer"), release(ANA, "reviewer"), revise("40"), activate()]
)
def test_a_closed_objective_takes_no_changes(command: ObjectiveCommand) -> None:
    objective_spec.given(*OVER).when(command).then_refused("OBJECTIVE_CLOSED")


@pytest.mark.parametrize(
    "command", [define(), assign(BEN, "reviewer"), release(ANA, "reviewer"), revise("40"), activate(), close]
)
def test_nothing_happens_to_an_objective_nobody_drafted(command: ObjectiveCommand) -> None:
    objective_spec.when(command).then_not_found("OBJECTIVE_NOT_FOUND")


# --- key results -----------------------------------------------------------------------------------


def test_a_key_result_counts_upwards_with_a_promise_halfway_and_is_due_with_the_cycle() -> None:
    objective_spec.given(drafted()).when(define()).then(defined(), assigned(ANA, "accountable"))


def test_a_key_result_counts_downwards_when_its_target_lies_below_its_start() -> None:
    objective_spec.given(drafted()).when(define(start="9", commit="5", target="2")).then(
        defined("9", "5", "2", "decrease"), assigned(ANA, "accountable")
    )


def test_a_key_result_defined_later_is_open_at_once() -> None:
    events = (drafted(), ACTIVATED)
    objective_spec.given(*events).when(define()).then(defined(), assigned(ANA, "accountable"), OPENED)


def test_defining_the_same_again_changes_nothing_also_after_revisions_and_hand_overs() -> None:
    revised = TargetRevised(
        key_result_id=TRIALS,
        objective_id=OBJECTIVE,
        commit=D(60),
        target=D(120),
        previous_commit=D(50),
        previous_target=D(100),
        reason=sealed("more demand"),
    )
    handed_over = (released(ANA, "accountable"), assigned(ANA, "responsible"), assigned(BEN, "accountable"))
    objective_spec.given(*RUNNING, revised, *handed_over).when(define()).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        define(target="101", commit="50"),
        define(commit="51"),
        define(title="Paid trials"),
        define(champions=(champion(BEN, "accountable"),)),
        define(due_on=date(2026, 3, 30)),
    ],
)
def test_a_taken_id_with_another_definition_is_refused(other: DefineKeyResult) -> None:
    objective_spec.given(*READY).when(other).then_already_exists("KEY_RESULT_ALREADY_EXISTS")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (define(start="100", target="100"), "START_EQUALS_TARGET"),
        (define(commit="101"), "COMMIT_BEYOND_TARGET"),
        (define(start="9", commit="1", target="2"), "COMMIT_BEYOND_TARGET"),
        (define(commit="0"), "COMMIT_BEFORE_START"),
        (define(commit="-1"), "COMMIT_BEFORE_START"),
        (define(start="9", commit="10", target="2"), "COMMIT_BEFORE_START"),
        (define(direction="decrease"), "DIRECTION_DIFFERS"),
        (define(due_on=date(2026, 4, 1)), "DUE_OUTSIDE_CYCLE"),
        (define(due_on=date(2025, 12, 31)), "DUE_OUTSIDE_CYCLE"),
    ],
)
def test_numbers_and_days_that_make_no_key_result_are_refused(command: DefineKeyResult, reason: str) -> None:
    objective_spec.given(drafted()).when(command).then_refused(reason)


def test_an_objective_holds_a_bounded_number_of_key_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_KEY_RESULTS", 1)
    objective_spec.given(*READY).when(define(key_result_id=CHURN)).then_refused("TOO_MANY_KEY_RESULTS")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "twelve", "1,5", ""])
def test_numbers_are_finite_decimals(number: str) -> None:
    fields = define().model_dump() | {"start": number}
    assert violations(lambda: DefineKeyResult.model_validate(fields)) == ["start"]


@pytest.mark.parametrize("title", ["", "   ", "a\x00b", "lone \ud800", "x" * 2**20])
def test_titles_are_text_of_a_bounded_length(title: str) -> None:
    assert violations(lambda: draft(title)) == ["title"]


# --- champions -------------------------------------------------------------------------------------


def many(count: int) -> tuple[NamedChampion, ...]:
    return (ACCOUNTABLE, *(champion(UUID(int=100 + each), "contributor") for each in range(count - 1)))


@pytest.mark.parametrize(
    ("champions", "reason"),
    [
        ((), "NO_ACCOUNTABLE"),
        ((champion(ANA, "responsible"),), "NO_ACCOUNTABLE"),
        ((ACCOUNTABLE, champion(BEN, "accountable")), "TWO_ACCOUNTABLE"),
        ((ACCOUNTABLE, ACCOUNTABLE), "TWO_ACCOUNTABLE"),
        ((ACCOUNTABLE, champion(BEN, "watcher"), champion(BEN, "watcher")), "CHAMPION_REPEATED"),
        ((ACCOUNTABLE, champion(BEN, "data_steward"), champion(CLEO, "data_steward")), "TWO_DATA_STEWARDS"),
        ((ACCOUNTABLE, champion(BEN, "reviewer"), champion(CLEO, "reviewer")), "TWO_REVIEWERS"),
        ((ACCOUNTABLE, champion(ANA, "reviewer")), "REVIEWER_IS_ACCOUNTABLE"),
        (many(9), "TOO_MANY_CHAMPIONS"),
    ],
)
def test_champions_that_could_not_work_together_are_refused(champions: tuple[NamedChampion, ...], reason: str) -> None:
    objective_spec.given(drafted()).when(define(champions=champions)).then_refused(reason)


def test_a_cross_functional_team_champions_a_key_result() -> None:
    team = many(8)
    objective_spec.given(drafted()).when(define(champions=team)).then(
        defined(), *(assigned(each.person_id, each.role) for each in team)
    )


def test_a_champion_joins_once_in_a_role() -> None:
    joined = assigned(BEN, "responsible")
    objective_spec.given(*READY).when(assign(BEN, "responsible")).then(joined)
    objective_spec.given(*READY, joined).when(assign(BEN, "responsible")).then_nothing()
    objective_spec.given(*READY, joined).when(assign(BEN, "contributor")).then(assigned(BEN, "contributor"))


def test_a_new_accountable_champion_takes_over_and_the_former_stays_responsible() -> None:
    objective_spec.given(*READY).when(assign(BEN, "accountable")).then(
        released(ANA, "accountable"), assigned(ANA, "responsible"), assigned(BEN, "accountable")
    )


def test_a_former_accountable_who_is_responsible_already_is_not_made_so_twice() -> None:
    objective_spec.given(*READY, assigned(ANA, "responsible")).when(assign(BEN, "accountable")).then(
        released(ANA, "accountable"), assigned(BEN, "accountable")
    )


def test_the_reviewer_cannot_take_over() -> None:
    objective_spec.given(*READY, assigned(BEN, "reviewer")).when(assign(BEN, "accountable")).then_refused(
        "REVIEWER_IS_ACCOUNTABLE"
    )


def test_a_ninth_champion_is_refused() -> None:
    team = (assigned(each.person_id, each.role) for each in many(8))
    objective_spec.given(drafted(), defined(), *team).when(assign(BEN, "watcher")).then_refused("TOO_MANY_CHAMPIONS")


def test_a_champion_is_released() -> None:
    objective_spec.given(*READY, assigned(BEN, "watcher")).when(release(BEN, "watcher")).then(released(BEN, "watcher"))


def test_the_accountable_champion_is_released_by_a_successor_alone() -> None:
    objective_spec.given(*READY).when(release(ANA, "accountable")).then_refused("ACCOUNTABLE_NEEDS_SUCCESSOR")


def test_nobody_is_released_from_a_role_they_do_not_hold() -> None:
    objective_spec.given(*READY).when(release(BEN, "watcher")).then_not_found("CHAMPION_NOT_FOUND")


def test_champions_belong_to_a_key_result_that_exists() -> None:
    objective_spec.given(*READY).when(assign(BEN, "watcher", NO_SUCH)).then_not_found("KEY_RESULT_NOT_FOUND")


# --- revisions -------------------------------------------------------------------------------------


def revised(commit: str, target: str) -> TargetRevised:
    return TargetRevised(
        key_result_id=TRIALS,
        objective_id=OBJECTIVE,
        commit=D(commit),
        target=D(target),
        previous_commit=D(50),
        previous_target=D(100),
        reason=sealed("the market moved"),
    )


def test_a_revision_keeps_both_numbers_and_the_reason() -> None:
    objective_spec.given(*RUNNING).when(revise("60", "120")).then(revised("60", "120"))
    objective_spec.given(*RUNNING).when(revise(target="120")).then(revised("50", "120"))
    objective_spec.given(*RUNNING).when(revise(commit="60")).then(revised("60", "100"))
    objective_spec.given(*RUNNING).when(revise("50", "100")).then_nothing()


def test_a_revision_needs_a_reason_and_a_number() -> None:
    said = {"objective_id": OBJECTIVE, "key_result_id": TRIALS, "commit": D(60), "reason": " "}
    assert violations(lambda: RevisionSaid.model_validate(said)) == ["reason"]
    assert len(violations(lambda: revise())) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (revise(target="40"), "COMMIT_BEYOND_TARGET"),
        (revise(commit="0"), "COMMIT_BEFORE_START"),
        (revise(commit="1", target="0"), "START_EQUALS_TARGET"),
        (revise(commit="-1", target="-2"), "DIRECTION_DIFFERS"),
    ],
)
def test_a_revision_stays_in_order_and_in_its_direction(command: ReviseTarget, reason: str) -> None:
    objective_spec.given(*RUNNING).when(command).then_refused(reason)
