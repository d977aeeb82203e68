"""Carries out accepted imports, one objective after the other, to the end.

It hears the acceptance on goals' own log. Every step is safe to repeat: a step's command id is derived
from the event that asks for it, and a step that was done before, however long ago, finds nothing left
to do. So it survives being stopped anywhere, and being told the same event twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import grpc

from okr.alignment.v1 import alignment_pb2
from okr.checkins.v1 import checkins_pb2
from okr.common.v1 import common_pb2
from okr_chassis.identity.auth import PERSON_PREFIX, Caller, calling
from okr_chassis.rpc.bulk import answer_of, execute_all
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.errors import CommandRefusedError, NotCaughtUpError, Refusal, refusal_of
from okr_chassis.rpc.messages import wire
from okr_chassis.rpc.peers import Peers
from okr_chassis.service import Reader
from okr_contracts.errors import OkrError
from okr_contracts.goals import ImportAccepted, ImportObjectivePlanned, PlannedKeyResult
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import Done, RecordedEvent
from okr_eventstore.runner import each_stream
from okr_goals.decider.cycle import ActivateCycle, Cycle, DraftCycle, cycles, pinned
from okr_goals.decider.import_plan import RecordApplied, RefusedRow, imports
from okr_goals.decider.objective import carry_out, objectives
from okr_goals.importing import names
from okr_goals.importing.plan import apply_command
from okr_goals.read_model import latest

KEPT_IMPORTS = 64
REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
"""A peer's final no: the row is refused. Any other failure is the runner's to wait out or to show."""


class Carrier:
    """The process manager of imports. It acts for the person who imported."""

    def __init__(self, execute: Execute, reader: Reader, peers: Peers) -> None:
        self._execute = execute
        self._reader = reader
        self._peers = peers
        self._accepted: OrderedDict[UUID, ImportAccepted] = OrderedDict()

    async def react(self, events: Sequence[RecordedEvent]) -> None:
        """Objectives of one import take their turns in order, so that parents stand before their children ask."""
        await each_stream(events, self._hear)

    async def _hear(self, event: RecordedEvent) -> None:
        match event.data:
            case ImportAccepted() as accepted:
                await self._begin(event, accepted)
            case ImportObjectivePlanned() as planned:
                with calling(_importer(event)):
                    await self._carry_out(event, planned)
            case _:
                pass

    async def _begin(self, event: RecordedEvent, accepted: ImportAccepted) -> None:
        stream = cycles.stream(accepted.cycle_id)
        draft = DraftCycle(
            cycle_id=accepted.cycle_id,
            name=accepted.cycle_name,
            starts_on=accepted.cycle_starts_on,
            ends_on=accepted.cycle_ends_on,
        )
        try:
            await self._execute.for_event(event, cycles, stream, draft, "draft cycle")
            activate = ActivateCycle(cycle_id=accepted.cycle_id, rules=pinned())
            await self._execute.for_event(event, cycles, stream, activate, "activate cycle")
        except OkrError:
            pass  # the cycle was closed or taken meanwhile: each row will be told so in its turn

    async def _carry_out(self, event: RecordedEvent, planned: ImportObjectivePlanned) -> None:
        accepted = await self._acceptance(event, planned.import_id)
        cycle = (await self._execute.load(cycles, cycles.stream(accepted.cycle_id))).state
        done, refused = await self._apply(event, planned, accepted, cycle)
        if len(refused) < len(planned.key_results):
            await self._heard(done)
        positions: list[str] = []
        errand = _Errand(event, planned, accepted, self._peers, refused, positions)
        await errand.align()
        await errand.check_in()
        record = RecordApplied(
            import_id=planned.import_id,
            objective_id=planned.objective_id,
            refused=tuple(refused[row] for row in sorted(refused)),
            positions=latest(positions),
        )
        await self._execute.for_event(
            event, imports, imports.stream(planned.import_id), record, f"applied {planned.objective_id}"
        )

    async def _apply(
        self, event: RecordedEvent, planned: ImportObjectivePlanned, accepted: ImportAccepted, cycle: Cycle
    ) -> tuple[Done, dict[int, RefusedRow]]:
        """All that the objective's own stream is asked for, in one append, and the rows its rules refuse."""
        command = apply_command(planned, accepted.cycle_id, cycle, accepted.source)
        stream = objectives.stream(planned.objective_id)
        done = await self._execute.for_event(event, objectives, stream, command, "apply")
        state = (await self._execute.load(objectives, stream)).state
        refusals = carry_out(state, command)[1]
        return done, {
            refusal.row: RefusedRow(row=refusal.row, reason=refusal.error.reason, message=refusal.error.message)
            for refusal in refusals
        }

    async def _acceptance(self, event: RecordedEvent, import_id: UUID) -> ImportAccepted:
        kept = self._accepted.get(import_id)
        if kept is not None:
            return kept
        loaded = await self._execute.load(imports, event.stream_id, at_version=1)
        assert loaded.state.accepted is not None, "the first event of an import is its acceptance"
        self._accepted[import_id] = loaded.state.accepted
        while len(self._accepted) > KEPT_IMPORTS:
            self._accepted.popitem(last=False)
        return loaded.state.accepted

    async def _heard(self, done: Done) -> None:
        """Those we are about to call may ask us back what they have not heard of yet: we should know by then."""
        try:
            await self._reader.caught_up([done.token])
        except NotCaughtUpError as error:
            raise StoreUnavailableError(str(error)) from error  # the runner waits and comes again


