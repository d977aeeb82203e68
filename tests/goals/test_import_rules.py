"""Rules of an import's stream, of applying a planned objective, and of telling what is the same."""

from dataclasses import replace as with_
from datetime import date
from decimal import Decimal as D
from uuid import UUID

import pytest

from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    ChampionRole,
    ImportAccepted,
    ImportCompleted,
    ImportObjectiveApplied,
    ImportObjectivePlanned,
    ImportRowRefused,
    KeyResultDefined,
    KeyResultOpened,
    ObjectiveActivated,
    ObjectiveClosed,
    ObjectiveDrafted,
    ObjectiveEvent,
    PlannedKeyResult,
    TargetRevised,
)
from okr_goals.decider.commands import ApplyPlan
from okr_goals.decider.cycle import Cycle
from okr_goals.decider.import_plan import AcceptImport, RecordApplied, RefusedRow, imports
from okr_goals.decider.objective import carry_out, objectives
from okr_goals.importing import names
from okr_goals.importing.plan import make_plan
from okr_goals.importing.sheet import SheetRow, digest
from okr_goals.importing.world import KnownPerson, World
from tests.support.sealed import sealed
from tests.support.spec import spec

ORGANIZATION, IMPORT, CYCLE, UNIT = (UUID(int=number) for number in (1, 2, 3, 4))
GROW, SHRINK = UUID(int=10), UUID(int=11)
TRIALS, CHURN = UUID(int=20), UUID(int=21)
ANA, BEN = UUID(int=30), UUID(int=31)
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
DRAFT = Cycle(state="draft", name="Q1", starts_on=FIRST, ends_on=LAST)
OVER = Cycle(state="closed", name="Q1", starts_on=FIRST, ends_on=LAST)
ACTIVE = Cycle(state="active", name="Q1", starts_on=FIRST, ends_on=LAST)

import_spec = spec(imports)
objective_spec = spec(objectives)

# --- the import's stream ---------------------------------------------------------------------------

ACCEPTED = ImportAccepted(
    import_id=IMPORT,
    source="okrs.csv",
    cycle_id=CYCLE,
    cycle_name="Q1",
    cycle_starts_on=FIRST,
    cycle_ends_on=LAST,
    rows=2,
    units=(),
    objectives=2,
)


def planned_objective(objective_id: UUID) -> ImportObjectivePlanned:
    return ImportObjectivePlanned(
        import_id=IMPORT,
        objective_id=objective_id,
        title="Grow",
        unit_id=UNIT,
        owner_id=ANA,
        parent_objective_id=None,
        key_results=(),
    )


PLANNED = (planned_objective(GROW), planned_objective(SHRINK))
accept = AcceptImport(accepted=ACCEPTED, objectives=PLANNED)


def applied(objective_id: UUID) -> ImportObjectiveApplied:
    return ImportObjectiveApplied(import_id=IMPORT, objective_id=objective_id)


def record(objective_id: UUID, *refused: RefusedRow) -> RecordApplied:
    return RecordApplied(import_id=IMPORT, objective_id=objective_id, refused=refused)


def test_an_import_is_accepted_whole_and_once() -> None:
    import_spec.when(accept).then(ACCEPTED, *PLANNED)
    import_spec.given(ACCEPTED, *PLANNED).when(accept).then_nothing()


def test_an_import_is_complete_with_its_last_objective() -> None:
    import_spec.given(ACCEPTED, *PLANNED).when(record(GROW)).then(applied(GROW))
    import_spec.given(ACCEPTED, *PLANNED, applied(GROW)).when(record(SHRINK)).then(
        applied(SHRINK), ImportCompleted(import_id=IMPORT)
    )


def test_an_objective_has_one_turn() -> None:
    import_spec.given(ACCEPTED, *PLANNED, applied(GROW)).when(record(GROW)).then_nothing()


def test_rows_that_the_world_overtook_are_recorded_with_the_reason() -> None:
    refused = RefusedRow(row=7, reason="OBJECTIVE_CLOSED", message="it was closed")
    import_spec.given(ACCEPTED, *PLANNED).when(record(GROW, refused)).then(
        ImportRowRefused(import_id=IMPORT, row=7, reason="OBJECTIVE_CLOSED", message="it was closed"), applied(GROW)
    )


def test_only_an_accepted_import_has_turns() -> None:
    import_spec.when(record(GROW)).then_not_found("IMPORT_NOT_FOUND")


# --- applying a planned objective --------------------------------------------------------------------


