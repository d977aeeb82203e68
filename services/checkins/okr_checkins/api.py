"""The gRPC side of checkins."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
from grpc import aio

from okr.checkins.v1 import checkins_pb2 as pb
from okr.checkins.v1 import checkins_pb2_grpc
from okr.goals.v1 import goals_pb2
from okr_chassis.clock import Clock
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.messages import accept, etag, id_of, receipt, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.rpc.peers import Peers
from okr_chassis.sealing import Vault, stored
from okr_chassis.service import Reader
from okr_checkins import commands, read_model
from okr_checkins.decider import check_ins, not_open
from okr_contracts.errors import NotFoundError
from okr_eventstore.model import Done

Context = aio.ServicerContext[Any, Any]


class CheckInsService(checkins_pb2_grpc.CheckInsServiceServicer):
    """Translates requests in and answers out. What people write is sealed on the way in and opened on the way out."""

    def __init__(
        self, execute: Execute, reader: Reader, pages: Pages, clock: Clock, peers: Peers, vault: Vault
    ) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._clock = clock
        self._peers = peers
        self._vault = vault

    async def RecordCheckIn(self, request: pb.RecordCheckInRequest, context: Context) -> pb.RecordCheckInResponse:
        said = accept(commands.CheckInSaid, request, at=self._clock())
        done = await self._execute.or_as_before(request, self._record(said, request))
        return pb.RecordCheckInResponse(check_in_id=wire(said.check_in_id), receipt=receipt(done))

    async def CorrectCheckIn(self, request: pb.CorrectCheckInRequest, context: Context) -> pb.CorrectCheckInResponse:
        said = accept(commands.CorrectionSaid, request)
        done = await self._execute.or_as_before(request, self._correct(said, request))
        return pb.CorrectCheckInResponse(receipt=receipt(done))

    async def GetCheckIn(self, request: pb.GetCheckInRequest, context: Context) -> pb.GetCheckInResponse:
        check_in_id = id_of(request, "check_in_id")
        await self._reader.caught_up(request.min_positions)
        row = await read_model.check_in(self._reader, caller().organization_id, check_in_id)
        if row is None:
            raise NotFoundError("check in", check_in_id)
        (check_in,) = await self._messages([row])
        return pb.GetCheckInResponse(check_in=check_in)

    async def ListCheckIns(self, request: pb.ListCheckInsRequest, context: Context) -> pb.ListCheckInsResponse:
        key_result_id = id_of(request, "key_result_id")
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        organization_id = caller().organization_id
        # The standing is read first: an etag may be older than the rows beside it, never newer.
        standing = await read_model.standing_of(self._reader, organization_id, key_result_id)
        if standing is None:
            await self._from_goals(key_result_id)
            return pb.ListCheckInsResponse(etag=etag(0))
        rows = await read_model.check_ins_of(self._reader, organization_id, key_result_id, page)
        shown, token = page.cut(rows, lambda row: (row["check_in_id"],))
        there_is_one = standing["check_in_id"] is not None
        messages = await self._messages([*shown, standing] if there_is_one else shown)
        return pb.ListCheckInsResponse(
            check_ins=messages[: len(shown)],
            next_page_token=token,
            etag=etag(standing["stream_version"]),
            latest=messages[-1] if there_is_one else None,
            total_size=standing["total"],
        )

    async def _record(self, said: commands.CheckInSaid, request: pb.RecordCheckInRequest) -> Done:
        """Record, and where nobody here has heard of the key result, hear from goals whether it is open.

        News of an activation travel a moment; a check-in right behind it must not be refused for that.
        """
        note = await self._vault.seal(said.note, said.check_in_id, "note")
        # Every field but the note was validated a moment ago, and the note was made here.
        command = commands.RecordCheckIn.model_construct(**{**vars(said), "note": note})
        stream = check_ins.stream(command.key_result_id)
        try:
            return await self._execute(check_ins, stream, command, request)
        except NotFoundError:
            key_result = await self._from_goals(command.key_result_id)
        if not key_result.open:
            raise not_open(command.key_result_id)
        milestones = [(each.milestone_id, each.weight) for each in key_result.measurement.milestones]
        opening = accept(commands.OpenCheckIns, key_result, milestones=milestones)
        told = command.model_copy(update={"opening": opening})
        return await self._execute(check_ins, stream, told, request)

    async def _correct(self, said: commands.CorrectionSaid, request: pb.CorrectCheckInRequest) -> Done:
        sealed = {
            "note": await self._vault.seal(said.note, said.check_in_id, "note"),
            "reason": await self._vault.seal(said.reason, said.check_in_id, "reason"),
        }
        command = commands.CorrectCheckIn(**{**dict(said), **sealed})
        return await self._execute(check_ins, check_ins.stream(command.key_result_id), command, request)

    async def _messages(self, rows: Sequence[asyncpg.Record]) -> list[pb.CheckIn]:
        notes = await self._vault.open([(stored(row["note"]), row["check_in_id"], "note") for row in rows])
        return [_message(row, note) for row, note in zip(rows, notes, strict=True)]

    async def _from_goals(self, key_result_id: UUID) -> goals_pb2.KeyResult:
        """What goals says of a key result. Its refusal, NOT_FOUND above all, is our caller's answer too."""
        answer = await self._peers.goals.GetKeyResult(goals_pb2.GetKeyResultRequest(key_result_id=str(key_result_id)))
        return answer.key_result


def _message(row: asyncpg.Record, note: str) -> pb.CheckIn:
    return pb.CheckIn(
        check_in_id=wire(row["check_in_id"]),
        key_result_id=wire(row["key_result_id"]),
        value=wire(row["value"]),
        confidence=wire(row["confidence"]),
        note=note,
        person_id=wire(row["person_id"]),
        occurred_at=wire(row["checked_in_at"]),
        recorded_at=wire(row["known_at"]),
        corrected=row["corrected"],
    )
