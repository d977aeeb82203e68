"""Rules of grades, of what objectives come to by them, and of what goes on in the next cycle."""

from datetime import date
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from okr_contracts.errors import DomainError
from okr_contracts.goals import (
    KeyResultClosed,
    KeyResultGraded,
    Measurement,
    ObjectiveActivated,
    ObjectiveCancelled,
    ObjectiveClosed,
    ObjectiveOutcome,
    TargetRevised,
)
from okr_goals.decider.carry_over import CarryOverSaid, continued
from okr_goals.decider.champions import Champion
from okr_goals.decider.commands import CancelObjective, CloseByGrades, GradeKeyResult
from okr_goals.decider.cycle import Cycle, CycleState
from okr_goals.decider.objective import KeyResult, objectives
from okr_rules.measure import Measure
from okr_rules.outcome import Outcome
from okr_rules.parameters import DEFAULTS, RuleParameters
from tests.goals.test_objective import ACTIVE, ANA, CHURN, FIRST, LAST, OBJECTIVE, TRIALS, defined, drafted
from tests.support.sealed import sealed
from tests.support.spec import spec, violations

objective_spec = spec(objectives)
GRADING = Cycle(state="grading", name="Q1", starts_on=FIRST, ends_on=LAST)
ACTIVATED = ObjectiveActivated(objective_id=OBJECTIVE)
TOLD = (drafted(), defined(), ACTIVATED)
MEASURE = Measure(D(0), D(50), D(100), date(2026, 1, 1), LAST, "increase")
OUTCOME = Outcome(D("0.58"), "commit", D(70), MEASURE, "aspirational", DEFAULTS)


def grade(final: str | None = None, reason: str = "", cycle: Cycle = GRADING, early: bool = False) -> GradeKeyResult:
    return GradeKeyResult(
        objective_id=OBJECTIVE,
        key_result_id=TRIALS,
        cycle=cycle,
        outcome=OUTCOME,
        final=None if final is None else D(final),
        reason=sealed(reason),
        closing_early=early,
    )


def graded(final: str = "0.58", reason: str = "", key_result_id: UUID = TRIALS) -> KeyResultGraded:
    return KeyResultGraded(
        key_result_id=key_result_id,
        objective_id=OBJECTIVE,
        computed=D("0.58"),
        final=D(final),
        zone="commit",
        value=D(70),
        commit=D(50),
        target=D(100),
        rule_version="2026-1",
        reason=sealed(reason),
    )


def revised(target: str, external: bool = False) -> TargetRevised:
    return TargetRevised(
        key_result_id=TRIALS,
        objective_id=OBJECTIVE,
        commit=D(50),
        target=D(target),
        previous_commit=D(50),
        previous_target=D(100),
        reason=sealed("as things are"),
        external=external,
    )


def test_a_grade_is_what_the_rules_compute() -> None:
    objective_spec.given(*TOLD).when(grade()).then(graded())
    objective_spec.given(*TOLD).when(grade("0.58")).then(graded())


def test_another_grade_has_a_reason() -> None:
    objective_spec.given(*TOLD).when(grade("0.7")).then_refused("REASON_MISSING")
    objective_spec.given(*TOLD).when(grade("0.7", "the oven was out")).then(graded("0.7", "the oven was out"))


def test_a_grade_may_be_given_again_while_grading_lasts() -> None:
    objective_spec.given(*TOLD, graded()).when(grade()).then_nothing()
    objective_spec.given(*TOLD, graded("0.7", "so")).when(grade()).then(graded())


@pytest.mark.parametrize("state", ["draft", "published", "active"])
def test_there_are_no_grades_before_the_end(state: CycleState) -> None:
    objective_spec.given(*TOLD).when(grade(cycle=Cycle(state=state, name="Q1"))).then_refused("GRADING_NOT_OPEN")


def test_an_objective_that_ends_early_is_graded_early() -> None:
    objective_spec.given(*TOLD).when(grade(cycle=ACTIVE, early=True)).then(graded())
    objective_spec.given(*TOLD).when(grade(cycle=Cycle(state="draft"), early=True)).then_refused("GRADING_NOT_OPEN")


def test_what_is_closed_or_was_never_tried_gets_no_grade() -> None:
    objective_spec.given(*TOLD).when(grade(cycle=Cycle(state="closed", name="Q1"))).then_refused("CYCLE_CLOSED")
    objective_spec.given(*TOLD[:2]).when(grade()).then_refused("OBJECTIVE_NOT_ACTIVE")


def test_a_revision_moves_the_target_and_not_what_the_grade_measures_by() -> None:
    known = objectives.fold([*TOLD, revised("60")]).key_results[TRIALS]
    assert (known.target, known.graded_target) == (D(60), D(100))


def test_a_revision_from_outside_moves_what_the_grade_measures_by() -> None:
    known = objectives.fold([*TOLD, revised("60", external=True), revised("55")]).key_results[TRIALS]
    assert (known.target, known.graded_target) == (D(55), D(60))


def test_what_is_revised_before_the_start_is_the_original() -> None:
    known = objectives.fold([drafted(), defined(), revised("60"), ACTIVATED]).key_results[TRIALS]
    assert known.graded_target == D(60)