def planned(
    row: int = 2, key_result_id: UUID = TRIALS, title: str = "Trials", target: str = "100", start: str = "0",
    champions: tuple[UUID, ...] = (ANA,),
) -> PlannedKeyResult:  # fmt: skip
    return PlannedKeyResult(
        row=row,
        key_result_id=key_result_id,
        title=title,
        start=D(start),
        commit=D(50),
        target=D(target),
        unit="trials",
        due_on=LAST,
        champions=champions,
    )


def apply(*key_results: PlannedKeyResult, cycle: Cycle = ACTIVE, owner_id: UUID = ANA) -> ApplyPlan:
    return ApplyPlan(
        objective_id=GROW,
        cycle_id=CYCLE,
        unit_id=UNIT,
        owner_id=owner_id,
        title="Grow",
        cycle=cycle,
        key_results=key_results,
        source="okrs.csv",
    )


def assigned(
    person_id: UUID, role: ChampionRole, key_result_id: UUID = TRIALS, title: str = "Trials"
) -> ChampionAssigned:
    return ChampionAssigned(
        key_result_id=key_result_id, objective_id=GROW, person_id=person_id, role=role, key_result_title=title
    )


DRAFTED = ObjectiveDrafted(
    objective_id=GROW,
    cycle_id=CYCLE,
    unit_id=UNIT,
    owner_id=ANA,
    title="Grow",
    cycle_starts_on=FIRST,
    cycle_ends_on=LAST,
)
DEFINED = KeyResultDefined(
    key_result_id=TRIALS,
    objective_id=GROW,
    title="Trials",
    type="increase",
    start=D(0),
    commit=D(50),
    target=D(100),
    unit="trials",
    starts_on=FIRST,
    due_on=LAST,
)
CLOSED = ObjectiveClosed(objective_id=GROW, outcome="partly")
OPENED = KeyResultOpened(key_result_id=TRIALS, objective_id=GROW, starts_on=FIRST, type="increase")
RUNNING: tuple[ObjectiveEvent, ...] = (
    DRAFTED,
    DEFINED,
    assigned(ANA, "accountable"),
    ObjectiveActivated(objective_id=GROW),
    OPENED,
)


def test_a_planned_objective_comes_to_life_in_one_go() -> None:
    objective_spec.when(apply(planned(champions=(ANA, BEN)))).then(
        DRAFTED,
        DEFINED,
        assigned(ANA, "accountable"),
        assigned(BEN, "responsible"),
        ObjectiveActivated(objective_id=GROW),
        OPENED,
    )


def test_what_agrees_is_left_alone() -> None:
    objective_spec.given(*RUNNING).when(apply(planned())).then_nothing()


def test_what_differs_is_revised_with_the_row_as_its_source() -> None:
    objective_spec.given(*RUNNING).when(apply(planned(row=7, target="120"))).then(
        TargetRevised(
            key_result_id=TRIALS,
            objective_id=GROW,
            commit=D(50),
            target=D(120),
            previous_commit=D(50),
            previous_target=D(100),
            reason=None,
            source="import okrs.csv, row 7",
        )
    )


def test_another_first_champion_takes_over() -> None:
    objective_spec.given(*RUNNING).when(apply(planned(champions=(BEN,)))).then(
        ChampionReleased(key_result_id=TRIALS, objective_id=GROW, person_id=ANA, role="accountable"),
        assigned(ANA, "responsible"),
        assigned(BEN, "accountable"),
    )


def test_a_champion_in_any_role_is_not_made_responsible_as_well() -> None:
    objective_spec.given(*RUNNING, assigned(BEN, "reviewer")).when(apply(planned(champions=(ANA, BEN)))).then_nothing()


def test_a_refused_row_does_not_keep_its_neighbours_waiting() -> None:
    bad = planned(row=3, key_result_id=CHURN, title="Churn", target="0")
    events, refusals = carry_out(objectives.fold(RUNNING), apply(planned(target="120"), bad))
    assert [type(event) for event in events] == [TargetRevised]
    assert [(refusal.row, refusal.error.reason) for refusal in refusals] == [(3, "START_EQUALS_TARGET")]


def test_on_the_state_it_led_to_it_yields_nothing_and_the_same_refusals() -> None:
    plan = apply(planned(target="120"), planned(row=3, key_result_id=CHURN, title="Churn", target="0"))
    state = objectives.fold(RUNNING)
    events, refusals = carry_out(state, plan)
    again, same = carry_out(objectives.fold(events, state), plan)
    assert again == []
    assert [refusal.row for refusal in same] == [refusal.row for refusal in refusals]


