"""Rules of a planning cycle."""

from datetime import date
from decimal import Decimal as D
from uuid import UUID

import pytest

from okr_contracts.errors import Violation
from okr_contracts.goals import (
    CycleActivated,
    CycleCancelled,
    CycleClosed,
    CycleClosing,
    CycleDrafted,
    CycleEvent,
    CycleGradingOpened,
    CyclePublished,
)
from okr_goals.decider.cycle import (
    ActivateCycle,
    CancelCycle,
    CloseCycle,
    CycleCommand,
    DraftCycle,
    OpenGrading,
    PublishCycle,
    RecordClosed,
    cycles,
    pinned,
)
from okr_rules.parameters import DEFAULTS, RuleParameters
from tests.support.sealed import sealed
from tests.support.spec import spec, violations

CYCLE = UUID(int=1)
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)

cycle_spec = spec(cycles)
PUBLISHED = CyclePublished(cycle_id=CYCLE, rules=pinned())
ACTIVATED, GRADING = CycleActivated(cycle_id=CYCLE), CycleGradingOpened(cycle_id=CYCLE)
HEADS = ("checkins:7:1:40", "goals:7:1:90")
CLOSING, CLOSED = CycleClosing(cycle_id=CYCLE), CycleClosed(cycle_id=CYCLE, positions=HEADS)
CANCELLED = CycleCancelled(cycle_id=CYCLE, reason=sealed("the market is gone"))

activate = ActivateCycle(cycle_id=CYCLE)
open_grading = OpenGrading(cycle_id=CYCLE)
record_closed = RecordClosed(cycle_id=CYCLE, positions=HEADS)
cancel = CancelCycle(cycle_id=CYCLE, reason=sealed("the market is gone"))


def drafted(name: str = "Q1") -> CycleDrafted:
    return CycleDrafted(cycle_id=CYCLE, name=name, starts_on=FIRST, ends_on=LAST)


def draft(name: str = "Q1", starts_on: date = FIRST, ends_on: date = LAST) -> DraftCycle:
    return DraftCycle(cycle_id=CYCLE, name=name, starts_on=starts_on, ends_on=ends_on)


def publish(objectives: int = 1, *blocking: Violation) -> PublishCycle:
    return PublishCycle(cycle_id=CYCLE, rules=pinned(), objectives=objectives, blocking=blocking)


def close(active_objectives: int = 0, *ungraded: Violation) -> CloseCycle:
    return CloseCycle(cycle_id=CYCLE, active_objectives=active_objectives, ungraded=ungraded)


def test_a_cycle_is_drafted_published_active_in_grading_closing_and_closed() -> None:
    cycle_spec.when(draft()).then(drafted())
    cycle_spec.given(drafted()).when(publish()).then(PUBLISHED)
    cycle_spec.given(drafted(), PUBLISHED).when(activate).then(ACTIVATED)
    cycle_spec.given(drafted(), PUBLISHED, ACTIVATED).when(open_grading).then(GRADING)
    cycle_spec.given(drafted(), PUBLISHED, ACTIVATED, GRADING).when(close(2)).then(CLOSING)
    cycle_spec.given(drafted(), PUBLISHED, ACTIVATED, GRADING, CLOSING).when(record_closed).then(CLOSED)


def test_a_small_organisation_activates_its_draft_at_once_and_closes_it_when_nothing_is_open() -> None:
    cycle_spec.given(drafted()).when(activate).then(ACTIVATED)
    cycle_spec.given(drafted(), ACTIVATED).when(close()).then(CLOSING)


def test_asking_for_the_same_again_changes_nothing() -> None:
    lived = (drafted(), PUBLISHED, ACTIVATED, GRADING, CLOSING, CLOSED)
    cycle_spec.given(*lived[:1]).when(draft()).then_nothing()
    cycle_spec.given(*lived[:2]).when(publish()).then_nothing()
    cycle_spec.given(*lived[:3]).when(activate).then_nothing()
    cycle_spec.given(*lived[:4]).when(open_grading).then_nothing()
    cycle_spec.given(*lived[:5]).when(close()).then_nothing()
    cycle_spec.given(*lived).when(close()).then_nothing()
    cycle_spec.given(*lived).when(record_closed).then_nothing()
    cycle_spec.given(drafted(), CANCELLED).when(cancel).then_nothing()


def test_a_cycle_without_objectives_is_not_published() -> None:
    cycle_spec.given(drafted()).when(publish(0)).then_refused("NO_OBJECTIVES")


def test_everything_that_blocks_a_publication_is_told_at_once() -> None:
    findings = [Violation(f"Objective {number}", "has no key result (K1)") for number in range(30)]
    refusal = cycle_spec.given(drafted()).when(publish(30, *findings))
    refusal.then_refused("PRACTICE_NOT_MET")
    assert list(getattr(refusal.refusal, "violations", ())) == findings


def test_a_cycle_that_runs_is_not_published() -> None:
    cycle_spec.given(drafted(), ACTIVATED).when(publish()).then_refused("CYCLE_RUNS_ALREADY")


