"""What holds for every history of an objective and every sheet, not only for those somebody thought of."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal as D
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from okr.goals.v1 import goals_pb2 as pb
from okr_contracts.errors import OkrError
from okr_contracts.goals import ObjectiveDrafted, PlannedKeyResult
from okr_goals.decider.commands import (
    ActivateObjective,
    ApplyPlan,
    AssignChampion,
    CloseObjective,
    DefineKeyResult,
    NamedChampion,
    ObjectiveCommand,
    ReleaseChampion,
    ReviseTarget,
)
from okr_goals.decider.cycle import Cycle
from okr_goals.decider.objective import Objective, decide, objectives
from okr_goals.importing import sheet
from okr_goals.importing.plan import make_plan
from okr_goals.importing.world import KnownPerson, World
from okr_rules.commitment import order_fault
from tests.support.sealed import sealed

OBJECTIVE, CYCLE, UNIT = UUID(int=1), UUID(int=2), UUID(int=3)
PEOPLE = [UUID(int=100 + number) for number in range(10)]
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
ACTIVE = Cycle(state="active", name="Q1", starts_on=FIRST, ends_on=LAST)
DRAFTED = ObjectiveDrafted(
    objective_id=OBJECTIVE,
    cycle_id=CYCLE,
    unit_id=UNIT,
    owner_id=PEOPLE[0],
    title="Grow",
    cycle_starts_on=FIRST,
    cycle_ends_on=LAST,
)

numbers = st.integers(-4, 12).map(D)
key_results = st.integers(1, 3).map(lambda number: UUID(int=number))
roles = st.sampled_from(["accountable", "responsible", "data_steward", "reviewer", "contributor", "watcher"])
champions = st.builds(NamedChampion, person_id=st.sampled_from(PEOPLE), role=roles)
days = st.integers(-5, 95).map(lambda passed: FIRST + timedelta(days=passed))
this = st.just(OBJECTIVE)
planned = st.builds(
    PlannedKeyResult,
    row=st.integers(1, 9),
    key_result_id=key_results,
    title=st.just("Trials"),
    start=numbers,
    commit=numbers,
    target=numbers,
    unit=st.just("trials"),
    due_on=days,
    champions=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=9).map(tuple),
)
commands: st.SearchStrategy[ObjectiveCommand] = st.one_of(
    st.builds(
        DefineKeyResult,
        objective_id=this,
        key_result_id=key_results,
        title=st.just("Trials"),
        start=numbers,
        commit=st.none() | numbers,
        target=numbers,
        unit=st.just("trials"),
        due_on=st.none() | days,
        champions=st.lists(champions, max_size=9).map(tuple),
    ),
    st.builds(AssignChampion, objective_id=this, key_result_id=key_results, champion=champions),
    st.builds(ReleaseChampion, objective_id=this, key_result_id=key_results, champion=champions),
    st.builds(
        ReviseTarget,
        objective_id=this,
        key_result_id=key_results,
        commit=numbers,
        target=numbers,
        reason=st.just(sealed("the market moved")),
    ),
    st.builds(ActivateObjective, objective_id=this, cycle=st.just(ACTIVE)),
    st.builds(CloseObjective, objective_id=this, outcome=st.sampled_from(["achieved", "partly", "learned"])),
    st.builds(
        ApplyPlan,
        objective_id=this,
        cycle_id=st.just(CYCLE),
        unit_id=st.just(UNIT),
        owner_id=st.just(PEOPLE[0]),
        title=st.just("Grow"),
        cycle=st.just(ACTIVE),
        key_results=st.lists(planned, max_size=3, unique_by=lambda row: row.key_result_id).map(tuple),
        source=st.just("okrs.csv"),
    ),
)


def require_sound(state: Objective) -> None:
    for known in state.key_results.values():
        held = Counter(champion.role for champion in known.champions)
        assert held["accountable"] == 1
        assert held["data_steward"] <= 1
        assert held["reviewer"] <= 1
        assert len(known.champions) == len(set(known.champions)) <= 8
        assert order_fault(known.defined.start, known.commit, known.target) is None
        assert FIRST <= known.defined.due_on <= LAST
    assert state.state == "draft" or state.key_results


@settings(max_examples=300)
@given(st.lists(commands, max_size=12))
def test_whatever_is_asked_of_an_objective_it_stays_sound(asked: list[ObjectiveCommand]) -> None:
    state = objectives.fold([DRAFTED])
    for command in asked:
        try:
            events = decide(state, command)
        except OkrError:
            continue
        state = objectives.fold(events, state)
        require_sound(state)
        if not isinstance(command, ReleaseChampion):
            assert decide(state, command) == []  # asked again right away, it changes nothing


NUMBERS = ["0", "1", "2.5", "NaN", "-Infinity", "1e99", "1e-9", "9" * 20, "-1"]
NAMES = ["Grow", "grow ", "Ana", "ana", "a@b", "<a@b>", "@", "Ana <ana@b.org>"]
ODD = ["", " ", "\x00", "2026-02-30", "2026-03-31", "2026-01-01"]
TEXTS = ("objective", "department", "owner", "parent_objective", "key_result", "unit")
VALUES = ("start", "commit", "target", "current", "confidence", "due_on")

cells = st.text(max_size=12) | st.sampled_from([*NUMBERS, *NAMES, *ODD])
rows = st.builds(
    pb.PlanRow,
    row=st.integers(0, 9),
    champions=st.lists(cells, max_size=10),
    **dict.fromkeys((*TEXTS, *VALUES), cells),
)
WORLD = World(
    organization_id=UUID(int=9),
    organization_name="Bakery",
    today=date(2026, 2, 1),
    units={UNIT: "Grow"},
    people={PEOPLE[0]: KnownPerson(PEOPLE[0], "ana", "Ana", "a@b")},
    cycle_id=CYCLE,
    cycle=ACTIVE,
    objective_ids={(UNIT, "grow"): OBJECTIVE},
    objectives={OBJECTIVE: objectives.fold([DRAFTED])},
)


@settings(max_examples=300, deadline=None)
@given(st.lists(rows, min_size=1, max_size=6))
def test_no_sheet_is_too_odd_to_be_answered(plan: list[pb.PlanRow]) -> None:
    read, faults = sheet.read(plan)
    answer = make_plan(UUID(int=8), "okrs.csv", ("Q1", FIRST, LAST), read, WORLD, faults)
    assert all(fault.message and fault.reason for fault in answer.faults)