@pytest.mark.parametrize(
    ("given", "plan", "reason"),
    [
        (RUNNING, apply(planned(), owner_id=BEN), "OBJECTIVE_ALREADY_EXISTS"),
        (RUNNING, apply(planned(start="1")), "KEY_RESULT_ALREADY_EXISTS"),
        ((*RUNNING, CLOSED), apply(planned(target="120")), "OBJECTIVE_CLOSED"),
        ((), apply(planned(), cycle=OVER), "CYCLE_CLOSED"),
        ((), apply(planned(), cycle=Cycle()), "CYCLE_NOT_FOUND"),
        ((), apply(planned(), cycle=DRAFT), "CYCLE_NOT_ACTIVE"),
    ],
)
def test_rows_are_refused_with_the_rule_that_says_no(
    given: tuple[ObjectiveEvent, ...], plan: ApplyPlan, reason: str
) -> None:
    _, refusals = carry_out(objectives.fold(given), plan)
    assert [(refusal.row, refusal.error.reason) for refusal in refusals] == [(2, reason)]


# --- what is the same ----------------------------------------------------------------------------------


def test_case_and_spacing_make_no_other_name() -> None:
    assert names.same("  Inside   SALES ") == names.same("inside sales")
    assert names.same("Straße") == names.same("STRASSE")
    assert names.unit_id(ORGANIZATION, "Sales") == names.unit_id(ORGANIZATION, " SALES")
    assert names.unit_id(ORGANIZATION, "Sales") != names.unit_id(UUID(int=99), "Sales")


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("Ana", "ana"),
        ("Zoë van Dijk", "zoe.van.dijk"),
        ("  O'Brien,  Pat ", "o.brien.pat"),
        ("李雷", "李雷"),
        ("anna-lena", "anna-lena"),
        ("!!!", ""),
        ("x" * 80, "x" * 64),
    ],
)
def test_handles_are_made_from_names(name: str, handle: str) -> None:
    assert names.handle_of(name) == handle


def sheet_row(row: int = 2, **changes: object) -> SheetRow:
    fields: dict[str, object] = {
        "row": row,
        "objective": "Grow",
        "department": "Sales",
        "owner": "Ana",
        "parent_objective": None,
        "key_result": "Trials",
        "champions": ("Ana",),
        "start": D(0),
        "commit": None,
        "target": D(100),
        "unit": "trials",
        "current": None,
        "confidence": None,
        "due_on": None,
    }
    return SheetRow(**(fields | changes))  # type: ignore[arg-type]  # the builder takes any field


def test_the_same_plan_has_the_same_digest_wherever_its_rows_stand() -> None:
    first = digest("Q1", FIRST, LAST, [sheet_row(2, target=D("100"))])
    assert digest("Q1", FIRST, LAST, [sheet_row(9, target=D("100.00"))]) == first
    assert digest("Q1", FIRST, LAST, [sheet_row(2, target=D("101"))]) != first
    assert digest("Q2", FIRST, LAST, [sheet_row(2)]) != first


# --- a sheet against the world -----------------------------------------------------------------------

WORLD = World(organization_id=ORGANIZATION, organization_name="Bakery", today=date(2026, 2, 1))
QUARTER = ("Q1", FIRST, LAST)


def test_an_empty_commit_is_halfway_and_an_empty_due_day_the_cycles_last() -> None:
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row()], WORLD)
    (key_result,) = plan.objectives[0].key_results
    assert (key_result.commit, key_result.due_on) == (D(50), LAST)
    assert not plan.faults


def test_parents_come_before_their_children_whatever_the_order_of_rows() -> None:
    rows = [
        sheet_row(2, objective="Leaf", parent_objective="Branch"),
        sheet_row(3, objective="Branch", parent_objective="Root"),
        sheet_row(4, objective="Root"),
    ]
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, rows, WORLD)
    assert [objective.title for objective in plan.objectives] == ["Root", "Branch", "Leaf"]


def test_one_title_in_two_departments_is_two_objectives_and_no_certain_parent() -> None:
    rows = [
        sheet_row(2, department="Sales"),
        sheet_row(3, department="Marketing"),
        sheet_row(4, objective="Leaf", parent_objective="Grow"),
    ]
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, rows, WORLD)
    assert [(fault.row, fault.reason) for fault in plan.faults] == [(4, "PARENT_AMBIGUOUS")]


def test_an_objective_may_serve_its_namesake_in_another_department() -> None:
    rows = [sheet_row(2, department="Company"), sheet_row(3, department="Sales", parent_objective="Grow")]
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, rows, WORLD)
    assert not plan.faults
    assert plan.objectives[1].parent_objective_id == plan.objectives[0].objective_id


def test_two_parents_for_one_objective_are_refused() -> None:
    rows = [
        sheet_row(2, objective="A"),
        sheet_row(3, objective="B"),
        sheet_row(4, parent_objective="A"),
        sheet_row(5, key_result="Churn", parent_objective="B"),
    ]
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, rows, WORLD)
    assert [(fault.row, fault.column, fault.reason) for fault in plan.faults] == [
        (5, "parent_objective", "PARENT_DIFFERS")
    ]


