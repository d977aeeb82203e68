"""The gRPC side of the rhythm: how often a cycle is checked in, and who is to check in by when."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
from grpc import aio
from msgspec.structs import replace

from okr.checkins.v1 import rhythm_pb2 as pb
from okr.checkins.v1 import rhythm_pb2_grpc
from okr.goals.v1 import goals_pb2
from okr_chassis.clock import Clock
from okr_chassis.identity.auth import PermissionDeniedError, caller
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.messages import accept, check, enum_value, id_of, receipt, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.rpc.peers import Peers
from okr_chassis.service import Reader
from okr_checkins.rhythm import queries
from okr_checkins.rhythm.agenda import Answers, Asked, AtHand, at_hand
from okr_checkins.rhythm.cadence import WEEKDAYS, CadenceSaid, ChooseCadence, cadences
from okr_checkins.rhythm.calendar import Plan, plan_of, rhythms_of, zone_of
from okr_eventstore.model import Done
from okr_rules.cadence import Calendar
from okr_rules.parameters import DEFAULTS

Context = aio.ServicerContext[Any, Any]


class RhythmService(rhythm_pb2_grpc.RhythmServiceServicer):
    """Translates requests in and answers out."""

    def __init__(self, execute: Execute, reader: Reader, pages: Pages, clock: Clock, peers: Peers) -> None:
        self._execute = execute
        self._reader = reader
        self._pages = pages
        self._clock = clock
        self._peers = peers

    async def GetCadence(self, request: pb.GetCadenceRequest, context: Context) -> pb.GetCadenceResponse:
        cycle_id = id_of(request, "cycle_id")
        await self._reader.caught_up(request.min_positions)
        plan, zone = await self._plan(await self._cycle(cycle_id))
        return pb.GetCadenceResponse(
            step_days=plan.step_days,
            weekday=enum_value(pb.Weekday, WEEKDAYS[plan.weekday], "WEEKDAY_"),
            is_default=plan.is_default,
            due_days=[wire(each.window.due_on) for each in plan.appointments],
            time_zone=zone,
        )

    async def ChooseCadence(self, request: pb.ChooseCadenceRequest, context: Context) -> pb.ChooseCadenceResponse:
        said = accept(CadenceSaid, request)
        done = await self._execute.or_as_before(request, self._choose(said, request))
        return pb.ChooseCadenceResponse(receipt=receipt(done))

    async def ListDuties(self, request: pb.ListDutiesRequest, context: Context) -> pb.ListDutiesResponse:
        check(request)
        whose = request.WhichOneof("whose")
        person_id = id_of(request, "person_id") if whose == "person_id" else None
        unit_id = id_of(request, "unit_id") if whose == "unit_id" else None
        if whose is None:
            person_id = caller().person_id
            if person_id is None:
                raise PermissionDeniedError("PERSON_REQUIRED", "a service owes no check-ins: say whose are meant")
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        rows = await queries.asked_of(
            self._reader,
            caller().organization_id,
            page.after_id,
            page.limit,
            holder_id=person_id,
            unit_id=unit_id,
        )
        shown, token = page.cut(rows, lambda row: [row["key_result_id"]])
        now = self._clock().astimezone(UTC)
        everybody = [queries.asked(row) for row in shown]
        answers = await queries.answers(self._reader, [(each, each.owed()) for each in everybody], now)
        duties = []
        for row, asked in zip(shown, everybody, strict=True):
            said = answers[queries.place_of(asked)]
            duty = at_hand(asked.owed(), asked.plan, said, now)
            if duty is not None:
                duties.append(_message(row, asked, said, duty, now))
        return pb.ListDutiesResponse(duties=duties, next_page_token=token, as_of=wire(now))

    async def _choose(self, said: CadenceSaid, request: pb.ChooseCadenceRequest) -> Done:
        """What is not said stays as it is, so that the rules are asked about a whole rhythm."""
        organization_id = caller().organization_id
        zone, everywhere, own = await queries.chosen(self._reader, organization_id, said.cycle_id)
        today = Calendar(zone_of(zone)).day_of(self._clock())
        if said.cycle_id is None:
            before = WEEKDAYS.index(everywhere[-1].weekday) if everywhere else DEFAULTS.due_weekday
            weekday = said.weekday or WEEKDAYS[before]
            command = ChooseCadence(None, None, said.step_days or None, weekday, today, said.confirmed)
            as_before = WEEKDAYS.index(weekday) == before and not said.step_days
        else:
            cycle = await self._cycle(said.cycle_id)
            days = _days(cycle)
            now = rhythms_of(*days, everywhere, own)[-1]
            step, weekday = said.step_days or now.step_days, said.weekday or WEEKDAYS[now.weekday]
            command = ChooseCadence(said.cycle_id, days, step, weekday, today, said.confirmed)
            as_before = (step, WEEKDAYS.index(weekday)) == (now.step_days, now.weekday)
        stream = cadences.stream(said.cycle_id or organization_id)
        return await self._execute(cadences, stream, replace(command, as_before=as_before), request)

    async def _cycle(self, cycle_id: UUID) -> goals_pb2.Cycle:
        """Goals' own answer. Its refusal, NOT_FOUND above all, is our caller's answer too."""
        answer = await self._peers.goals.GetCycle(goals_pb2.GetCycleRequest(cycle_id=str(cycle_id)))
        return answer.cycle

    async def _plan(self, cycle: goals_pb2.Cycle) -> tuple[Plan, str]:
        zone, everywhere, own = await queries.chosen(self._reader, caller().organization_id, UUID(cycle.cycle_id))
        return plan_of(*_days(cycle), zone, everywhere, own), zone


def _days(cycle: goals_pb2.Cycle) -> tuple[date, date]:
    return date.fromisoformat(cycle.starts_on), date.fromisoformat(cycle.ends_on)


def _message(row: asyncpg.Record, asked: Asked, said: Answers, duty: AtHand, now: datetime) -> pb.Duty:
    holder_id, role = asked.holder_at(now)
    due_at = duty.appointment.due_at
    return pb.Duty(
        key_result_id=wire(asked.key_result_id),
        key_result_title=asked.title,
        objective_id=wire(asked.objective_id),
        unit_id=wire(row["unit_id"]),
        cycle_id=wire(asked.cycle_id),
        holder_id=wire(holder_id),
        role=enum_value(pb.DutyRole, role, "DUTY_ROLE_"),
        state=enum_value(pb.DutyState, duty.state, "DUTY_STATE_"),
        due_on=wire(duty.appointment.window.due_on),
        closes_on=wire(duty.appointment.window.closes_on),
        next_due_on=wire(duty.next_due_on),
        last_check_in_at=wire(said.last_at),
        value_at=wire(row["checked_in_at"]),
        due_count=duty.due_count,
        on_time_count=duty.on_time_count,
        streak=duty.streak,
        missed_in_a_row=duty.missed_in_a_row,
        owed_by_id=wire(asked.holder_at(due_at)[0]) if due_at <= now else "",
    )
