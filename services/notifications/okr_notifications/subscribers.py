"""What notifications hears: goals and checkins for its watchers and reminders, its own log for the inboxes."""

import asyncio
from collections.abc import Sequence
from typing import get_args
from uuid import UUID

from okr_chassis.clock import Clock, system_clock
from okr_chassis.rpc.commands import Execute
from okr_contracts.checkins import DutyEvent
from okr_eventstore.model import RecordedEvent
from okr_eventstore.runner import Subscription, each_stream
from okr_notifications import read_model
from okr_notifications.commands import Fact, Hear
from okr_notifications.decider import watch
from okr_notifications.nudges import Remind, nudges, reminder_of

_FACTS = get_args(Fact)
_DUTIES = get_args(DutyEvent)
PEOPLE_AT_ONCE = 16


def subscriptions(execute: Execute, clock: Clock = system_clock) -> list[Subscription]:
    def hearing(service: str) -> Subscription:
        async def hear(event: RecordedEvent) -> None:
            fact = event.data
            if isinstance(fact, _FACTS):
                command = Hear(fact, service, event.position, event.event_id, event.recorded_at)
                await execute.for_event(event, watch, watch.stream(fact.key_result_id), command, "hear")

        async def hear_all(events: Sequence[RecordedEvent]) -> None:
            await each_stream(events, hear)

        return Subscription(f"notifications.{service}", to=service, react=hear_all)

    async def remind(reminders: Sequence[tuple[RecordedEvent, Remind]], room: asyncio.Semaphore) -> None:
        async with room:
            for event, reminder in sorted(reminders, key=lambda each: each[1].weight, reverse=True):
                stream = nudges.stream(reminder.person_id)
                await execute.for_event(event, nudges, stream, reminder, "remind")

    async def remind_all(events: Sequence[RecordedEvent]) -> None:
        """One after the other for each person, whose limits count them; side by side for different people.

        What weighs most goes first, since of one subject a person hears once a day.
        """
        by_person: dict[tuple[UUID, UUID], list[tuple[RecordedEvent, Remind]]] = {}
        for event in events:
            fact = event.data
            if isinstance(fact, _DUTIES):
                reminder = reminder_of(fact, event.event_id, event.recorded_at, clock())
                if reminder is not None:
                    person = event.organization_id, reminder.person_id
                    by_person.setdefault(person, []).append((event, reminder))
        room = asyncio.Semaphore(PEOPLE_AT_ONCE)
        work = (remind(reminders, room) for reminders in by_person.values())
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    return [
        Subscription("notifications.inbox", to="notifications", projection=read_model.inbox),
        hearing("goals"),
        hearing("checkins"),
        Subscription("notifications.reminders", to="checkins", react=remind_all),
    ]