@pytest.mark.parametrize("owner", ["ana", "ANA", "Ana  Souza", "ana@bakery.org", "Somebody <ANA@bakery.org>"])
def test_somebody_known_is_found_by_handle_name_or_email(owner: str) -> None:
    world = with_(WORLD, people={ANA: KnownPerson(ANA, "ana", "Ana Souza", "ana@bakery.org")})
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(owner=owner, champions=("ana",))], world)
    assert not plan.people
    assert plan.objectives[0].owner_id == ANA


def test_an_email_makes_a_person_with_its_local_part_as_handle() -> None:
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(owner="cleo.m@bakery.org", champions=("cleo.m",))], WORLD)
    assert [(person.handle, person.name, person.email) for person in plan.people] == [
        ("cleo.m", "Cleo M", "cleo.m@bakery.org")
    ]


def test_whoever_has_the_name_of_somebody_who_was_erased_is_somebody_else() -> None:
    namesake = names.person_id(ORGANIZATION, "cleo.m")
    row = sheet_row(owner="Cleo M", champions=("Cleo M",))
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [row], with_(WORLD, erased=frozenset({namesake})))
    (person,) = plan.people
    assert person.handle == "cleo.m"
    assert person.person_id != namesake
    assert plan.objectives[0].owner_id == person.person_id

    both = with_(WORLD, erased=frozenset({namesake, person.person_id}))
    assert make_plan(IMPORT, "okrs.csv", QUARTER, [row], both).people[0].person_id not in (namesake, person.person_id)


def test_two_units_of_one_name_have_to_be_told_apart() -> None:
    world = with_(WORLD, units={UNIT: "Sales", GROW: "sales"})
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row()], world)
    assert [(fault.column, fault.reason) for fault in plan.faults] == [("department", "UNIT_AMBIGUOUS")]


def test_a_unit_that_was_renamed_since_an_import_brought_it_in_is_still_the_same() -> None:
    sales = names.unit_id(ORGANIZATION, "Sales")
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row()], with_(WORLD, units={sales: "Revenue"}))
    assert not plan.units
    assert plan.objectives[0].unit_id == sales


def test_a_plan_for_a_closed_cycle_is_refused() -> None:
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row()], with_(WORLD, cycle_id=CYCLE, cycle=OVER))
    assert [(fault.row, fault.column, fault.reason) for fault in plan.faults] == [(2, "objective", "CYCLE_CLOSED")]


def known_world(*events: ObjectiveEvent, values: dict[UUID, D] | None = None) -> World:
    return with_(
        WORLD,
        units={UNIT: "Sales"},
        people={ANA: KnownPerson(ANA, "ana", "Ana", ""), BEN: KnownPerson(BEN, "ben", "Ben", "")},
        cycle_id=CYCLE,
        cycle=ACTIVE,
        objective_ids={(UNIT, "grow"): GROW},
        objectives={GROW: objectives.fold(events)},
        last_values=values or {},
    )


def test_a_commit_left_empty_stays_while_the_target_does() -> None:
    revised = TargetRevised(
        key_result_id=TRIALS,
        objective_id=GROW,
        commit=D(80),
        target=D(100),
        previous_commit=D(50),
        previous_target=D(100),
        reason=sealed("more"),
    )
    world = known_world(*RUNNING, revised)
    assert make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row()], world).effects.unchanged_rows == 1
    moved = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(target=D(120))], world)
    assert moved.objectives[0].key_results[0].commit == D(60)


def test_a_current_value_that_is_known_already_is_no_news() -> None:
    world = known_world(*RUNNING, values={TRIALS: D("12")})
    same = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(current=D("12.0"))], world)
    assert (same.effects.check_ins, same.effects.unchanged_rows) == (0, 1)
    new = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(current=D("13"))], world)
    assert (new.effects.check_ins, new.effects.unchanged_rows) == (1, 0)


def test_a_closed_objective_takes_no_new_value() -> None:
    world = known_world(*RUNNING, CLOSED, values={TRIALS: D(12)})
    assert not make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(current=D(12))], world).faults
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(current=D(13))], world)
    assert [(fault.column, fault.reason) for fault in plan.faults] == [("current", "OBJECTIVE_CLOSED")]


def test_the_largest_numbers_can_be_planned() -> None:
    plan = make_plan(IMPORT, "okrs.csv", QUARTER, [sheet_row(target=D(10**20 - 1))], WORLD)
    assert not plan.faults
