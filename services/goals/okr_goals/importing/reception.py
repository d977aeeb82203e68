"""Accepts a plan as a whole or answers with every fault in it."""

import asyncio
from dataclasses import asdict
from datetime import UTC
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, field_validator

from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2 as pb
from okr_chassis.clock import Clock
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.bulk import answer_of, execute_all
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.fields import Day, Name, OptionalName, text
from okr_chassis.rpc.messages import accept, receipt
from okr_chassis.rpc.peers import Peers
from okr_contracts.errors import NotFoundError
from okr_contracts.goals import ImportAccepted
from okr_goals.decider.import_plan import AcceptImport, imports
from okr_goals.importing import names, sheet
from okr_goals.importing.observatory import Observatory
from okr_goals.importing.plan import Effects, Plan, make_plan
from okr_goals.importing.sheet import MAX_ROWS, Fault, SheetRow
from okr_goals.importing.world import World
from okr_goals.read_model import latest


class PlanRequest(BaseModel, frozen=True):
    """The request but for its rows, whose faults are answers rather than errors."""

    source: Annotated[str, text(200)]
    cycle_name: Name
    cycle_starts_on: Day
    cycle_ends_on: Day
    organization_name: OptionalName = None
    rows: tuple[Any, ...]
    validate_only: bool = False

    @field_validator("rows")
    @classmethod
    def _neither_none_nor_too_many(cls, rows: tuple[Any, ...]) -> tuple[Any, ...]:
        if not 1 <= len(rows) <= MAX_ROWS:
            raise ValueError(f"must be 1 to {MAX_ROWS}, found {len(rows)}")
        return rows


class Reception:
    """ImportPlan, from the request to the acceptance. What follows is the carrier's."""

    def __init__(self, execute: Execute, observatory: Observatory, peers: Peers, clock: Clock) -> None:
        self._execute = execute
        self._observatory = observatory
        self._peers = peers
        self._clock = clock

    async def import_plan(self, request: pb.ImportPlanRequest) -> pb.ImportPlanResponse:
        asked = accept(PlanRequest, request)
        rows, faults = sheet.read(request.rows)
        digest = sheet.digest(asked.cycle_name, asked.cycle_starts_on, asked.cycle_ends_on, rows)
        import_id = names.import_id(caller().organization_id, digest)
        if not faults and await self._accepted_before(import_id):
            return await self._nothing_new(import_id, asked, rows, request)
        today = self._clock().astimezone(UTC).date()
        world = await self._observatory.look(
            asked.cycle_name, asked.cycle_starts_on, {row.objective for row in rows}, today
        )
        if world.organization_name is None and asked.organization_name is None:
            raise NotFoundError("organization", caller().organization_id)
        mentioned = [cells.objective for cells in request.rows]
        cycle = (asked.cycle_name, asked.cycle_starts_on, asked.cycle_ends_on)
        # Half a second of work for the largest plans: others are answered meanwhile.
        plan = await asyncio.to_thread(make_plan, import_id, asked.source, cycle, rows, world, faults, mentioned)
        if plan.faults:
            return pb.ImportPlanResponse(import_id=str(import_id), faults=[_fault(each) for each in plan.faults])
        if asked.validate_only:
            return pb.ImportPlanResponse(import_id=str(import_id), effects=_effects(plan.effects))
        positions = await self._settle(import_id, asked, plan, world)
        accepted = ImportAccepted(
            import_id=import_id,
            source=asked.source,
            cycle_id=plan.cycle_id,
            cycle_name=world.cycle.name or asked.cycle_name,
            cycle_starts_on=asked.cycle_starts_on,
            cycle_ends_on=asked.cycle_ends_on,
            rows=len(rows),
            units=tuple(plan.units.items()),
            objectives=len(plan.objectives),
            positions=positions,
        )
        command = AcceptImport(accepted=accepted, objectives=tuple(plan.objectives))
        return await self._answer(import_id, command, plan.effects, request)

    async def _accepted_before(self, import_id: UUID) -> bool:
        """The first event tells; the whole stream may be long."""
        return (await self._execute.load(imports, imports.stream(import_id), at_version=1)).version > 0

    async def _nothing_new(
        self, import_id: UUID, asked: PlanRequest, rows: list[SheetRow], request: pb.ImportPlanRequest
    ) -> pb.ImportPlanResponse:
        """The same plan was accepted before, however long ago: it changes nothing, whatever has changed since."""
        effects = Effects(unchanged_rows=len(rows))
        if asked.validate_only:
            return pb.ImportPlanResponse(import_id=str(import_id), effects=_effects(effects))
        found = await self._execute.load(imports, imports.stream(import_id), at_version=1)
        assert found.state.accepted is not None, "the first event of an import is its acceptance"
        command = AcceptImport(accepted=found.state.accepted, objectives=())
        return await self._answer(import_id, command, effects, request)

    async def _answer(
        self, import_id: UUID, command: AcceptImport, effects: Effects, request: pb.ImportPlanRequest
    ) -> pb.ImportPlanResponse:
        """Append, and answer as the first time when the request was sent before: its effects lie with the command."""
        told = _effects(effects)
        done = await self._execute(
            imports, imports.stream(import_id), command, request, reply=told.SerializeToString(deterministic=True)
        )
        if done.reply is not None:
            told = pb.PlanEffects.FromString(done.reply)
        return pb.ImportPlanResponse(import_id=str(import_id), effects=told, receipt=receipt(done))

    # --- master data -----------------------------------------------------------------------------

    async def _settle(self, import_id: UUID, asked: PlanRequest, plan: Plan, world: World) -> tuple[str, ...]:
        """Found the organisation, add its units, register its people: all before the acceptance.

        People's names must not enter the log, so they cannot wait for the carrier. Should we stop in
        between, there are units and people more and nothing else; the next attempt finds them.
        """
        positions: list[str] = []
        if world.organization_name is None:
            founded = await self._peers.directory.FoundOrganization(
                directory_pb2.FoundOrganizationRequest(
                    request_id=self._request_id(import_id, "found"), name=asked.organization_name or ""
                )
            )
            positions.append(founded.receipt.position)
        units = [
            directory_pb2.AddUnitRequest(
                request_id=self._request_id(import_id, "unit", unit_id),
                unit_id=str(unit_id),
                name=name,
                kind=directory_pb2.UNIT_KIND_DEPARTMENT,
            )
            for unit_id, name in plan.units.items()
        ]
        people = [
            directory_pb2.RegisterPersonRequest(
                request_id=self._request_id(import_id, "person", person.person_id),
                person_id=str(person.person_id),
                handle=person.handle,
                name=person.name,
                email=person.email,
                unit_id=str(person.unit_id or ""),
            )
            for person in plan.people
        ]
        send = self._peers.commands("directory")
        added = await execute_all(send, units)
        positions += [answer_of(each, directory_pb2.AddUnitResponse).receipt.position for each in added]
        registered = await execute_all(send, people)
        positions += [answer_of(each, directory_pb2.RegisterPersonResponse).receipt.position for each in registered]
        return latest(positions)

    def _request_id(self, import_id: UUID, *purpose: object) -> str:
        return str(names.request_id(import_id, caller().actor, *purpose))


def _fault(fault: Fault) -> pb.PlanFault:
    return pb.PlanFault(row=fault.row, column=fault.column, reason=fault.reason, message=fault.message)


def _effects(effects: Effects) -> pb.PlanEffects:
    return pb.PlanEffects(**asdict(effects))
