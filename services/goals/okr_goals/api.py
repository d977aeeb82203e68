"""The gRPC side of goals: cycles, objectives, key results, champions, and imports of whole spreadsheets."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
from grpc import aio
from pydantic import BaseModel

from okr.goals.v1 import goals_pb2 as pb
from okr.goals.v1 import goals_pb2_grpc
from okr_chassis.identity.auth import caller
from okr_chassis.news import News
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.fields import OptionalId
from okr_chassis.rpc.messages import accept, id_of, receipt
from okr_chassis.rpc.pages import Pages
from okr_chassis.sealing import Vault
from okr_chassis.service import Reader
from okr_contracts.errors import AlreadyExistsError, NotFoundError, Violation
from okr_eventstore.model import Done
from okr_goals import read_model
from okr_goals.acquaintances import Acquaintances
from okr_goals.decider.commands import (
    ActivateObjective,
    AssignChampion,
    CloseObjective,
    DefineKeyResult,
    DraftObjective,
    ReleaseChampion,
    ReviseTarget,
    RevisionSaid,
)
from okr_goals.decider.cycle import ActivateCycle, CloseCycle, Cycle, DraftCycle, cycles, pinned
from okr_goals.decider.objective import objectives
from okr_goals.importing.reception import Reception
from okr_goals.messages import cycle_message, import_message, key_result_message, objective_message

Context = aio.ServicerContext[Any, Any]


class ObjectivesQuestion(BaseModel, frozen=True):
    cycle_id: OptionalId = None


class GoalsService(goals_pb2_grpc.GoalsServiceServicer):
    """Translates requests in and answers out.

    What a rule needs to know of another stream is read from that stream and put into the command. The
    other stream may move on meanwhile; no rule here is so sharp that this moment would matter.
    """

    def __init__(
        self,
        execute: Execute,
        reader: Reader,
        pages: Pages,
        news: News,
        acquaintances: Acquaintances,
        reception: Reception,
        vault: Vault,
    ) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._news = news
        self._acquaintances = acquaintances
        self._reception = reception
        self._vault = vault

    # --- cycles ----------------------------------------------------------------------------------

    async def DraftCycle(self, request: pb.DraftCycleRequest, context: Context) -> pb.DraftCycleResponse:
        command = accept(DraftCycle, request)
        done = await self._execute(cycles, cycles.stream(command.cycle_id), command, request)
        return pb.DraftCycleResponse(receipt=receipt(done))

    async def ActivateCycle(self, request: pb.ActivateCycleRequest, context: Context) -> pb.ActivateCycleResponse:
        command = accept(ActivateCycle, request, rules=pinned())
        done = await self._execute(cycles, cycles.stream(command.cycle_id), command, request)
        return pb.ActivateCycleResponse(receipt=receipt(done))

    async def CloseCycle(self, request: pb.CloseCycleRequest, context: Context) -> pb.CloseCycleResponse:
        cycle_id = id_of(request, "cycle_id")
        await self._news.all_heard()
        active = await read_model.active_objectives(self._reader, caller().organization_id, cycle_id)
        rows = await read_model.ungraded(self._reader, caller().organization_id, cycle_id) if active else []
        ungraded = [Violation(row["title"], f"of {row['objective_title']!r}", "NOT_GRADED") for row in rows]
        command = accept(CloseCycle, request, active_objectives=active, ungraded=ungraded)
        done = await self._execute(cycles, cycles.stream(command.cycle_id), command, request)
        return pb.CloseCycleResponse(receipt=receipt(done))

    # --- objectives ------------------------------------------------------------------------------

    async def DraftObjective(self, request: pb.DraftObjectiveRequest, context: Context) -> pb.DraftObjectiveResponse:
        # The shape is checked as a whole before anything is looked up.
        command = accept(DraftObjective, request, cycle=Cycle())
        command = command.model_copy(update={"cycle": await self._cycle(command.cycle_id)})
        await self._acquaintances.require_unit(command.unit_id)
        await self._acquaintances.require_people([command.owner_id])
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.DraftObjectiveResponse(receipt=receipt(done))

    async def DefineKeyResult(self, request: pb.DefineKeyResultRequest, context: Context) -> pb.DefineKeyResultResponse:
        command = accept(DefineKeyResult, request)
        await self._acquaintances.require_people([champion.person_id for champion in command.champions])
        await self._require_own_key_result(command.key_result_id, command.objective_id)
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.DefineKeyResultResponse(receipt=receipt(done))

    async def AssignChampion(self, request: pb.AssignChampionRequest, context: Context) -> pb.AssignChampionResponse:
        command = accept(AssignChampion, request)
        await self._acquaintances.require_people([command.champion.person_id])
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.AssignChampionResponse(receipt=receipt(done))

    async def ReleaseChampion(self, request: pb.ReleaseChampionRequest, context: Context) -> pb.ReleaseChampionResponse:
        command = accept(ReleaseChampion, request)
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.ReleaseChampionResponse(receipt=receipt(done))

    async def ActivateObjective(
        self, request: pb.ActivateObjectiveRequest, context: Context
    ) -> pb.ActivateObjectiveResponse:
        command = accept(ActivateObjective, request, cycle=Cycle())
        found = await self._execute.load(objectives, objectives.stream(command.objective_id))
        if found.state.drafted is not None:
            command = command.model_copy(update={"cycle": await self._cycle(found.state.drafted.cycle_id)})
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.ActivateObjectiveResponse(receipt=receipt(done))

    async def ReviseTarget(self, request: pb.ReviseTargetRequest, context: Context) -> pb.ReviseTargetResponse:
        said = accept(RevisionSaid, request)
        done = await self._execute.or_as_before(request, self._revise(said, request))
        return pb.ReviseTargetResponse(receipt=receipt(done))

    async def CloseObjective(self, request: pb.CloseObjectiveRequest, context: Context) -> pb.CloseObjectiveResponse:
        command = accept(CloseObjective, request)
        done = await self._execute(objectives, objectives.stream(command.objective_id), command, request)
        return pb.CloseObjectiveResponse(receipt=receipt(done))

    async def _revise(self, said: RevisionSaid, request: pb.ReviseTargetRequest) -> Done:
        reason = await self._vault.seal(said.reason, said.key_result_id, "reason")
        found = (await self._execute.load(objectives, objectives.stream(said.objective_id))).state
        cycle = None if found.drafted is None else await self._cycle(found.drafted.cycle_id)
        command = ReviseTarget(**{**dict(said), "reason": reason, "cycle": cycle})
        return await self._execute(objectives, objectives.stream(command.objective_id), command, request)

    async def _cycle(self, cycle_id: UUID) -> Cycle:
        return (await self._execute.load(cycles, cycles.stream(cycle_id))).state

    async def _certain(
        self,
        find: Callable[[Reader, UUID, UUID], Awaitable[asyncpg.Record | None]],
        identifier: UUID,
        settled: Callable[[asyncpg.Record], bool] = lambda _: True,
    ) -> asyncpg.Record | None:
        """One row, looked for again when the first look may have come too early.

        Services ask on behalf of commands that follow right behind a draft or an activation, and have
        no position of it to wait for: "unknown" and "not open" must therefore be true, not merely old.
        """
        return await self._news.look(
            lambda: find(self._reader, caller().organization_id, identifier),
            lambda row: row is not None and settled(row),
        )

    async def _require_own_key_result(self, key_result_id: UUID, objective_id: UUID) -> None:
        """A key result belongs to one objective, whose stream alone cannot tell that another one has its id."""
        row = await read_model.key_result(self._reader, caller().organization_id, key_result_id)
        if row is not None and row["objective_id"] != objective_id:
            raise AlreadyExistsError("key result", key_result_id)

    # --- imports ---------------------------------------------------------------------------------

    async def ImportPlan(self, request: pb.ImportPlanRequest, context: Context) -> pb.ImportPlanResponse:
        await self._news.all_heard()
        return await self._reception.import_plan(request)

    async def GetImport(self, request: pb.GetImportRequest, context: Context) -> pb.GetImportResponse:
        import_id = id_of(request, "import_id")
        await self._reader.caught_up(request.min_positions)
        row = await read_model.import_progress(self._reader, caller().organization_id, import_id)
        if row is None:
            raise NotFoundError("import", import_id)
        return import_message(import_id, row, await self._news.last())

    # --- reading ---------------------------------------------------------------------------------

    async def GetCycle(self, request: pb.GetCycleRequest, context: Context) -> pb.GetCycleResponse:
        cycle_id = id_of(request, "cycle_id")
        await self._reader.caught_up(request.min_positions)
        row = await self._certain(read_model.cycle, cycle_id)
        if row is None:
            raise NotFoundError("cycle", cycle_id)
        return pb.GetCycleResponse(cycle=cycle_message(row))

    async def ListCycles(self, request: pb.ListCyclesRequest, context: Context) -> pb.ListCyclesResponse:
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        rows, token = page.cut(
            await read_model.cycles(self._reader, caller().organization_id, page), lambda row: [row["cycle_id"]]
        )
        return pb.ListCyclesResponse(cycles=[cycle_message(row) for row in rows], next_page_token=token)

    async def GetObjective(self, request: pb.GetObjectiveRequest, context: Context) -> pb.GetObjectiveResponse:
        objective_id = id_of(request, "objective_id")
        await self._reader.caught_up(request.min_positions)
        row = await self._certain(read_model.objective, objective_id)
        if row is None:
            raise NotFoundError("objective", objective_id)
        return pb.GetObjectiveResponse(objective=(await self._with_key_results([row]))[0])

    async def ListObjectives(self, request: pb.ListObjectivesRequest, context: Context) -> pb.ListObjectivesResponse:
        question = accept(ObjectivesQuestion, request)
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        rows, token = page.cut(
            await read_model.objectives(self._reader, caller().organization_id, question.cycle_id, page),
            lambda row: [row["objective_id"]],
        )
        return pb.ListObjectivesResponse(objectives=await self._with_key_results(rows), next_page_token=token)

    async def GetKeyResult(self, request: pb.GetKeyResultRequest, context: Context) -> pb.GetKeyResultResponse:
        key_result_id = id_of(request, "key_result_id")
        await self._reader.caught_up(request.min_positions)
        row = await self._certain(read_model.key_result, key_result_id, lambda row: bool(row["open"]))
        if row is None:
            raise NotFoundError("key result", key_result_id)
        return pb.GetKeyResultResponse(key_result=key_result_message(row))

    async def _with_key_results(self, rows: list[asyncpg.Record]) -> list[pb.Objective]:
        """Objectives with their key results, in two questions however many there are."""
        ids = [row["objective_id"] for row in rows]
        found = await read_model.key_results_of(self._reader, caller().organization_id, ids)
        by_objective: dict[UUID, list[asyncpg.Record]] = {objective_id: [] for objective_id in ids}
        for key_result in found:
            by_objective[key_result["objective_id"]].append(key_result)
        return [objective_message(row, by_objective[row["objective_id"]]) for row in rows]