class _Errand:
    """What one objective needs from other services. A row that is refused once is not tried further."""

    def __init__(
        self,
        event: RecordedEvent,
        planned: ImportObjectivePlanned,
        accepted: ImportAccepted,
        peers: Peers,
        refused: dict[int, RefusedRow],
        positions: list[str],
    ) -> None:
        self._event = event
        self._planned = planned
        self._accepted = accepted
        self._peers = peers
        self._refused = refused
        self._positions = positions

    async def align(self) -> None:
        planned = self._planned
        rows = [key_result.row for key_result in planned.key_results if key_result.row not in self._refused]
        if planned.parent_objective_id is None or not rows:
            return
        request = alignment_pb2.AlignRequest(
            request_id=self._request_id("align", planned.objective_id),
            cycle_id=str(self._accepted.cycle_id),
            objective_id=str(planned.objective_id),
            parent_objective_id=str(planned.parent_objective_id),
        )
        try:
            answer = await self._peers.alignment.Align(request)
            self._positions.append(answer.receipt.position)
        except grpc.aio.AioRpcError as error:
            self._refuse(rows[0], error, refusal_of(error))

    async def check_in(self) -> None:
        """Record the sheet's current values, in one call, but for key results that stand there already."""
        asked = [each for each in self._planned.key_results if each.row not in self._refused]
        moved = await asyncio.gather(*map(self._has_moved, asked))
        wanted = [key_result for key_result, has_moved in zip(asked, moved, strict=True) if has_moved]
        outcomes = await execute_all(self._peers.commands("checkins"), [self._recording(each) for each in wanted])
        for key_result, outcome in zip(wanted, outcomes, strict=True):
            try:
                self._positions.append(answer_of(outcome, checkins_pb2.RecordCheckInResponse).receipt.position)
            except CommandRefusedError as error:
                self._refuse(key_result.row, error, error.refusal)

    async def _has_moved(self, key_result: PlannedKeyResult) -> bool:
        """Whether the sheet has a value, and another one than the check-in that was true last."""
        if key_result.current is None:
            return False
        request = checkins_pb2.ListCheckInsRequest(
            key_result_id=str(key_result.key_result_id), page=common_pb2.PageRequest(size=1)
        )
        try:
            answer = await self._peers.checkins.ListCheckIns(request)
        except grpc.aio.AioRpcError as error:
            self._refuse(key_result.row, error, refusal_of(error))
            return False
        return not answer.HasField("latest") or Decimal(answer.latest.value) != key_result.current

    def _recording(self, key_result: PlannedKeyResult) -> checkins_pb2.RecordCheckInRequest:
        check_in_id = names.check_in_id(key_result.key_result_id, self._planned.import_id, key_result.row)
        return checkins_pb2.RecordCheckInRequest(
            request_id=self._request_id("check in", check_in_id),
            check_in_id=str(check_in_id),
            key_result_id=str(key_result.key_result_id),
            value=wire(key_result.current),
            confidence=wire(key_result.confidence),
            note=f"import {self._accepted.source}, row {key_result.row}",
        )

    def _refuse(self, row: int, error: Exception, refusal: Refusal) -> None:
        if refusal.code not in REFUSALS:
            raise error
        self._refused.setdefault(row, RefusedRow(row=row, reason=refusal.reason, message=refusal.message))

    def _request_id(self, *purpose: object) -> str:
        return str(names.request_id(self._planned.import_id, self._event.actor, *purpose))


def _importer(event: RecordedEvent) -> Caller:
    """Whoever imported, as their own calls would name them."""
    person = event.actor.removeprefix(PERSON_PREFIX) if event.actor.startswith(PERSON_PREFIX) else None
    return Caller(event.organization_id, None if person is None else UUID(person), event.actor)
