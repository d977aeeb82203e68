"""Carries cycles over their thresholds: drafts come to life with their cycle, objectives end with it.

It hears on goals' own log that a cycle began, is being closed or was cancelled, and asks each objective for its
part. Every step is safe to repeat: a step's command id is derived from the event that asks for it, and a step
that was done before finds nothing left to do. So it survives being stopped anywhere, and being told the same
event twice; the cycle is closed by the last step alone.
"""

import contextlib
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import grpc

from okr.eventlog.v1 import eventlog_pb2
from okr_chassis.identity.auth import SERVICE_PREFIX, acting_for
from okr_chassis.news import News
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.errors import NotCaughtUpError, refusal_of
from okr_chassis.rpc.peers import Peers
from okr_contracts.errors import OkrError
from okr_contracts.goals import CycleActivated, CycleCancelled, CycleClosing
from okr_contracts.registry import EVENTS
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import Position, RecordedEvent, shard_of
from okr_eventstore.runner import each_stream
from okr_goals import read_model
from okr_goals.decider.commands import ActivateObjective, CancelObjective, CloseByGrades
from okr_goals.decider.cycle import ENDED, Cycle, RecordClosed, cycles
from okr_goals.decider.objective import objectives
from okr_goals.lifecycle.gate import Gate
from okr_goals.read_model import Reads

NO_ORGANIZATION = UUID(int=0)
"""In whose name a service asks how far a log goes: a shard belongs to many organisations."""
ANSWER_SECONDS = 10.0


class Steward:
    """The process manager of cycles. It acts for the service itself."""

    def __init__(self, execute: Execute, reads: Reads, news: News, peers: Peers, gate: Gate) -> None:
        self._execute = execute
        self._reads = reads
        self._news = news
        self._peers = peers
        self._gate = gate
        self._actor = f"{SERVICE_PREFIX}{execute.service}"

    async def react(self, events: Sequence[RecordedEvent]) -> None:
        await each_stream(events, self._hear)

    async def _hear(self, event: RecordedEvent) -> None:
        fact = event.data
        if not isinstance(fact, CycleActivated | CycleClosing | CycleCancelled):
            return
        with acting_for(event.organization_id, self._actor):
            cycle = (await self._execute.load(cycles, cycles.stream(fact.cycle_id))).state
            match fact:
                case CycleActivated() if cycle.published and cycle.state not in ENDED:
                    await self._begin(event, fact.cycle_id, cycle)
                case CycleClosing() if cycle.state == "closing":
                    await self._close(event, fact.cycle_id, cycle)
                case CycleCancelled():
                    await self._cancel(event, fact.cycle_id)
                case _:
                    pass  # drafts of a cycle that nobody published are activated one by one, and what ended has ended

    async def _begin(self, event: RecordedEvent, cycle_id: UUID, cycle: Cycle) -> None:
        """Activate the drafts that nothing blocks; the others wait for somebody to mend them."""
        for row in await self._objectives(event, cycle_id, "draft"):
            objective_id = row["objective_id"]
            if await self._gate.lets_pass(objective_id):
                command = ActivateObjective(objective_id=objective_id, cycle=cycle)
                with contextlib.suppress(OkrError):  # it was changed meanwhile and cannot begin as it is
                    await self._execute.for_event(event, objectives, objectives.stream(objective_id), command, "begin")

    async def _close(self, event: RecordedEvent, cycle_id: UUID, cycle: Cycle) -> None:
        for row in await self._objectives(event, cycle_id, "active"):
            objective_id = row["objective_id"]
            command = CloseByGrades(objective_id=objective_id, parameters=cycle.parameters)
            await self._execute.for_event(event, objectives, objectives.stream(objective_id), command, "close")
        record = RecordClosed(cycle_id=cycle_id, positions=await self._heads(event.organization_id))
        await self._execute.for_event(event, cycles, cycles.stream(cycle_id), record, "closed")

    async def _cancel(self, event: RecordedEvent, cycle_id: UUID) -> None:
        for row in await self._objectives(event, cycle_id, "draft", "active"):
            command = CancelObjective(objective_id=row["objective_id"])
            stream = objectives.stream(row["objective_id"])
            await self._execute.for_event(event, objectives, stream, command, "cancel")

    async def _objectives(self, event: RecordedEvent, cycle_id: UUID, *states: str) -> Sequence[asyncpg.Record]:
        """The objectives in these states, by a read model that knows all that happened until now."""
        try:
            await self._news.all_heard()
        except NotCaughtUpError as error:
            raise StoreUnavailableError(str(error)) from error  # the runner waits and comes again
        rows = await read_model.objectives_of_cycle(self._reads, event.organization_id, cycle_id)
        return [row for row in rows if row["state"] in states]

    async def _heads(self, organization_id: UUID) -> tuple[str, ...]:
        """How far the log of every service goes in the organisation's shard."""
        shard = shard_of(organization_id)
        found: list[str] = []
        for service in sorted(EVENTS):
            request = eventlog_pb2.GetHeadsRequest(service=service)
            try:
                with acting_for(NO_ORGANIZATION, self._actor):
                    answer = await self._peers.event_log(service).GetHeads(request, timeout=ANSWER_SECONDS)
            except grpc.aio.AioRpcError as error:
                if refusal_of(error).code == grpc.StatusCode.INVALID_ARGUMENT:
                    continue  # a platform that runs without this service has no log of it
                raise
            found += [
                str(Position(service, shard, head.epoch, head.position)) for head in answer.heads if head.shard == shard
            ]
        return tuple(found)
