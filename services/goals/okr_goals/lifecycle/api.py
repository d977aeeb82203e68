"""The gRPC side of a cycle's life and its end."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
from grpc import aio

from okr.goals.v1 import cycles_pb2 as pb
from okr.goals.v1 import cycles_pb2_grpc, goals_pb2
from okr_chassis.identity.auth import caller
from okr_chassis.news import News
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.messages import accept, enum_value, id_of, receipt, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.sealing import Vault
from okr_chassis.service import Reader
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_eventstore.model import Done
from okr_goals import read_model
from okr_goals.decider.carry_over import CarryOverSaid, continued
from okr_goals.decider.commands import GradeKeyResult, GradeSaid
from okr_goals.decider.cycle import (
    ENDED,
    CancelCycle,
    CancellationSaid,
    Cycle,
    OpenGrading,
    PublishCycle,
    cycles,
    ended,
    pinned,
)
from okr_goals.decider.objective import Objective, key_result_of, objectives
from okr_goals.lifecycle.assessor import Assessor
from okr_goals.lifecycle.clock import CycleClock
from okr_goals.lifecycle.gate import Gate
from okr_goals.lifecycle.messages import grade_message, grade_of, graded_message
from okr_goals.lifecycle.summary import summarise
from okr_goals.messages import cycle_message, key_result_message
from okr_goals.practice.messages import finding_message

Context = aio.ServicerContext[Any, Any]
AT_ONCE = 8
"""How many key results are asked about at the same time."""
MOST_GRADES = 100
"""On a page, because each asks for its values."""


class CyclesService(cycles_pb2_grpc.CyclesServiceServicer):
    """Translates requests in and answers out."""

    def __init__(
        self,
        execute: Execute,
        reader: Reader,
        pages: Pages,
        news: News,
        vault: Vault,
        gate: Gate,
        assessor: Assessor,
        clock: CycleClock,
    ) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._news = news
        self._vault = vault
        self._gate = gate
        self._assessor = assessor
        self._clock = clock

    # --- from draft to end -----------------------------------------------------------------------

    async def PublishCycle(self, request: pb.PublishCycleRequest, context: Context) -> pb.PublishCycleResponse:
        cycle_id = id_of(request, "cycle_id")
        await self._news.all_heard()
        judgement = await self._gate.judge(cycle_id)
        command = accept(
            PublishCycle, request, rules=pinned(), objectives=judgement.objectives, blocking=judgement.blocking
        )
        done = await self._execute(cycles, cycles.stream(cycle_id), command, request)
        self._clock.wake()
        advice = [finding_message(finding) for finding in judgement.advice]
        return pb.PublishCycleResponse(receipt=receipt(done), advice=advice)

    async def OpenGrading(self, request: pb.OpenGradingRequest, context: Context) -> pb.OpenGradingResponse:
        command = accept(OpenGrading, request)
        done = await self._execute(cycles, cycles.stream(command.cycle_id), command, request)
        return pb.OpenGradingResponse(receipt=receipt(done))

    async def CancelCycle(self, request: pb.CancelCycleRequest, context: Context) -> pb.CancelCycleResponse:
        said = accept(CancellationSaid, request)
        done = await self._execute.or_as_before(request, self._cancel(said, request))
        return pb.CancelCycleResponse(receipt=receipt(done))

    async def _cancel(self, said: CancellationSaid, request: pb.CancelCycleRequest) -> Done:
        reason = await self._vault.seal(said.reason, said.cycle_id, "reason")
        command = CancelCycle(cycle_id=said.cycle_id, reason=reason)
        return await self._execute(cycles, cycles.stream(said.cycle_id), command, request)

    # --- grades ----------------------------------------------------------------------------------

    async def GradeKeyResult(self, request: pb.GradeKeyResultRequest, context: Context) -> pb.GradeKeyResultResponse:
        said = accept(GradeSaid, request)
        done = await self._execute.or_as_before(request, self._grade(said, request))
        grade = goals_pb2.Grade.FromString(done.reply or b"")
        grade.reason, grade.evidence = said.reason or "", said.evidence or ""
        return pb.GradeKeyResultResponse(receipt=receipt(done), grade=grade)

    async def ListGrades(self, request: pb.ListGradesRequest, context: Context) -> pb.ListGradesResponse:
        cycle_id = id_of(request, "cycle_id")
        request.page.size = min(request.page.size or MOST_GRADES, MOST_GRADES)
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        await self._news.all_heard()
        cycle = await self._known_cycle(cycle_id)
        until = await self._assessor.end_of(cycle)
        rows, token = page.cut(
            await read_model.key_results_to_grade(self._reader, caller().organization_id, cycle_id, page),
            lambda row: [row["key_result_id"]],
        )
        states = await self._objectives({row["objective_id"] for row in rows})
        room = asyncio.Semaphore(AT_ONCE)

        async def graded(row: asyncpg.Record, words: Sequence[str]) -> pb.GradedKeyResult:
            known = key_result_of(states[row["objective_id"]], row["key_result_id"])
            async with room:
                outcome = await self._assessor.outcome(known, cycle, until, request.min_positions)
            grade = grade_of(row)
            return graded_message(row, outcome, None if grade is None else grade_message(grade, *words))

        words = await self._words(rows)
        found = await asyncio.gather(*(graded(row, each) for row, each in zip(rows, words, strict=True)))
        return pb.ListGradesResponse(key_results=found, next_page_token=token)

    async def GetCycleSummary(self, request: pb.GetCycleSummaryRequest, context: Context) -> pb.GetCycleSummaryResponse:
        cycle_id = id_of(request, "cycle_id")
        await self._reader.caught_up(request.min_positions)
        await self._news.all_heard()
        cycle = await self._known_cycle(cycle_id)
        row = await read_model.cycle(self._reader, caller().organization_id, cycle_id)
        if row is None:
            raise NotFoundError("cycle", cycle_id)
        rows = await read_model.grades_of_cycle(self._reader, caller().organization_id, cycle_id)
        tried = [each for each in rows if each["state"] in ("active", "closed") and each["key_result_id"] is not None]
        found = summarise([grade_of(each) for each in tried], cycle.parameters)
        return pb.GetCycleSummaryResponse(
            cycle=cycle_message(row),
            objectives=len({each["objective_id"] for each in rows if each["state"] != "cancelled"}),
            key_results=found.key_results,
            graded=found.graded,
            below_commit=found.zones["below_commit"],
            commit=found.zones["commit"],
            target=found.zones["target"],
            stretch=found.zones["stretch"],
            mean=wire(found.mean),
            hint=enum_value(pb.PortfolioHint, found.hint, "PORTFOLIO_HINT_"),
            explanation=found.explanation,
        )

    async def _grade(self, said: GradeSaid, request: pb.GradeKeyResultRequest) -> Done:
        await self._reader.caught_up(request.min_positions)
        objective_id, state = await self._objective_of(said.key_result_id)
        assert state.drafted is not None, "an objective with a key result was drafted"
        cycle = (await self._execute.load(cycles, cycles.stream(state.drafted.cycle_id))).state
        known = key_result_of(state, said.key_result_id)
        until = await self._assessor.end_of(cycle)
        outcome = await self._assessor.outcome(known, cycle, until, request.min_positions)
        final = outcome.score if said.final is None else said.final
        command = GradeKeyResult(
            objective_id=objective_id,
            key_result_id=said.key_result_id,
            cycle=cycle,
            outcome=outcome,
            final=final,
            reason=await self._vault.seal(said.reason, said.key_result_id, "reason"),
            evidence=await self._vault.seal(said.evidence, said.key_result_id, "evidence"),
            closing_early=said.closing_early,
        )
        entry = read_model.GradeEntry(outcome.score, final, outcome.zone, outcome.parameters.version)
        reply = grade_message(entry, "", "").SerializeToString(deterministic=True)
        return await self._execute(objectives, objectives.stream(objective_id), command, request, reply=reply)

    async def _words(self, rows: Sequence[asyncpg.Record]) -> list[tuple[str, str]]:
        """Reason and evidence of each row's grade, in the clear: all keys in one question."""
        grades = [(row["key_result_id"], grade_of(row)) for row in rows]
        reasons = await self._vault.open([(each.reason if each else None, about, "reason") for about, each in grades])
        evidence = await self._vault.open(
            [(each.evidence if each else None, about, "evidence") for about, each in grades]
        )
        return list(zip(reasons, evidence, strict=True))

    # --- in the next cycle -----------------------------------------------------------------------

    async def CarryOver(self, request: pb.CarryOverRequest, context: Context) -> pb.CarryOverResponse:
        said = accept(CarryOverSaid, request)
        done = await self._execute.or_as_before(request, self._carry_over(said, request))
        await self._reader.caught_up([done.token])
        row = await read_model.key_result(self._reader, caller().organization_id, said.new_key_result_id)
        if row is None:
            raise NotFoundError("key result", said.new_key_result_id)
        return pb.CarryOverResponse(receipt=receipt(done), key_result=key_result_message(row))

    async def _carry_over(self, said: CarryOverSaid, request: pb.CarryOverRequest) -> Done:
        await self._reader.caught_up(request.min_positions)
        _, former = await self._objective_of(said.key_result_id)
        assert former.drafted is not None, "an objective with a key result was drafted"
        into = (await self._execute.load(objectives, objectives.stream(said.objective_id))).state
        if into.drafted is None:
            raise NotFoundError("objective", said.objective_id)
        if into.drafted.cycle_id == former.drafted.cycle_id:
            raise DomainError(
                "SAME_CYCLE",
                f"{into.drafted.title!r} belongs to the same cycle; a key result is carried over into another one",
            )
        cycle = (await self._execute.load(cycles, cycles.stream(into.drafted.cycle_id))).state
        if cycle.state in ENDED or cycle.state == "grading":
            raise ended(cycle)
        taken = await read_model.key_result(self._reader, caller().organization_id, said.new_key_result_id)
        if taken is not None and taken["objective_id"] != said.objective_id:
            raise AlreadyExistsError("key result", said.new_key_result_id)
        value = await self._assessor.last_value(said.key_result_id, request.min_positions)
        command = continued(key_result_of(former, said.key_result_id), value, said)
        return await self._execute(objectives, objectives.stream(said.objective_id), command, request)

    # --- what is there ---------------------------------------------------------------------------

    async def _known_cycle(self, cycle_id: UUID) -> Cycle:
        """By its stream. Raises NotFoundError."""
        cycle = (await self._execute.load(cycles, cycles.stream(cycle_id))).state
        if cycle.state == "none":
            raise NotFoundError("cycle", cycle_id)
        return cycle

    async def _objective_of(self, key_result_id: UUID) -> tuple[UUID, Objective]:
        """The objective that a key result belongs to, by its stream. Raises NotFoundError."""
        row = await self._news.look(
            lambda: read_model.key_result(self._reader, caller().organization_id, key_result_id),
            lambda row: row is not None,
        )
        if row is None:
            raise NotFoundError("key result", key_result_id)
        objective_id: UUID = row["objective_id"]
        return objective_id, (await self._execute.load(objectives, objectives.stream(objective_id))).state

    async def _objectives(self, ids: set[UUID]) -> dict[UUID, Objective]:
        found: dict[UUID, Objective] = {}
        room = asyncio.Semaphore(AT_ONCE)

        async def load(objective_id: UUID) -> None:
            async with room:
                found[objective_id] = (await self._execute.load(objectives, objectives.stream(objective_id))).state

        await asyncio.gather(*(load(each) for each in ids))
        return found
