"""The gRPC side of alignment."""

import asyncio
from typing import Any
from uuid import UUID

from grpc import aio

from okr.alignment.v1 import alignment_pb2 as pb
from okr.alignment.v1 import alignment_pb2_grpc
from okr.goals.v1 import goals_pb2
from okr_alignment import commands, read_model
from okr_alignment.decider import alignments
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.messages import accept, etag, id_of, receipt, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.rpc.peers import Peers
from okr_chassis.service import Reader
from okr_contracts.errors import DomainError

Context = aio.ServicerContext[Any, Any]


class AlignmentService(alignment_pb2_grpc.AlignmentServiceServicer):
    """Translates requests in and answers out."""

    def __init__(self, execute: Execute, reader: Reader, pages: Pages, peers: Peers) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._peers = peers

    async def Align(self, request: pb.AlignRequest, context: Context) -> pb.AlignResponse:
        command = accept(commands.Align, request)
        await self._require_in_cycle(command.cycle_id, command.objective_id, command.parent_objective_id)
        done = await self._execute(alignments, alignments.stream(command.cycle_id), command, request)
        return pb.AlignResponse(receipt=receipt(done))

    async def Unalign(self, request: pb.UnalignRequest, context: Context) -> pb.UnalignResponse:
        command = accept(commands.Unalign, request)
        done = await self._execute(alignments, alignments.stream(command.cycle_id), command, request)
        return pb.UnalignResponse(receipt=receipt(done))

    async def GetTree(self, request: pb.GetTreeRequest, context: Context) -> pb.GetTreeResponse:
        cycle_id = id_of(request, "cycle_id")
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        organization_id = caller().organization_id
        # The version is read first: an etag may be older than the rows beside it, never newer.
        version = await read_model.version_of(self._reader, organization_id, cycle_id)
        if version is None:
            await self._peers.goals.GetCycle(goals_pb2.GetCycleRequest(cycle_id=str(cycle_id)))
        rows = await read_model.edges_of(self._reader, organization_id, cycle_id, page)
        shown, token = page.cut(rows, lambda row: (row["objective_id"],))
        return pb.GetTreeResponse(
            edges=[
                pb.Edge(objective_id=wire(row["objective_id"]), parent_objective_id=wire(row["parent_objective_id"]))
                for row in shown
            ],
            next_page_token=token,
            etag=etag(version or 0),
        )

    async def _require_in_cycle(self, cycle_id: UUID, *objective_ids: UUID) -> None:
        """Refuse objectives that do not exist or lie elsewhere. What is known stays true: no objective moves."""
        cycles = await read_model.cycles_of(self._reader, caller().organization_id, objective_ids)
        unheard_of = [each for each in dict.fromkeys(objective_ids) if each not in cycles]
        cycles.update(zip(unheard_of, await asyncio.gather(*map(self._cycle_from_goals, unheard_of)), strict=True))
        for objective_id in objective_ids:
            if cycles[objective_id] != cycle_id:
                raise DomainError(
                    "OBJECTIVE_IN_OTHER_CYCLE",
                    f"objective {objective_id} lies in cycle {cycles[objective_id]}, not in {cycle_id}; "
                    "align objectives of one cycle",
                )

    async def _cycle_from_goals(self, objective_id: UUID) -> UUID:
        """What goals says of an objective nobody here has heard of. Its refusal is our caller's answer too."""
        answer = await self._peers.goals.GetObjective(goals_pb2.GetObjectiveRequest(objective_id=str(objective_id)))
        return UUID(answer.objective.cycle_id)
