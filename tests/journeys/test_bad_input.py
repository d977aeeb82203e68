"""What is wrong is refused with a reason that names it, and never as an internal error."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio

import okr_checkins.api
from okr.alignment.v1 import alignment_pb2
from okr.checkins.v1 import checkins_pb2
from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.insights.v1 import insights_pb2
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import refusal_of
from tests.journeys.town import FEBRUARY, Town, key_result, objective, organization_of_a_new_shard, settle_in
from tests.support.house import Desk, new_id, refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
RULE = grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", "NaN"),
        ("value", "Infinity"),
        ("value", "-inf"),
        ("value", "1e999999999"),
        ("value", "9" * 40),
        ("value", "ten"),
        ("value", ""),
        ("confidence", "1.2"),
        ("confidence", "-0.1"),
        ("confidence", "NaN"),
        ("note", "a NUL \x00 in the middle"),
        ("note", "x" * 20_000),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-01-05"),
        ("occurred_at", "9999-12-31T23:59:59Z"),
        ("check_in_id", "42"),
        ("key_result_id", "not-a-uuid"),
        ("request_id", ""),
        ("request_id", "{" + str(uuid4()) + "}"),
        ("etag", "W/4"),
    ],
)
async def test_a_malformed_field_of_a_check_in_is_named(place: Town, field: str, value: str) -> None:
    place.clock.set(FEBRUARY)
    with refused(INVALID) as answer:
        await place.check_in(**{"value": "25", field: value})

    assert [violation.field for violation in answer.refusal.violations] == [field]


async def test_all_faults_of_a_request_are_told_at_once(place: Town) -> None:
    with refused(INVALID) as answer:
        await place.check_in("much", confidence="7", check_in_id="x", occurred_at="soon")

    assert {each.field for each in answer.refusal.violations} == {"value", "confidence", "check_in_id", "occurred_at"}


async def test_a_megabyte_of_text_is_refused_before_it_is_read(place: Town) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await place.check_in("25", note="x" * 2**20)

    assert raised.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, INVALID)


async def test_a_check_in_is_dated_neither_after_now_nor_before_its_cycle(place: Town) -> None:
    place.clock.set(FEBRUARY)
    with refused(RULE, "CHECK_IN_IN_THE_FUTURE"):
        await place.check_in("25", occurred_at=(FEBRUARY + timedelta(seconds=1)).isoformat())
    with refused(RULE, "CHECK_IN_BEFORE_CYCLE"):
        await place.check_in("25", occurred_at="2025-12-31T23:59:59Z")


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"start": "30", "target": "30", "commit": ""}, "START_EQUALS_TARGET"),
        ({"start": "20", "commit": "31", "target": "30"}, "COMMIT_BEYOND_TARGET"),
        ({"start": "9", "commit": "1", "target": "2"}, "COMMIT_BEYOND_TARGET"),
    ],
)
async def test_a_key_result_needs_a_distance_and_a_promise_on_the_way(
    place: Town, numbers: dict[str, Any], reason: str
) -> None:
    with refused(RULE, reason):
        await place.ana.goals.DefineKeyResult(key_result(place, key_result_id=new_id(), **numbers))


async def test_a_key_result_has_one_accountable_champion_not_two(place: Town) -> None:
    both = [
        goals_pb2.Champion(person_id=str(desk.person_id), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)
        for desk in (place.ana, place.ben)
    ]
    with refused(RULE, "TWO_ACCOUNTABLE"):
        await place.ana.goals.DefineKeyResult(key_result(place, both, key_result_id=new_id()))
    with refused(RULE, "NO_ACCOUNTABLE"):
        await place.ana.goals.DefineKeyResult(key_result(place, [], key_result_id=new_id()))


async def test_a_request_id_with_another_body_is_refused_and_with_the_same_body_answered_again(place: Town) -> None:
    place.clock.set(FEBRUARY)
    ids = {"request_id": new_id(), "check_in_id": new_id()}
    first = await place.check_in("25", **ids)

    assert (await place.check_in("25", **ids)).receipt == first.receipt
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await place.check_in("26", **ids)


async def test_a_stale_etag_is_told_with_the_version_that_holds(place: Town) -> None:
    place.clock.set(FEBRUARY)
    await place.check_in("25")
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as answer:
        await place.check_in("26", etag='"1"')

    assert answer.refusal.metadata["current_version"] == "2"


async def test_unknown_ids_are_not_found(place: Town) -> None:
    nowhere = new_id()
    for code, call in calls_about(place, place.ana, nowhere, nowhere, nowhere, nowhere):
        with refused(code):
            await call()


async def test_another_organisations_ids_look_exactly_like_unknown_ones(place: Town) -> None:
    stranger = await settle_in(place.house, place.clock, organization_of_a_new_shard())
    known = (place.objective_id, place.key_result_id, place.cycle_id, place.unit_id)
    unknown = (new_id(), new_id(), new_id(), new_id())
    theirs, nobodys = calls_about(stranger, stranger.ana, *known), calls_about(stranger, stranger.ana, *unknown)
    for (_, foreign), (_, missing) in zip(theirs, nobodys, strict=True):
        assert await told(foreign) == await told(missing)


async def told(call: Callable[[], Awaitable[Any]]) -> tuple[grpc.StatusCode, str, str]:
    """What a refused call is told, ids left out."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call()
    refusal = refusal_of(raised.value)
    return refusal.code, refusal.reason, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "id", refusal.message)


