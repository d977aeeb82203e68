"""Looks at the world for a plan: our own streams and read model, directory, alignment."""

import asyncio
from collections.abc import Collection
from datetime import date
from uuid import UUID

import grpc

from okr.alignment.v1 import alignment_pb2
from okr.common.v1 import common_pb2
from okr.directory.v1 import directory_pb2
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.peers import Peers
from okr_goals import read_model, replica
from okr_goals.decider.cycle import Cycle, cycles
from okr_goals.decider.objective import Objective, objectives
from okr_goals.importing import names
from okr_goals.importing.world import KnownPerson, World
from okr_goals.read_model import Reads

PAGE = 1000
STREAMS_AT_ONCE = 4
"""How many objectives are read at the same time: what a pool of connections bears beside other work."""


class Observatory:
    """Looks at the world for a plan, on behalf of the running call."""

    def __init__(self, execute: Execute, reads: Reads, peers: Peers) -> None:
        self._execute = execute
        self._reads = reads
        self._peers = peers

    async def look(self, cycle_name: str, starts_on: date, titles: Collection[str], today: date) -> World:
        """Everything a plan for this cycle with objectives of these titles may meet."""
        organization_id = caller().organization_id
        name = await self._organization_name()
        if name is None:
            return World(organization_id, None, today)
        units, people = await asyncio.gather(self._units(), self._people())
        cycle_id, cycle = await self._cycle(cycle_name, starts_on)
        if cycle_id is None:
            return World(organization_id, name, today, units, people)
        rows = await read_model.objectives_of_cycle(self._reads, organization_id, cycle_id)
        wanted = {names.same(title) for title in titles}
        ids: dict[tuple[UUID, str], UUID] = {}
        # Of several with one title the open one is meant; the order of ids only makes the choice repeatable.
        for row in sorted(rows, key=lambda row: (row["state"] == "closed", row["objective_id"])):
            ids.setdefault((row["unit_id"], names.same(row["title"])), row["objective_id"])
        loaded = await self._objectives([each for (_, title), each in ids.items() if title in wanted])
        key_results = [each for objective in loaded.values() for each in objective.key_results]
        return World(
            organization_id=organization_id,
            organization_name=name,
            today=today,
            units=units,
            people=people,
            cycle_id=cycle_id,
            cycle=cycle,
            objective_ids=ids,
            objectives=loaded,
            parents=await self._parents(cycle_id),
            last_values=await replica.last_values(self._reads, organization_id, key_results),
        )

    async def _organization_name(self) -> str | None:
        try:
            answer = await self._peers.directory.GetOrganization(directory_pb2.GetOrganizationRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return answer.organization.name

    async def _units(self) -> dict[UUID, str]:
        found: dict[UUID, str] = {}
        request = directory_pb2.ListUnitsRequest(page=common_pb2.PageRequest(size=PAGE))
        while True:
            answer = await self._peers.directory.ListUnits(request)
            found |= {UUID(unit.unit_id): unit.name for unit in answer.units}
            if not answer.next_page_token:
                return found
            request.page.token = answer.next_page_token

    async def _people(self) -> dict[UUID, KnownPerson]:
        found: dict[UUID, KnownPerson] = {}
        request = directory_pb2.ListPeopleRequest(page=common_pb2.PageRequest(size=PAGE))
        while True:
            answer = await self._peers.directory.ListPeople(request)
            for person in answer.people:
                person_id = UUID(person.person_id)
                found[person_id] = KnownPerson(person_id, person.handle, person.name, person.email)
            if not answer.next_page_token:
                return found
            request.page.token = answer.next_page_token

    async def _cycle(self, name: str, starts_on: date) -> tuple[UUID | None, Cycle]:
        """The cycle of this name, the one with this first day where there are several; by its stream."""
        organization_id = caller().organization_id
        rows = await read_model.cycles_called(self._reads, organization_id, name)
        chosen = min(rows, key=lambda row: row["starts_on"] != starts_on, default=None)
        cycle_id = names.cycle_id(organization_id, name) if chosen is None else chosen["cycle_id"]
        cycle = (await self._execute.load(cycles, cycles.stream(cycle_id))).state
        return (None, cycle) if cycle.state == "none" else (cycle_id, cycle)

    async def _objectives(self, ids: Collection[UUID]) -> dict[UUID, Objective]:
        found: dict[UUID, Objective] = {}
        queue = iter(ids)

        async def work() -> None:
            for objective_id in queue:
                found[objective_id] = (await self._execute.load(objectives, objectives.stream(objective_id))).state

        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMS_AT_ONCE):
                group.create_task(work())
        return found

    async def _parents(self, cycle_id: UUID) -> dict[UUID, UUID]:
        found: dict[UUID, UUID] = {}
        request = alignment_pb2.GetTreeRequest(cycle_id=str(cycle_id), page=common_pb2.PageRequest(size=PAGE))
        while True:
            answer = await self._peers.alignment.GetTree(request)
            found |= {UUID(edge.objective_id): UUID(edge.parent_objective_id) for edge in answer.edges}
            if not answer.next_page_token:
                return found
            request.page.token = answer.next_page_token
