"""Insights over gRPC, in one platform with the services it hears."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from grpc import aio

import okr_alignment.__main__ as alignment
import okr_checkins.__main__ as checkins
import okr_directory.__main__ as directory
import okr_goals.__main__ as goals
import okr_insights.__main__ as insights
from okr.alignment.v1 import alignment_pb2
from okr.alignment.v1.alignment_pb2_grpc import AlignmentServiceStub
from okr.checkins.v1 import checkins_pb2
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.directory.v1 import directory_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.goals.v1 import goals_pb2
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.insights.v1 import insights_pb2 as pb
from okr.insights.v1.insights_pb2_grpc import InsightsServiceStub
from okr_chassis.clock import ManualClock
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import Refusal, refusal_of
from okr_chassis.settings import Settings
from tests.insights.facts import ANA, GROW, Q1, REVENUE, SALES, day, named

MODULES = (directory, goals, checkins, alignment, insights)


class Site:
    """A platform and the channel of one person in it."""

    def __init__(self, platform: Platform, clock: ManualClock, channel: aio.Channel) -> None:
        self.platform = platform
        self.clock = clock
        self.directory = DirectoryServiceStub(channel)
        self.goals = GoalsServiceStub(channel)
        self.checkins = CheckInsServiceStub(channel)
        self.alignment = AlignmentServiceStub(channel)
        self.insights = InsightsServiceStub(channel)


@pytest.fixture
async def site(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Site]:
    clock = ManualClock(day(1))
    settings = Settings(data_dir=tmp_path / "data", grpc_port=0)
    async with Platform(settings, fresh_dsn, MODULES, clock=clock) as platform:
        assert platform.issuer is not None, "tests run in development"
        token = platform.issuer.issue(uuid4(), ANA)
        channel = connect(platform.address, lambda: token)
        yield Site(platform, clock, channel)
        await channel.close()


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as raised:
        await call
    return refusal_of(raised.value)


def new() -> str:
    return str(uuid4())


async def test_what_people_did_over_grpc_is_on_the_board_and_in_the_history(site: Site) -> None:
    company = named("company")
    await site.directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=new(), name="Acme"))
    await site.directory.AddUnit(
        directory_pb2.AddUnitRequest(
            request_id=new(), unit_id=str(SALES), name="Sales", kind=directory_pb2.UNIT_KIND_DEPARTMENT
        )
    )
    await site.directory.RegisterPerson(
        directory_pb2.RegisterPersonRequest(request_id=new(), person_id=str(ANA), handle="ana", name="Ana")
    )
    await site.goals.DraftCycle(
        goals_pb2.DraftCycleRequest(
            request_id=new(), cycle_id=str(Q1), name="Q1 2026", starts_on="2026-01-01", ends_on="2026-03-31"
        )
    )
    await site.goals.ActivateCycle(goals_pb2.ActivateCycleRequest(request_id=new(), cycle_id=str(Q1)))
    for objective_id, title in ((company, "Company"), (GROW, "Grow")):
        await site.goals.DraftObjective(
            goals_pb2.DraftObjectiveRequest(
                request_id=new(),
                objective_id=str(objective_id),
                cycle_id=str(Q1),
                unit_id=str(SALES),
                owner_id=str(ANA),
                title=title,
            )
        )
    await site.goals.DefineKeyResult(_revenue())
    await site.goals.ActivateObjective(goals_pb2.ActivateObjectiveRequest(request_id=new(), objective_id=str(GROW)))
    await site.platform.wait_idle()
    await site.alignment.Align(
        alignment_pb2.AlignRequest(
            request_id=new(), cycle_id=str(Q1), objective_id=str(GROW), parent_objective_id=str(company)
        )
    )
    site.clock.set(day(20))
    check_in_id = new()
    await site.checkins.RecordCheckIn(_check_in(check_in_id, "90"))
    site.clock.set(day(30))
    corrected = await site.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new(), check_in_id=check_in_id, key_result_id=str(REVENUE), value="9", reason="a slip"
        )
    )
    site.clock.set(day(60))
    await site.platform.wait_idle()

    board = await site.insights.GetBoard(pb.GetBoardRequest(min_positions=[corrected.receipt.position]))
    then = await site.insights.GetBoard(pb.GetBoardRequest(as_of="2026-01-25T08:00:00Z"))
    history = await site.insights.GetKeyResultHistory(pb.GetKeyResultHistoryRequest(key_result_id=str(REVENUE)))

    assert (board.organization_name, board.cycle_name) == ("Acme", "Q1 2026")
    assert [objective.title for objective in board.objectives] == ["Company", "Grow"]
    grow = board.objectives[1]
    assert (grow.parent_objective_id, grow.unit_name, grow.state) == (str(company), "Sales", "active")
    assert (grow.key_results[0].value, grow.key_results[0].pace) == ("9", pb.PACE_FAR_BEHIND)
    assert grow.key_results[0].accountable_id == str(ANA)
    assert (then.objectives[1].key_results[0].value, then.objectives[1].pace) == ("90", pb.PACE_AHEAD)
    assert [entry.kind for entry in history.entries][:2] == ["CheckInCorrected", "CheckInRecorded"]
    assert history.entries[0].position == corrected.receipt.position
    assert history.entries[0].previous_value == "90"
    assert {entry.person_id for entry in history.entries} == {str(ANA)}


async def test_bad_questions_are_answered_with_what_is_wrong_with_them(site: Site) -> None:
    nobody = UUID(int=1)
    unknown_unit = await refused(site.insights.GetBoard(pb.GetBoardRequest(unit_id=str(nobody))))
    assert (unknown_unit.code, unknown_unit.reason) == (grpc.StatusCode.NOT_FOUND, "UNIT_NOT_FOUND")
    unknown = await refused(site.insights.GetKeyResultHistory(pb.GetKeyResultHistoryRequest(key_result_id=str(nobody))))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_RESULT_NOT_FOUND")

    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for request, fields in (
        (pb.GetBoardRequest(as_of=later), {"as_of"}),
        (pb.GetBoardRequest(as_of="0001-01-01T00:00:00Z", cycle_id="q"), {"as_of", "cycle_id"}),
        (pb.GetBoardRequest(min_positions=["goals:1"], unit_id="x" * 5000), {"min_positions.0", "unit_id"}),
    ):
        refusal = await refused(site.insights.GetBoard(request))
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert {violation.field for violation in refusal.violations} == fields
    missing = await refused(site.insights.GetKeyResultHistory(pb.GetKeyResultHistoryRequest()))
    assert [violation.field for violation in missing.violations] == ["key_result_id"]


async def test_nobody_reads_without_a_token(site: Site) -> None:
    async with aio.insecure_channel(site.platform.address) as channel:
        refusal = await refused(InsightsServiceStub(channel).GetBoard(pb.GetBoardRequest()))
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED


def _revenue() -> goals_pb2.DefineKeyResultRequest:
    return goals_pb2.DefineKeyResultRequest(
        request_id=new(),
        objective_id=str(GROW),
        key_result_id=str(REVENUE),
        title="Revenue",
        start="0",
        commit="50",
        target="100",
        unit="EUR",
        champions=[goals_pb2.Champion(person_id=str(ANA), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)],
    )


def _check_in(check_in_id: str, value: str) -> checkins_pb2.RecordCheckInRequest:
    return checkins_pb2.RecordCheckInRequest(
        request_id=new(), check_in_id=check_in_id, key_result_id=str(REVENUE), value=value, confidence="0.5"
    )
