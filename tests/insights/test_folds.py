"""What each fold makes of its events, without a database."""

from decimal import Decimal
from itertools import permutations

import pytest

from okr_contracts.checkins import CheckInsClosed, CheckInsOpened
from okr_contracts.directory import PersonMoved, PersonRegistered, UnitMoved, UnitRenamed
from okr_contracts.goals import CycleActivated, CycleClosed, ImportCompleted
from okr_insights import read_model
from okr_insights.read_model import (
    AlignmentRow,
    CheckInEntryRow,
    CheckInRow,
    CycleRow,
    KeyResultEntryRow,
    KeyResultRow,
    ObjectiveRow,
    OrganizationRow,
    UnitRow,
)
from tests.insights.facts import (
    ANA,
    BEN,
    GROW,
    Q1_STARTS,
    REVENUE,
    aligned,
    champion_assigned,
    champion_released,
    checked_in,
    corrected,
    cycle_drafted,
    day,
    key_result_closed,
    key_result_defined,
    key_result_opened,
    named,
    objective_activated,
    objective_closed,
    objective_drafted,
    organization_founded,
    target_revised,
    unaligned,
    unit_added,
)
from tests.insights.folding import folded
from tests.support.sealed import sealed


def test_the_last_check_in_is_the_one_that_was_true_last() -> None:
    monday, tuesday = checked_in("10", day(5)), checked_in("20", day(6))
    last = folded(read_model.check_ins, monday, tuesday).row(CheckInRow)
    assert (last.value, last.checked_in_at) == (Decimal(20), day(6))


def test_a_back_dated_check_in_does_not_become_the_last() -> None:
    outcome = folded(read_model.check_ins, checked_in("20", day(6)), checked_in("10", day(5)))
    assert outcome.row(CheckInRow).value == Decimal(20)
    assert len(outcome.versions(CheckInRow)) == 1, "a row that did not change needs no second version"
    assert [entry.value for entry in outcome.all(CheckInEntryRow)] == [Decimal(20), Decimal(10)]


def test_of_two_check_ins_of_the_same_moment_the_later_recorded_counts() -> None:
    first, second = checked_in("10", day(5), name="first"), checked_in("11", day(5), name="second")
    assert folded(read_model.check_ins, first, second).row(CheckInRow).value == Decimal(11)


def test_a_correction_of_the_last_check_in_changes_it() -> None:
    last = checked_in("20", day(6))
    row = folded(read_model.check_ins, checked_in("10", day(5)), last, corrected(last, "21", confidence="0.7")).row(
        CheckInRow
    )
    assert (row.value, row.confidence, row.checked_in_at) == (Decimal(21), Decimal("0.7"), day(6))


def test_a_correction_of_an_older_check_in_leaves_the_last_alone() -> None:
    older = checked_in("10", day(5))
    outcome = folded(read_model.check_ins, older, checked_in("20", day(6)), corrected(older, "99"))
    assert outcome.row(CheckInRow).value == Decimal(20)


def test_a_correction_of_the_earlier_of_two_check_ins_of_one_moment_leaves_the_later_alone() -> None:
    first, second = checked_in("10", day(5), name="first"), checked_in("11", day(5), name="second")
    assert folded(read_model.check_ins, first, second, corrected(first, "99")).row(CheckInRow).value == Decimal(11)


def test_a_correction_stands_beside_what_it_corrects() -> None:
    slip = checked_in("10", day(5), note="as counted")
    entries = folded(read_model.check_ins, slip, corrected(slip, "12")).all(CheckInEntryRow)
    assert [(entry.kind, entry.value, entry.reason) for entry in entries] == [
        ("CheckInRecorded", Decimal(10), None),
        ("CheckInCorrected", Decimal(12), sealed("a slip of the pen")),
    ]
    assert {entry.check_in_id for entry in entries} == {slip.check_in_id}
    assert [(entry.recorded_at, entry.occurred_at) for entry in entries] == [(day(1), day(5)), (day(2), day(5))]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_last_check_in_is_the_same_in_whatever_order_they_became_known(order: tuple[int, ...]) -> None:
    facts = [checked_in("1", day(5)), checked_in("2", day(6)), checked_in("3", day(7))]
    assert folded(read_model.check_ins, *(facts[index] for index in order)).row(CheckInRow).value == Decimal(3)


def test_opening_and_closing_a_series_of_check_ins_adds_no_entry() -> None:
    opened = CheckInsOpened(key_result_id=REVENUE, objective_id=GROW, starts_on=Q1_STARTS)
    assert folded(read_model.check_ins, opened, CheckInsClosed(key_result_id=REVENUE)).all(CheckInEntryRow) == []


def test_a_key_result_is_what_was_defined_and_opens_and_closes() -> None:
    defined = folded(read_model.goals, key_result_defined()).row(KeyResultRow)
    assert (defined.start, defined.commit, defined.target) == (Decimal(0), Decimal(50), Decimal(100))
    assert not defined.open
    assert folded(read_model.goals, key_result_defined(), key_result_opened()).row(KeyResultRow).open
    closed = folded(read_model.goals, key_result_defined(), key_result_opened(), key_result_closed())
    assert not closed.row(KeyResultRow).open


