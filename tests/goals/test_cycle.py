"""Rules of a planning cycle."""

from datetime import date
from uuid import UUID

import pytest

from okr_contracts.goals import CycleActivated, CycleClosed, CycleDrafted
from okr_goals.decider.cycle import ActivateCycle, CloseCycle, CycleCommand, DraftCycle, cycles
from tests.support.spec import spec, violations

CYCLE = UUID(int=1)
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)

cycle_spec = spec(cycles)
ACTIVATED, CLOSED = CycleActivated(cycle_id=CYCLE), CycleClosed(cycle_id=CYCLE)


def drafted(name: str = "Q1") -> CycleDrafted:
    return CycleDrafted(cycle_id=CYCLE, name=name, starts_on=FIRST, ends_on=LAST)


def draft(name: str = "Q1", starts_on: date = FIRST, ends_on: date = LAST) -> DraftCycle:
    return DraftCycle(cycle_id=CYCLE, name=name, starts_on=starts_on, ends_on=ends_on)


activate = ActivateCycle(cycle_id=CYCLE)


def close(active_objectives: int = 0) -> CloseCycle:
    return CloseCycle(cycle_id=CYCLE, active_objectives=active_objectives)


def test_a_cycle_is_drafted_activated_and_closed() -> None:
    cycle_spec.when(draft()).then(drafted())
    cycle_spec.given(drafted()).when(activate).then(ACTIVATED)
    cycle_spec.given(drafted(), ACTIVATED).when(close()).then(CLOSED)


def test_asking_for_the_same_again_changes_nothing() -> None:
    cycle_spec.given(drafted()).when(draft()).then_nothing()
    cycle_spec.given(drafted(), ACTIVATED).when(activate).then_nothing()
    cycle_spec.given(drafted(), ACTIVATED, CLOSED).when(close()).then_nothing()


def test_a_taken_id_with_another_name_is_refused() -> None:
    cycle_spec.given(drafted()).when(draft("Q2")).then_already_exists("CYCLE_ALREADY_EXISTS")


@pytest.mark.parametrize("ends_on", [FIRST, date(2025, 12, 31)])
def test_a_cycle_ends_after_it_starts(ends_on: date) -> None:
    cycle_spec.when(draft(ends_on=ends_on)).then_refused("CYCLE_ENDS_BEFORE_START")


def test_a_cycle_is_not_much_longer_than_a_year() -> None:
    cycle_spec.when(draft(ends_on=date(2027, 6, 1))).then_refused("CYCLE_TOO_LONG")


@pytest.mark.parametrize("command", [activate, close()])
def test_only_a_drafted_cycle_goes_on(command: CycleCommand) -> None:
    cycle_spec.when(command).then_not_found("CYCLE_NOT_FOUND")


def test_a_closed_cycle_stays_closed() -> None:
    cycle_spec.given(drafted(), ACTIVATED, CLOSED).when(activate).then_refused("CYCLE_CLOSED")


def test_only_an_active_cycle_is_closed() -> None:
    cycle_spec.given(drafted()).when(close()).then_refused("CYCLE_NOT_ACTIVE")


def test_a_cycle_is_closed_after_its_objectives() -> None:
    cycle_spec.given(drafted(), ACTIVATED).when(close(active_objectives=2)).then_refused("CYCLE_HAS_ACTIVE_OBJECTIVES")


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "0001-01-01", ""])
def test_days_are_days(day: str) -> None:
    fields = {"cycle_id": CYCLE, "name": "Q1", "starts_on": day, "ends_on": LAST}
    assert violations(lambda: DraftCycle.model_validate(fields)) == ["starts_on"]
