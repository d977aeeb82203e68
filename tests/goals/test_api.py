"""Goals through gRPC on a real PostgreSQL, with directory beside it."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from okr.goals.v1 import goals_pb2 as pb
from tests.goals.office import Office
from tests.support.house import House, new_id, page, refused

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXISTS, PRECONDITION = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION
ABORTED = grpc.StatusCode.ABORTED

ACCOUNTABLE, RESPONSIBLE = pb.CHAMPION_ROLE_ACCOUNTABLE, pb.CHAMPION_ROLE_RESPONSIBLE


def close_cycle(cycle_id: str) -> pb.CloseCycleRequest:
    return pb.CloseCycleRequest(request_id=new_id(), cycle_id=cycle_id)


async def test_a_cycle_goes_from_draft_to_active_to_closed(office: Office) -> None:
    cycle_id = await office.draft_cycle()
    activate = pb.ActivateCycleRequest(request_id=new_id(), cycle_id=cycle_id)
    position = (await office.goals.ActivateCycle(activate)).receipt.position
    cycle = (await office.goals.GetCycle(pb.GetCycleRequest(cycle_id=cycle_id, min_positions=[position]))).cycle
    assert (cycle.name, cycle.starts_on, cycle.ends_on) == ("Q1 2026", "2026-01-01", "2026-03-31")
    assert (cycle.state, cycle.etag) == (pb.CYCLE_STATE_ACTIVE, '"2"')
    await office.goals.CloseCycle(close_cycle(cycle_id))
    await office.house.platform.wait_idle()
    cycle = (await office.goals.GetCycle(pb.GetCycleRequest(cycle_id=cycle_id))).cycle
    assert cycle.state == pb.CYCLE_STATE_CLOSED
    with refused(PRECONDITION, "CYCLE_CLOSED"):
        await office.draft(cycle_id)


async def test_a_cycle_is_not_closed_over_active_objectives(office: Office) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    await office.define(objective_id)
    await office.activate(objective_id)
    with refused(PRECONDITION, "CYCLE_HAS_ACTIVE_OBJECTIVES"):
        await office.goals.CloseCycle(close_cycle(cycle_id))
    request = pb.CloseObjectiveRequest(
        request_id=new_id(), objective_id=objective_id, outcome=pb.OBJECTIVE_OUTCOME_LEARNED
    )
    await office.goals.CloseObjective(request)
    await office.goals.CloseCycle(close_cycle(cycle_id))


async def test_an_objective_comes_to_life_with_its_key_results(office: Office) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    champions = [
        pb.Champion(person_id=office.ana, role=ACCOUNTABLE),
        pb.Champion(person_id=office.ben, role=RESPONSIBLE),
    ]
    first = await office.define(objective_id, champions=champions)
    second = await office.define(objective_id, title="Churn", start="9", target="2.50", due_on="2026-03-01")
    position = await office.activate(objective_id)
    objective = await office.objective(objective_id, position)
    assert (objective.title, objective.state) == ("Grow", pb.OBJECTIVE_STATE_ACTIVE)
    assert (objective.unit_id, objective.owner_id, objective.cycle_id) == (office.unit_id, office.ana, cycle_id)
    assert objective.etag == '"9"'
    assert [each.key_result_id for each in objective.key_results] == [first, second]
    trials, churn = objective.key_results
    assert (trials.start, trials.commit, trials.target, trials.due_on) == ("0", "50", "100", "2026-03-31")
    assert list(trials.champions) == champions
    assert trials.open
    assert (churn.type, churn.start, churn.commit, churn.target) == (pb.KEY_RESULT_TYPE_DECREASE, "9", "5.75", "2.50")
    assert churn.due_on == "2026-03-01"
    answer = await office.goals.GetKeyResult(pb.GetKeyResultRequest(key_result_id=second))
    assert answer.key_result == churn


async def test_a_target_is_revised_with_a_reason(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    key_result_id = await office.define(objective_id)
    request = pb.ReviseTargetRequest(
        request_id=new_id(), objective_id=objective_id, key_result_id=key_result_id, target="120", reason="demand"
    )
    position = (await office.goals.ReviseTarget(request)).receipt.position
    objective = await office.objective(objective_id, position)
    assert (objective.key_results[0].commit, objective.key_results[0].target) == ("50", "120")
    request.request_id, request.target = new_id(), "0"
    with refused(PRECONDITION, "START_EQUALS_TARGET"):
        await office.goals.ReviseTarget(request)
    request.request_id, request.target, request.reason = new_id(), "", ""
    with refused(INVALID) as answer:
        await office.goals.ReviseTarget(request)
    assert [violation.field for violation in answer.refusal.violations] == ["reason"]


async def test_accountability_is_handed_over_and_never_dropped(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    key_result_id = await office.define(objective_id)
    release = pb.ReleaseChampionRequest(
        request_id=new_id(),
        objective_id=objective_id,
        key_result_id=key_result_id,
        champion=pb.Champion(person_id=office.ana, role=ACCOUNTABLE),
    )
    with refused(PRECONDITION, "ACCOUNTABLE_NEEDS_SUCCESSOR"):
        await office.goals.ReleaseChampion(release)
    assign = pb.AssignChampionRequest(
        request_id=new_id(),
        objective_id=objective_id,
        key_result_id=key_result_id,
        champion=pb.Champion(person_id=office.ben, role=ACCOUNTABLE),
    )
    position = (await office.goals.AssignChampion(assign)).receipt.position
    champions = (await office.objective(objective_id, position)).key_results[0].champions
    assert [(each.person_id, each.role) for each in champions] == [
        (office.ana, RESPONSIBLE),
        (office.ben, ACCOUNTABLE),
    ]
    release.request_id, release.champion.role = new_id(), RESPONSIBLE
    position = (await office.goals.ReleaseChampion(release)).receipt.position
    champions = (await office.objective(objective_id, position)).key_results[0].champions
    assert [each.person_id for each in champions] == [office.ben]


async def test_however_many_take_over_at_once_exactly_one_is_accountable(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    key_result_id = await office.define(objective_id)
    takers = [office.ana, office.ben] * 4

    async def take_over(person_id: str) -> None:
        request = pb.AssignChampionRequest(
            request_id=new_id(),
            objective_id=objective_id,
            key_result_id=key_result_id,
            champion=pb.Champion(person_id=person_id, role=ACCOUNTABLE),
        )
        with contextlib.suppress(grpc.aio.AioRpcError):  # ABORTED after three lost races is an honest answer
            await office.goals.AssignChampion(request)

    await asyncio.gather(*map(take_over, takers))
    champions = (await office.objective(objective_id)).key_results[0].champions
    assert [champion.role for champion in champions].count(ACCOUNTABLE) == 1


async def test_closing_closes_the_key_results(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    await office.define(objective_id)
    await office.activate(objective_id)
    request = pb.CloseObjectiveRequest(
        request_id=new_id(), objective_id=objective_id, outcome=pb.OBJECTIVE_OUTCOME_ACHIEVED
    )
    position = (await office.goals.CloseObjective(request)).receipt.position
    objective = await office.objective(objective_id, position)
    assert (objective.state, objective.outcome) == (pb.OBJECTIVE_STATE_CLOSED, pb.OBJECTIVE_OUTCOME_ACHIEVED)
    assert not objective.key_results[0].open
    with refused(PRECONDITION, "OBJECTIVE_CLOSED"):
        await office.define(objective_id)


async def test_units_and_people_have_to_exist(office: Office) -> None:
    cycle_id = await office.active_cycle()
    with refused(NOT_FOUND, "UNIT_NOT_FOUND"):
        await office.draft(cycle_id, unit_id=new_id())
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await office.draft(cycle_id, owner_id=new_id())
    objective_id = await office.draft(cycle_id)
    stranger = pb.Champion(person_id=new_id(), role=ACCOUNTABLE)
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await office.define(objective_id, champions=[stranger])
    key_result_id = await office.define(objective_id)
    with refused(NOT_FOUND, "PERSON_NOT_FOUND"):
        await office.goals.AssignChampion(
            pb.AssignChampionRequest(
                request_id=new_id(), objective_id=objective_id, key_result_id=key_result_id, champion=stranger
            )
        )


async def test_unknown_things_are_not_found(office: Office) -> None:
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.draft(new_id())
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.goals.GetCycle(pb.GetCycleRequest(cycle_id=new_id()))
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.goals.CloseCycle(close_cycle(new_id()))
    with refused(NOT_FOUND, "OBJECTIVE_NOT_FOUND"):
        await office.define(new_id())
    with refused(NOT_FOUND, "OBJECTIVE_NOT_FOUND"):
        await office.activate(new_id())
    with refused(NOT_FOUND, "OBJECTIVE_NOT_FOUND"):
        await office.goals.GetObjective(pb.GetObjectiveRequest(objective_id=new_id()))
    with refused(NOT_FOUND, "KEY_RESULT_NOT_FOUND"):
        await office.goals.GetKeyResult(pb.GetKeyResultRequest(key_result_id=new_id()))


async def test_another_organisations_ids_look_unknown(office: Office, goals_house: House) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    key_result_id = await office.define(objective_id)
    other = await Office.open(goals_house)
    await goals_house.platform.wait_idle()
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await other.draft(cycle_id)
    with refused(NOT_FOUND, "OBJECTIVE_NOT_FOUND"):
        await other.define(objective_id)
    with refused(NOT_FOUND, "KEY_RESULT_NOT_FOUND"):
        await other.goals.GetKeyResult(pb.GetKeyResultRequest(key_result_id=key_result_id))
    with refused(NOT_FOUND, "UNIT_NOT_FOUND"):
        await other.draft(await other.active_cycle(), unit_id=office.unit_id)
    assert not (await other.goals.ListObjectives(pb.ListObjectivesRequest(cycle_id=cycle_id))).objectives


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"start": "5", "target": "5"}, "START_EQUALS_TARGET"),
        ({"commit": "101"}, "COMMIT_BEYOND_TARGET"),
        ({"commit": "-1"}, "COMMIT_BEFORE_START"),
        ({"type": pb.KEY_RESULT_TYPE_DECREASE}, "DIRECTION_DIFFERS"),
        ({"due_on": "2026-04-01"}, "DUE_OUTSIDE_CYCLE"),
        ({"champions": []}, "NO_ACCOUNTABLE"),
    ],
)
async def test_rules_of_key_results_reach_the_caller(office: Office, changes: dict[str, Any], reason: str) -> None:
    objective_id = await office.draft(await office.active_cycle())
    with refused(PRECONDITION, reason):
        await office.define(objective_id, **changes)


async def test_two_accountable_champions_are_refused(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    both = [pb.Champion(person_id=person_id, role=ACCOUNTABLE) for person_id in (office.ana, office.ben)]
    with refused(PRECONDITION, "TWO_ACCOUNTABLE"):
        await office.define(objective_id, champions=both)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"start": "NaN", "target": "Infinity", "commit": "1e999"}, ["start", "commit", "target"]),
        ({"title": "x" * 2**19}, ["title"]),
        ({"title": "nul\x00", "unit": ""}, ["title", "unit"]),
        ({"key_result_id": "7", "request_id": ""}, ["request_id", "key_result_id"]),
        ({"due_on": "31.03.2026"}, ["due_on"]),
        ({"champions": [pb.Champion(person_id="ana")]}, ["champions.0.person_id", "champions.0.role"]),
        ({"etag": "4"}, ["etag"]),
    ],
)
async def test_a_malformed_key_result_is_told_all_that_is_wrong(
    office: Office, changes: dict[str, Any], fields: list[str]
) -> None:
    with refused(INVALID) as answer:
        await office.goals.DefineKeyResult(office.definition(new_id(), **changes))
    assert [violation.field for violation in answer.refusal.violations] == fields


async def test_a_stale_etag_is_told_apart_from_a_rule(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    etag = (await office.objective(objective_id)).etag
    await office.define(objective_id, etag=etag)
    with refused(ABORTED, "ETAG_MISMATCH") as answer:
        await office.define(objective_id, etag=etag)
    assert answer.refusal.metadata["current_version"] == "3"


async def test_a_resend_gets_the_first_answer_and_another_body_is_refused(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    request = office.definition(objective_id)
    first = await office.goals.DefineKeyResult(request)
    assert await office.goals.DefineKeyResult(request) == first
    request.title = "Paid trials"
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await office.goals.DefineKeyResult(request)
    request.request_id = new_id()
    with refused(EXISTS, "KEY_RESULT_ALREADY_EXISTS"):
        await office.goals.DefineKeyResult(request)


async def test_a_key_result_belongs_to_one_objective(office: Office, goals_house: House) -> None:
    cycle_id = await office.active_cycle()
    key_result_id = await office.define(await office.draft(cycle_id))
    other = await office.draft(cycle_id, title="Shrink")
    await goals_house.platform.wait_idle()
    with refused(EXISTS, "KEY_RESULT_ALREADY_EXISTS"):
        await office.define(other, key_result_id=key_result_id)


async def test_lists_come_in_pages_with_their_key_results(office: Office, goals_house: House) -> None:
    cycle_id = await office.active_cycle()
    ids = []
    for number in range(5):
        ids.append(await office.draft(cycle_id, title=f"Objective {number}"))
        await office.define(ids[-1])
    elsewhere = await office.draft_cycle(name="Q2 2026", starts_on="2026-04-01", ends_on="2026-06-30")
    await goals_house.platform.wait_idle()
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListObjectivesRequest(cycle_id=cycle_id, page=page(2, token))
        answer = await office.goals.ListObjectives(request)
        assert all(len(each.key_results) == 1 for each in answer.objectives)
        seen += [each.objective_id for each in answer.objectives]
        token = answer.next_page_token
        if not token:
            break
    assert seen == sorted(ids)
    assert not (await office.goals.ListObjectives(pb.ListObjectivesRequest(cycle_id=elsewhere))).objectives
    listed = (await office.goals.ListCycles(pb.ListCyclesRequest(page=page(1)))).cycles
    assert [cycle.cycle_id for cycle in listed] == [min(cycle_id, elsewhere)]
    with refused(INVALID):
        await office.goals.ListObjectives(pb.ListObjectivesRequest(cycle_id="all"))
    with refused(INVALID):
        await office.goals.ListObjectives(pb.ListObjectivesRequest(page=page(-1)))