def test_a_revised_target_replaces_both_numbers_and_keeps_the_former_in_its_entry() -> None:
    outcome = folded(read_model.goals, key_result_defined(), target_revised("80", "200"))
    key_result = outcome.row(KeyResultRow)
    assert (key_result.commit, key_result.target) == (Decimal(80), Decimal(200))
    revised = outcome.all(KeyResultEntryRow)[-1]
    assert (revised.previous_commit, revised.commit) == (Decimal(50), Decimal(80))
    assert (revised.previous_target, revised.target) == (Decimal(100), Decimal(200))
    assert revised.reason == sealed("the market doubled")


def test_the_accountable_champion_is_the_one_assigned_last() -> None:
    outcome = folded(
        read_model.goals,
        key_result_defined(),
        champion_assigned(ANA),
        champion_assigned(BEN, "contributor"),
        champion_assigned(BEN),
    )
    assert outcome.row(KeyResultRow).accountable_id == BEN


@pytest.mark.parametrize("released_first", [True, False])
def test_a_takeover_leaves_the_new_accountable_champion_in_either_order(released_first: bool) -> None:
    takeover = [champion_released(ANA), champion_assigned(BEN)]
    if not released_first:
        takeover.reverse()
    outcome = folded(read_model.goals, key_result_defined(), champion_assigned(ANA), *takeover)
    assert outcome.row(KeyResultRow).accountable_id == BEN


def test_a_released_champion_answers_for_it_no_more() -> None:
    outcome = folded(read_model.goals, key_result_defined(), champion_assigned(ANA), champion_released(ANA))
    assert outcome.row(KeyResultRow).accountable_id is None


def test_a_release_from_another_role_leaves_the_accountable_champion() -> None:
    outcome = folded(
        read_model.goals, key_result_defined(), champion_assigned(ANA), champion_released(ANA, "contributor")
    )
    assert outcome.row(KeyResultRow).accountable_id == ANA


def test_every_event_of_a_key_result_is_an_entry_of_its_history() -> None:
    outcome = folded(
        read_model.goals,
        key_result_defined(),
        champion_assigned(ANA),
        key_result_opened(),
        target_revised("80", "200"),
        champion_released(ANA),
        key_result_closed(),
    )
    entries = outcome.all(KeyResultEntryRow)
    assert [entry.kind for entry in entries] == [
        "KeyResultDefined",
        "ChampionAssigned",
        "KeyResultOpened",
        "TargetRevised",
        "ChampionReleased",
        "KeyResultClosed",
    ]
    assert [entry.position for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert (entries[1].champion_id, entries[1].role) == (ANA, "accountable")


def test_two_objectives_that_use_one_key_result_id_keep_a_row_each() -> None:
    other = named("other objective")
    outcome = folded(read_model.goals, key_result_defined(), key_result_defined(objective_id=other, title="Other"))
    assert {(row.objective_id, row.title) for row in outcome.all(KeyResultRow)} == {(GROW, "Revenue"), (other, "Other")}


def test_an_objective_goes_from_draft_over_active_to_closed() -> None:
    facts = (objective_drafted(), objective_activated(), objective_closed())
    states = [row.state for row in folded(read_model.goals, *facts).versions(ObjectiveRow)]
    assert states == ["draft", "active", "closed"]


def test_an_objective_keeps_the_position_at_which_it_was_drafted() -> None:
    outcome = folded(read_model.goals, cycle_drafted(), objective_drafted(), objective_activated())
    assert outcome.row(ObjectiveRow).drafted_position == 2


def test_a_cycle_goes_from_draft_over_active_to_closed() -> None:
    cycle = cycle_drafted()
    outcome = folded(read_model.goals, cycle, CycleActivated(cycle.cycle_id), CycleClosed(cycle.cycle_id))
    assert [row.state for row in outcome.versions(CycleRow)] == ["draft", "active", "closed"]
    assert outcome.row(CycleRow).name == "Q1 2026"


def test_imports_leave_no_row_of_their_own() -> None:
    assert folded(read_model.goals, ImportCompleted(named("import"))).everything() == []


def test_units_are_named_renamed_and_moved() -> None:
    outcome = folded(
        read_model.directory,
        organization_founded(),
        unit_added(),
        UnitRenamed(named("sales"), "Revenue"),
        UnitMoved(named("sales"), named("company")),
    )
    assert outcome.row(OrganizationRow).name == "Acme"
    unit = outcome.row(UnitRow)
    assert (unit.name, unit.parent_unit_id) == ("Revenue", named("company"))


def test_people_leave_no_row() -> None:
    assert folded(read_model.directory, PersonRegistered(ANA), PersonMoved(ANA, None)).everything() == []


def test_a_new_parent_replaces_the_former_and_unaligning_leaves_none() -> None:
    first, second = named("first"), named("second")
    replaced = folded(read_model.alignments, aligned(GROW, first), aligned(GROW, second))
    assert replaced.row(AlignmentRow).parent_objective_id == second
    freed = folded(read_model.alignments, aligned(GROW, first), unaligned(GROW, first))
    assert freed.row(AlignmentRow).parent_objective_id is None


def test_an_event_that_changes_nothing_shown_makes_no_version_of_a_key_result() -> None:
    outcome = folded(read_model.goals, key_result_defined(), champion_assigned(BEN, "contributor"))
    assert len(outcome.versions(KeyResultRow)) == 1
    assert len(outcome.all(KeyResultEntryRow)) == 2