def calls_about(
    place: Town, desk: Desk, objective_id: str, key_result_id: str, cycle_id: str, unit_id: str
) -> list[tuple[grpc.StatusCode, Callable[[], Awaitable[Any]]]]:
    """One call of each kind about the given ids."""
    goals, person = desk.goals, new_id()
    champion = goals_pb2.Champion(person_id=person, role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)
    return [
        (NOT_FOUND, lambda: goals.GetCycle(goals_pb2.GetCycleRequest(cycle_id=cycle_id))),
        (NOT_FOUND, lambda: goals.GetObjective(goals_pb2.GetObjectiveRequest(objective_id=objective_id))),
        (NOT_FOUND, lambda: goals.GetKeyResult(goals_pb2.GetKeyResultRequest(key_result_id=key_result_id))),
        (
            NOT_FOUND,
            lambda: goals.ActivateCycle(goals_pb2.ActivateCycleRequest(request_id=new_id(), cycle_id=cycle_id)),
        ),
        (NOT_FOUND, lambda: goals.DraftObjective(objective(place, objective_id=new_id(), cycle_id=cycle_id))),
        (NOT_FOUND, lambda: goals.DraftObjective(objective(place, objective_id=new_id(), unit_id=unit_id))),
        (NOT_FOUND, lambda: goals.DraftObjective(objective(place, objective_id=new_id(), owner_id=person))),
        (
            NOT_FOUND,
            lambda: goals.DefineKeyResult(key_result(place, objective_id=objective_id, key_result_id=new_id())),
        ),
        (NOT_FOUND, lambda: goals.DefineKeyResult(key_result(place, [champion], key_result_id=new_id()))),
        (
            NOT_FOUND,
            lambda: goals.CloseObjective(
                goals_pb2.CloseObjectiveRequest(
                    request_id=new_id(), objective_id=objective_id, outcome=goals_pb2.OBJECTIVE_OUTCOME_PARTLY
                )
            ),
        ),
        (
            NOT_FOUND,
            lambda: desk.checkins.RecordCheckIn(
                checkins_pb2.RecordCheckInRequest(
                    request_id=new_id(), check_in_id=new_id(), key_result_id=key_result_id, value="25"
                )
            ),
        ),
        (
            NOT_FOUND,
            lambda: desk.alignment.Align(
                alignment_pb2.AlignRequest(
                    request_id=new_id(),
                    cycle_id=place.cycle_id,
                    objective_id=place.objective_id,
                    parent_objective_id=objective_id,
                )
            ),
        ),
        (
            NOT_FOUND,
            lambda: desk.insights.GetKeyResultHistory(
                insights_pb2.GetKeyResultHistoryRequest(key_result_id=key_result_id)
            ),
        ),
        (NOT_FOUND, lambda: desk.insights.GetBoard(insights_pb2.GetBoardRequest(cycle_id=cycle_id))),
        (NOT_FOUND, lambda: desk.directory.GetUnit(directory_pb2.GetUnitRequest(unit_id=unit_id))),
        (NOT_FOUND, lambda: desk.directory.GetPerson(directory_pb2.GetPersonRequest(person_id=person))),
    ]


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbmEifQ."])
async def test_without_a_token_of_ours_nothing_is_answered(place: Town, token: str) -> None:
    channel = connect(place.house.platform.address, lambda: token)
    try:
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await GoalsServiceStub(channel).ListCycles(goals_pb2.ListCyclesRequest())
    finally:
        await channel.close()


async def test_a_board_of_the_future_is_refused(place: Town) -> None:
    with refused(INVALID):
        await place.ana.insights.GetBoard(insights_pb2.GetBoardRequest(as_of="2026-12-31T00:00:00Z"))


async def test_an_error_nobody_foresaw_is_internal_and_tells_nothing(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(okr_checkins.api, "receipt", explode)
    place.clock.set(FEBRUARY)
    with refused(grpc.StatusCode.INTERNAL) as answer:
        await place.check_in("25")

    assert "secret" not in answer.refusal.message
