"""The gRPC side of insights: two questions, each at any moment of the recorded past."""

from datetime import datetime
from typing import Any, Self

from grpc import aio
from pydantic import BaseModel, ConfigDict, model_validator

from okr.insights.v1 import insights_pb2 as pb
from okr.insights.v1 import insights_pb2_grpc
from okr_chassis.clock import Clock
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.fields import Id, OptionalId, OptionalMoment, invalid
from okr_chassis.rpc.messages import accept, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.sealing import Vault
from okr_chassis.service import Reader
from okr_insights import board, history
from okr_insights.messages import entry_message, key_result_message, objective_message
from okr_insights.moment import Moment

Context = aio.ServicerContext[Any, Any]


class Question(BaseModel):
    """What every read of insights may ask: how it was known at a moment that has come."""

    model_config = ConfigDict(frozen=True)

    now: datetime
    as_of: OptionalMoment

    @model_validator(mode="after")
    def _has_come(self) -> Self:
        if self.as_of is not None and self.as_of > self.now:
            raise invalid("as_of", f"lies after now, {wire(self.now)}; the future is not known", "AS_OF_IN_THE_FUTURE")
        return self

    @property
    def moment(self) -> Moment:
        return Moment(self.as_of or self.now, self.as_of)


class BoardQuestion(Question):
    cycle_id: OptionalId
    unit_id: OptionalId
    as_of_cycle_end: bool = False

    @model_validator(mode="after")
    def _one_moment_of_one_cycle(self) -> Self:
        if self.as_of_cycle_end and self.cycle_id is None:
            raise invalid("cycle_id", "is required: whose end is meant?", "REQUIRED")
        if self.as_of_cycle_end and self.as_of is not None:
            raise invalid("as_of", "is told by the end of the cycle; leave it out", "TWO_MOMENTS")
        return self


class HistoryQuestion(Question):
    key_result_id: Id


class InsightsService(insights_pb2_grpc.InsightsServiceServicer):
    """Translates questions in and answers out. What people wrote is opened here, and kept sealed everywhere else."""

    def __init__(self, reader: Reader, pages: Pages, clock: Clock, vault: Vault) -> None:
        self._reader = reader
        self._pages = pages
        self._clock = clock
        self._vault = vault

    async def GetBoard(self, request: pb.GetBoardRequest, context: Context) -> pb.GetBoardResponse:
        question = accept(BoardQuestion, request, now=self._clock())
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        moment = question.moment
        if question.as_of_cycle_end and question.cycle_id is not None:
            moment = await board.end_of_cycle(self._reader, caller().organization_id, question.cycle_id)
        found = await board.read_board(
            self._reader,
            caller().organization_id,
            moment,
            cycle_id=question.cycle_id,
            unit_id=question.unit_id,
            after=board.Cursor.read(page.after) if page.after else None,
            limit=page.limit,
        )
        objectives, token = page.cut(found.objectives, lambda last: board.Cursor.behind(last).written())
        cycle = found.cycle
        return pb.GetBoardResponse(
            organization_name=found.organization_name,
            cycle_id=wire(cycle.cycle_id) if cycle else "",
            cycle_name=cycle.name if cycle else "",
            cycle_starts_on=wire(cycle.starts_on) if cycle else "",
            cycle_ends_on=wire(cycle.ends_on) if cycle else "",
            cycle_state=cycle.state if cycle else "",
            rule_version=cycle.parameters.version if cycle else "",
            as_of=wire(moment.at),
            objectives=[objective_message(objective) for objective in objectives],
            next_page_token=token,
        )

    async def GetKeyResultHistory(
        self, request: pb.GetKeyResultHistoryRequest, context: Context
    ) -> pb.GetKeyResultHistoryResponse:
        question = accept(HistoryQuestion, request, now=self._clock())
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        found = await history.read_history(
            self._reader,
            caller().organization_id,
            question.key_result_id,
            question.moment,
            after=history.Cursor.read(page.after) if page.after else None,
            limit=page.limit,
        )
        entries, token = page.cut(found.entries, lambda last: history.Cursor.behind(last).written())
        texts = await self._vault.open([history.words(entry, question.key_result_id) for entry in entries])
        return pb.GetKeyResultHistoryResponse(
            key_result=key_result_message(found.key_result),
            entries=[entry_message(entry, text) for entry, text in zip(entries, texts, strict=True)],
            next_page_token=token,
        )