@pytest.mark.parametrize(
    ("grades", "outcome"),
    [(("0.9", "0.5"), "achieved"), (("0.5", "0.5"), "partly"), (("0.3", "0.4"), "learned"), ((), "learned")],
)
def test_an_objective_comes_to_the_band_of_its_grades(grades: tuple[str, ...], outcome: ObjectiveOutcome) -> None:
    other = replace(defined(), key_result_id=CHURN)
    ids = (TRIALS, CHURN)
    given = [graded(each, "so", key_result_id) for each, key_result_id in zip(grades, ids, strict=False)]
    command = CloseByGrades(objective_id=OBJECTIVE, parameters=DEFAULTS)
    objective_spec.given(drafted(), defined(), other, ACTIVATED, *given).when(command).then(
        *(KeyResultClosed(key_result_id=each, objective_id=OBJECTIVE) for each in ids),
        ObjectiveClosed(objective_id=OBJECTIVE, outcome=outcome),
    )


def test_an_objective_is_closed_by_its_cycles_own_bands() -> None:
    strict = RuleParameters(version="2020-1", achieved_from=D("0.99"), partly_from=D("0.95"))
    command = CloseByGrades(objective_id=OBJECTIVE, parameters=strict)
    objective_spec.given(*TOLD, graded("0.9", "so")).when(command).then(
        KeyResultClosed(key_result_id=TRIALS, objective_id=OBJECTIVE),
        ObjectiveClosed(objective_id=OBJECTIVE, outcome="learned"),
    )


def test_what_ended_or_never_began_is_not_closed_again() -> None:
    command = CloseByGrades(objective_id=OBJECTIVE, parameters=DEFAULTS)
    ended = ObjectiveClosed(objective_id=OBJECTIVE, outcome="partly")
    objective_spec.given(*TOLD, ended).when(command).then_nothing()
    objective_spec.given(*TOLD[:2]).when(command).then_nothing()


def test_an_objective_is_cancelled_with_its_cycle() -> None:
    cancel, cancelled = CancelObjective(objective_id=OBJECTIVE), ObjectiveCancelled(objective_id=OBJECTIVE)
    closed = KeyResultClosed(key_result_id=TRIALS, objective_id=OBJECTIVE)
    objective_spec.given(*TOLD).when(cancel).then(closed, cancelled)
    objective_spec.given(*TOLD[:2]).when(cancel).then(cancelled)
    objective_spec.given(*TOLD, closed, cancelled).when(cancel).then_nothing()


# --- going on -------------------------------------------------------------------------------------

NEXT = UUID(int=99)


def former(**changes: Any) -> KeyResult:
    told = replace(defined(), **changes)
    marks = (told.commit, told.target)
    return KeyResult(told, *marks, *marks, champions=(Champion(ANA, "accountable"),))


def said(**fields: Any) -> CarryOverSaid:
    return CarryOverSaid.model_validate(
        {"key_result_id": TRIALS, "new_key_result_id": CHURN, "objective_id": NEXT, **fields}
    )


def test_a_way_goes_on_where_it_stands_with_the_marks_that_still_lie_ahead() -> None:
    on = continued(former(), D(40), said())
    assert (on.start, on.commit, on.target, on.continued_from) == (D(40), D(50), D(100), TRIALS)
    assert (on.objective_id, on.key_result_id, on.title) == (NEXT, CHURN, "Trials")
    assert [(each.person_id, each.role) for each in on.champions] == [(ANA, "accountable")]


def test_a_commit_that_was_kept_is_proposed_anew() -> None:
    assert continued(former(), D(70), said()).commit is None


def test_what_nobody_measured_begins_where_it_began() -> None:
    assert continued(former(), None, said()).start == D(0)


def test_what_came_to_its_target_needs_a_new_one() -> None:
    with pytest.raises(DomainError, match="say a new target") as no:
        continued(former(), D(100), said())
    assert no.value.reason == "TARGET_REACHED"
    assert continued(former(), D(100), said(target="150")).target == D(150)


def test_what_is_promised_as_a_whole_stays_so() -> None:
    on = continued(former(commit=D(100)), D(40), said())
    assert (on.commit, on.target) == (D(100), D(100))


def test_a_range_goes_on_as_it_is() -> None:
    kept = Measurement(low=D(95), tolerance=D(5), guard_rail=True, schedule=())
    on = continued(former(type="maintain", commit=D("0.9"), target=D(1), measurement=kept), D(97), said())
    assert (on.type, on.start, on.commit, on.target) == ("maintain", None, D("0.9"), D(1))
    assert (on.measurement.low, on.measurement.tolerance, on.measurement.guard_rail) == (D(95), D(5), True)


def test_milestones_have_their_days_in_their_own_cycle() -> None:
    with pytest.raises(DomainError) as no:
        continued(former(type="milestone", commit=D("0.5"), target=D(1)), D("0.5"), said())
    assert no.value.reason == "MILESTONES_ARE_DATED"


def test_the_numbers_of_a_continuation_are_numbers() -> None:
    assert violations(lambda: said(target="much")) == ["target"]
