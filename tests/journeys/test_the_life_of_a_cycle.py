"""A quarter as a story: drafted, refused, mended, published, begun and ended by the calendar of Auckland, graded,
closed through an interruption at every step, and gone on with in the next quarter."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from msgspec import Struct

from okr.checkins.v1 import checkins_pb2
from okr.directory.v1 import directory_pb2
from okr.goals.v1 import cycles_pb2 as cy
from okr.goals.v1 import goals_pb2 as pb
from okr.goals.v1 import practice_pb2
from okr.insights.v1 import insights_pb2
from okr.operations.v1.operations_pb2 import VerifyRequest
from okr.operations.v1.operations_pb2_grpc import OperationsServiceStub
from okr_chassis.clock import ManualClock
from okr_chassis.news import News
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.commands import Execute
from okr_contracts.goals import CycleClosed, CycleClosing, KeyResultClosed, ObjectiveClosed
from okr_eventstore.decider import Decider
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import Done, Position, RecordedEvent, shard_of
from okr_goals.lifecycle.clock import CycleClock
from okr_goals.lifecycle.gate import Gate
from okr_goals.lifecycle.steward import Steward
from tests.journeys.town import SERVICES
from tests.support.house import Desk, House, house, new_id, refused

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DECEMBER = datetime(2025, 12, 10, 9, tzinfo=UTC)
"""Before the first quarter of 2026, wherever one is."""
QUARTER_BEGINS = datetime(2025, 12, 31, 11, tzinfo=UTC)
QUARTER_ENDS = datetime(2026, 3, 31, 11, tzinfo=UTC)
"""Midnights of Auckland."""


class Killed(Exception):
    """The process is gone."""


class Mortal(Execute):
    """Carries out as many commands as it is given to live, and not one more."""

    def __init__(self, executor: CommandExecutor, commands: int) -> None:
        super().__init__("goals", executor)
        self.left = commands

    async def for_event(
        self,
        event: RecordedEvent,
        decider: Decider[Any, Any, Any],
        stream_id: str,
        command: Any,
        purpose: str,
        *,
        reply: bytes | None = None,
    ) -> Done:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return await super().for_event(event, decider, stream_id, command, purpose, reply=reply)


class Bakery:
    """One organisation in Auckland, Ana in it, and what she asks."""

    def __init__(self, built: House, clock: ManualClock, desk: Desk) -> None:
        self.house, self.clock, self.desk = built, clock, desk
        self.unit_id, self.q1, self.q2 = new_id(), new_id(), new_id()

    def moved_to(self, built: House) -> "Bakery":
        """The same bakery on a platform that was started anew."""
        self.house = built
        self.desk = built.desk(self.desk.organization_id, self.desk.person_id)
        return self

    async def found(self) -> None:
        directory, ana = self.desk.directory, str(self.desk.person_id)
        await directory.FoundOrganization(
            directory_pb2.FoundOrganizationRequest(request_id=new_id(), name="Bakery", time_zone="Pacific/Auckland")
        )
        await directory.AddUnit(
            directory_pb2.AddUnitRequest(
                request_id=new_id(), unit_id=self.unit_id, name="Shop", kind=directory_pb2.UNIT_KIND_DEPARTMENT
            )
        )
        await directory.RegisterPerson(
            directory_pb2.RegisterPersonRequest(
                request_id=new_id(), person_id=ana, handle="ana", name="Ana", unit_id=self.unit_id
            )
        )
        for cycle_id, name, first, last in (
            (self.q1, "Q1", "2026-01-01", "2026-03-31"),
            (self.q2, "Q2", "2026-04-01", "2026-06-30"),
        ):
            await self.desk.goals.DraftCycle(
                pb.DraftCycleRequest(request_id=new_id(), cycle_id=cycle_id, name=name, starts_on=first, ends_on=last)
            )

    async def draft(self, cycle_id: str, title: str) -> str:
        request = pb.DraftObjectiveRequest(
            request_id=new_id(),
            objective_id=new_id(),
            cycle_id=cycle_id,
            unit_id=self.unit_id,
            owner_id=str(self.desk.person_id),
            title=title,
        )
        await self.desk.goals.DraftObjective(request)
        return request.objective_id

    async def define(self, objective_id: str, title: str, **fields: Any) -> str:
        request = pb.DefineKeyResultRequest(
            request_id=new_id(),
            objective_id=objective_id,
            key_result_id=new_id(),
            title=title,
            unit="%",
            champions=[pb.Champion(person_id=str(self.desk.person_id), role=pb.CHAMPION_ROLE_ACCOUNTABLE)],
            **fields,
        )
        await self.desk.goals.DefineKeyResult(request)
        return request.key_result_id

    async def check_in(self, key_result_id: str, value: str, at: datetime) -> None:
        self.clock.set(at)
        await self.desk.checkins.RecordCheckIn(
            checkins_pb2.RecordCheckInRequest(
                request_id=new_id(), check_in_id=new_id(), key_result_id=key_result_id, value=value
            )
        )
        await self.house.platform.wait_idle()

    async def state(self, cycle_id: str) -> "pb.CycleState.ValueType":
        await self.house.platform.wait_idle()
        answer: pb.GetCycleResponse = await self.desk.goals.GetCycle(pb.GetCycleRequest(cycle_id=cycle_id))
        return answer.cycle.state

    async def publish(self) -> cy.PublishCycleResponse:
        answer: cy.PublishCycleResponse = await self.desk.cycles.PublishCycle(
            cy.PublishCycleRequest(request_id=new_id(), cycle_id=self.q1)
        )
        return answer

    async def grades(self) -> dict[str, cy.GradedKeyResult]:
        await self.house.platform.wait_idle()
        answer = await self.desk.cycles.ListGrades(cy.ListGradesRequest(cycle_id=self.q1))
        return {each.title: each for each in answer.key_results}

    async def grade(self, key_result_id: str, **said: Any) -> pb.Grade:
        answer: cy.GradeKeyResultResponse = await self.desk.cycles.GradeKeyResult(
            cy.GradeKeyResultRequest(request_id=new_id(), key_result_id=key_result_id, **said)
        )
        return answer.grade

    async def close(self) -> None:
        await self.desk.goals.CloseCycle(pb.CloseCycleRequest(request_id=new_id(), cycle_id=self.q1))

    async def board(self, **asked: Any) -> insights_pb2.GetBoardResponse:
        await self.house.platform.wait_idle()
        answer: insights_pb2.GetBoardResponse = await self.desk.insights.GetBoard(
            insights_pb2.GetBoardRequest(cycle_id=self.q1, **asked)
        )
        return answer

    async def sweep(self, at: datetime) -> None:
        """The calendar is looked at by two copies of the service at this moment."""
        self.clock.set(at)
        await self.house.platform.wait_idle()
        host = self.house.platform.services["goals"].host
        assert host.log is not None
        for _ in range(2):
            await CycleClock(CommandExecutor(host.log), host.reader, self.clock).sweep()
        await self.house.platform.wait_idle()

    async def stream(self, stream_id: str) -> Sequence[RecordedEvent]:
        return await self.house.platform.logs["goals"].read_stream(self.desk.organization_id, stream_id)

    async def told(self, kind: type[Struct], *streams: str) -> int:
        """How often something is said in some streams."""
        found = [event for each in streams for event in await self.stream(each)]
        return sum(isinstance(event.data, kind) for event in found)

    async def verified(self) -> bool:
        await self.house.platform.wait_idle()
        issuer = self.house.platform.issuer
        assert issuer is not None
        operator = issuer.issue(UUID(int=0), UUID(int=0), operator=True)
        channel = connect(self.house.platform.address, lambda: operator, deadline_seconds=30.0)
        answers = OperationsServiceStub(channel).Verify(VerifyRequest())
        verdicts = [answer.verdict async for answer in answers if answer.HasField("verdict")]
        await channel.close()
        return bool(verdicts) and all(verdict.equal for verdict in verdicts)


async def interrupted(bakery: Bakery, commands: int) -> None:
    """The closing is carried on for so many commands, then the process is killed; what it knew of them is lost."""
    host = bakery.house.platform.services["goals"].host
    log = host.log
    assert log is not None
    (closing,) = (event for event in await bakery.stream(f"cycle-{bakery.q1}") if isinstance(event.data, CycleClosing))
    await host.reader.caught_up([])
    execute = Mortal(CommandExecutor(log), commands)
    steward = Steward(execute, host.reader, News(log, host.reader), host.peers, Gate(host.reader))
    with pytest.raises(Killed):
        await steward.react([closing])
    await host.database.execute("DELETE FROM command")


async def test_a_quarter_from_its_draft_to_what_goes_on_after_it(fresh_dsn: str, tmp_path: Path) -> None:
    clock = ManualClock(DECEMBER)
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as first:
        bakery = Bakery(first, clock, first.desk())
        await bakery.found()

        # Two objectives without key results: publishing names both of them at once.
        with refused(PRECONDITION, "NO_OBJECTIVES"):
            await bakery.publish()
        regulars = await bakery.draft(bakery.q1, "Regulars who recommend us to their friends")
        holiday = await bakery.draft(bakery.q1, "The owner can take a holiday in peace")
        with refused(PRECONDITION, "PRACTICE_NOT_MET") as no:
            await bakery.publish()
        assert [each.field for each in no.refusal.violations] == [
            "Regulars who recommend us to their friends",
            "The owner can take a holiday in peace",
        ]

        # The first is mended; the second goes on as it is, with a reason.
        repeat = await bakery.define(regulars, "Repeat purchases", start="20", commit="25", target="30")
        fresh = await bakery.define(
            regulars,
            "Bread still fresh at closing time",
            type=pb.KEY_RESULT_TYPE_MAINTAIN,
            measurement=pb.Measurement(low="95", tolerance="5", guard_rail=True),
        )
        await bakery.desk.practice.OverrideLint(
            practice_pb2.OverrideLintRequest(
                request_id=new_id(), objective_id=holiday, rule="K1", reason="Measured once the new baker is here"
            )
        )
        await bakery.publish()
        assert await bakery.state(bakery.q1) == pb.CYCLE_STATE_PUBLISHED

        # It begins with its first day in Auckland, once, and a clock that is set back does not undo it.
        await bakery.sweep(QUARTER_BEGINS.replace(hour=10, minute=59))
        assert await bakery.state(bakery.q1) == pb.CYCLE_STATE_PUBLISHED
        await bakery.sweep(QUARTER_BEGINS)
        await bakery.sweep(DECEMBER)
        await bakery.sweep(QUARTER_BEGINS)
        assert [event.type for event in await bakery.stream(f"cycle-{bakery.q1}")] == [
            "CycleDrafted",
            "CyclePublished",
            "CycleActivated",
        ]
        board = await bakery.board()
        assert {each.title: each.state for each in board.objectives} == {
            "Regulars who recommend us to their friends": "active",
            "The owner can take a holiday in peace": "draft",
        }
        assert (board.cycle_state, board.rule_version) == ("active", "2026-1")

        # The quarter passes; on the way the commit is moved by the bakery itself.
        await bakery.check_in(fresh, "97", datetime(2026, 1, 1, tzinfo=UTC))
        await bakery.check_in(repeat, "24", datetime(2026, 2, 1, 9, tzinfo=UTC))
        await bakery.desk.goals.ReviseTarget(
            pb.ReviseTargetRequest(
                request_id=new_id(), objective_id=regulars, key_result_id=repeat, commit="22", reason="It was too much"
            )
        )
        await bakery.check_in(repeat, "27", datetime(2026, 3, 20, 9, tzinfo=UTC))
        with refused(PRECONDITION, "GRADING_NOT_OPEN"):
            await bakery.grade(repeat)

        # It is over when the last day is over in Auckland. What is measured later does not count.
        await bakery.sweep(QUARTER_ENDS.replace(hour=10, minute=59))
        assert await bakery.state(bakery.q1) == pb.CYCLE_STATE_ACTIVE
        await bakery.sweep(QUARTER_ENDS)
        assert await bakery.state(bakery.q1) == pb.CYCLE_STATE_GRADING
        await bakery.check_in(repeat, "28", datetime(2026, 4, 2, 9, tzinfo=UTC))
        with refused(PRECONDITION, "CYCLE_IN_GRADING"):
            await bakery.desk.goals.ReviseTarget(
                pb.ReviseTargetRequest(
                    request_id=new_id(),
                    objective_id=regulars,
                    key_result_id=repeat,
                    target="27",
                    reason="So we made it",
                )
            )
        graded = await bakery.grades()
        assert (graded["Repeat purchases"].value, graded["Repeat purchases"].computed) == ("27", "0.5800")
        assert graded["Repeat purchases"].zone == pb.GRADE_ZONE_COMMIT
        assert "version 2026-1" in graded["Repeat purchases"].explanation
        assert graded["Bread still fresh at closing time"].computed == "1.0000"

        # Nothing is closed that has no grade; another grade than the rules' has a reason.
        with refused(PRECONDITION, "KEY_RESULTS_NOT_GRADED") as no:
            await bakery.close()
        assert [each.field for each in no.refusal.violations] == [
            "Repeat purchases",
            "Bread still fresh at closing time",
        ]
        with refused(PRECONDITION, "REASON_MISSING"):
            await bakery.grade(repeat, final="0.7")
        grade = await bakery.grade(repeat, final="0.7", reason="Two weeks without an oven", evidence="Till, week 13")
        assert (grade.computed, grade.final, grade.reason) == ("0.5800", "0.7", "Two weeks without an oven")
        await bakery.grade(fresh)
        again = (await bakery.grades())["Repeat purchases"].grade
        assert (again.final, again.reason, again.evidence) == (
            "0.7",
            "Two weeks without an oven",
            "Till, week 13",
        )
        summary = await bakery.desk.cycles.GetCycleSummary(cy.GetCycleSummaryRequest(cycle_id=bakery.q1))
        assert (summary.graded, summary.key_results, summary.mean) == (2, 2, "0.8500")
        assert summary.hint == cy.PORTFOLIO_HINT_UNSPECIFIED

        # The closing is decided, and the process is killed before its first step, and behind each of the others.
        steward = next(each for each in first.platform.services["goals"].runners if each.name == "goals.cycles")
        await steward.close()
        await bakery.close()
        await interrupted(bakery, 0)
        assert not await bakery.told(ObjectiveClosed, f"objective-{regulars}")
        await interrupted(bakery, 1)
        assert await bakery.told(ObjectiveClosed, f"objective-{regulars}") == 1
        assert not await bakery.told(CycleClosed, f"cycle-{bakery.q1}")

    # Started anew, the platform finishes what was decided: each thing once.
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as second:
        bakery.moved_to(second)
        assert await bakery.state(bakery.q1) == pb.CYCLE_STATE_CLOSED
        heard_again = second.platform.services["goals"]
        react = next(each for each in heard_again.runners if each.name == "goals.cycles").subscription.react
        assert react is not None
        await heard_again.host.database.execute("DELETE FROM command")
        await react(await bakery.stream(f"cycle-{bakery.q1}"))
        assert await bakery.told(CycleClosed, f"cycle-{bakery.q1}") == 1
        assert await bakery.told(ObjectiveClosed, f"objective-{regulars}", f"objective-{holiday}") == 1
        assert await bakery.told(KeyResultClosed, f"objective-{regulars}") == 2
        cycle = (await bakery.desk.goals.GetCycle(pb.GetCycleRequest(cycle_id=bakery.q1))).cycle
        known = {Position.parse(token).service: Position.parse(token) for token in cycle.closed_positions}
        assert {"directory", "goals", "checkins"} <= known.keys()
        assert {each.shard for each in known.values()} == {shard_of(bakery.desk.organization_id)}

        # What goes on in the next quarter begins where it stands.
        more = await bakery.draft(bakery.q2, "Regulars who bring others along")
        carry = cy.CarryOverRequest(
            request_id=new_id(), key_result_id=repeat, new_key_result_id=new_id(), objective_id=regulars
        )
        with refused(PRECONDITION, "SAME_CYCLE"):
            await bakery.desk.cycles.CarryOver(carry)
        carry.objective_id = more
        carried = (await bakery.desk.cycles.CarryOver(carry)).key_result
        assert (carried.start, carried.commit, carried.target, carried.continued_from) == ("28", "29", "30", repeat)
        assert (await bakery.desk.cycles.CarryOver(carry)).key_result == carried

        # The past stays as it was: a new name of the shop is none of the first quarter's.
        await bakery.desk.directory.RenameUnit(
            directory_pb2.RenameUnitRequest(request_id=new_id(), unit_id=bakery.unit_id, name="Shop and café")
        )
        now, then = await bakery.board(), await bakery.board(as_of_cycle_end=True)
        assert {each.unit_name for each in now.objectives} == {"Shop and café"}
        assert {each.unit_name for each in then.objectives} == {"Shop"}
        closed = next(each for each in then.objectives if each.objective_id == regulars)
        assert (closed.state, closed.outcome) == ("closed", "achieved")
        assert [(each.score, each.computed_score, each.zone) for each in closed.key_results] == [
            ("0.7", "0.5800", "commit"),
            ("1.0000", "1.0000", "target"),
        ]
        with refused(PRECONDITION, "CYCLE_CLOSED"):
            await bakery.draft(bakery.q1, "Too late")
        assert await bakery.verified()