def test_everything_that_has_no_grade_is_told_at_once() -> None:
    missing = [Violation("Win rate", "of 'Grow'"), Violation("Churn", "of 'Grow'")]
    refusal = cycle_spec.given(drafted(), ACTIVATED, GRADING).when(close(1, *missing))
    refusal.then_refused("KEY_RESULTS_NOT_GRADED")
    assert list(getattr(refusal.refusal, "violations", ())) == missing


def test_a_cycle_keeps_the_rules_it_was_published_with() -> None:
    later = pinned(RuleParameters(version="2027-1", commit_score=D("0.5")))
    activate_later = ActivateCycle(cycle_id=CYCLE, rules=later)
    cycle_spec.given(drafted(), PUBLISHED).when(activate_later).then(ACTIVATED)
    assert cycles.fold([drafted(), PUBLISHED, ACTIVATED, GRADING]).parameters == DEFAULTS


def test_a_cycle_that_was_never_published_keeps_the_rules_it_began_with() -> None:
    rules = RuleParameters(version="2027-1", commit_score=D("0.5"), title_words_at_least=3)
    told = CycleActivated(cycle_id=CYCLE, rules=pinned(rules))
    cycle_spec.given(drafted()).when(ActivateCycle(cycle_id=CYCLE, rules=pinned(rules))).then(told)
    assert cycles.fold([drafted(), told]).parameters == rules


def test_a_cycle_from_before_rules_were_kept_is_judged_by_todays() -> None:
    assert cycles.fold([drafted(), ACTIVATED]).parameters == DEFAULTS


@pytest.mark.parametrize("lived", [(), (PUBLISHED,), (ACTIVATED,), (ACTIVATED, GRADING)])
def test_a_cycle_is_cancelled_at_any_time_before_its_close(lived: tuple[CycleEvent, ...]) -> None:
    cycle_spec.given(drafted(), *lived).when(cancel).then(CANCELLED)


@pytest.mark.parametrize("lived", [(CLOSING,), (CLOSING, CLOSED)])
def test_what_is_closed_is_not_cancelled(lived: tuple[CycleEvent, ...]) -> None:
    cycle_spec.given(drafted(), ACTIVATED, GRADING, *lived).when(cancel).then_refused("CYCLE_CLOSED")


@pytest.mark.parametrize("command", [publish(), activate, open_grading, close()])
def test_a_cancelled_cycle_stays_so(command: CycleCommand) -> None:
    cycle_spec.given(drafted(), CANCELLED).when(command).then_refused("CYCLE_CANCELLED")


def test_a_taken_id_with_another_name_is_refused() -> None:
    cycle_spec.given(drafted()).when(draft("Q2")).then_already_exists("CYCLE_ALREADY_EXISTS")


@pytest.mark.parametrize("ends_on", [FIRST, date(2025, 12, 31)])
def test_a_cycle_ends_after_it_starts(ends_on: date) -> None:
    cycle_spec.when(draft(ends_on=ends_on)).then_refused("CYCLE_ENDS_BEFORE_START")


def test_a_cycle_is_not_much_longer_than_a_year() -> None:
    cycle_spec.when(draft(ends_on=date(2027, 6, 1))).then_refused("CYCLE_TOO_LONG")


@pytest.mark.parametrize("command", [publish(), activate, open_grading, close(), record_closed, cancel])
def test_only_a_drafted_cycle_goes_on(command: CycleCommand) -> None:
    cycle_spec.when(command).then_not_found("CYCLE_NOT_FOUND")


@pytest.mark.parametrize("command", [publish(), activate, open_grading])
def test_a_closed_cycle_stays_closed(command: CycleCommand) -> None:
    cycle_spec.given(drafted(), ACTIVATED, GRADING, CLOSING, CLOSED).when(command).then_refused("CYCLE_CLOSED")


def test_a_cycle_in_grading_does_not_run_again() -> None:
    cycle_spec.given(drafted(), ACTIVATED, GRADING).when(activate).then_refused("CYCLE_IN_GRADING")


@pytest.mark.parametrize("command", [close(), open_grading])
def test_only_a_cycle_that_has_run_comes_to_its_end(command: CycleCommand) -> None:
    cycle_spec.given(drafted()).when(command).then_refused("CYCLE_NOT_ACTIVE")
    cycle_spec.given(drafted(), PUBLISHED).when(command).then_refused("CYCLE_NOT_ACTIVE")


def test_a_running_cycle_is_not_closed_over_active_objectives() -> None:
    cycle_spec.given(drafted(), ACTIVATED).when(close(active_objectives=2)).then_refused("CYCLE_HAS_ACTIVE_OBJECTIVES")


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "0001-01-01", ""])
def test_days_are_days(day: str) -> None:
    fields = {"cycle_id": CYCLE, "name": "Q1", "starts_on": day, "ends_on": LAST}
    assert violations(lambda: DraftCycle.model_validate(fields)) == ["starts_on"]
