"""What notifications hears: goals and checkins for its watchers, its own log for the inboxes."""

from collections.abc import Sequence
from typing import get_args

from okr_chassis.commands import Execute
from okr_eventstore.model import RecordedEvent
from okr_eventstore.runner import Subscription, each_stream
from okr_notifications import read_model
from okr_notifications.commands import Fact, Hear
from okr_notifications.decider import watch

_FACTS = get_args(Fact)


def subscriptions(execute: Execute) -> list[Subscription]:
    def hearing(service: str) -> Subscription:
        async def hear(event: RecordedEvent) -> None:
            fact = event.data
            if isinstance(fact, _FACTS):
                command = Hear(fact, service, event.position, event.event_id, event.recorded_at)
                await execute.for_event(event, watch, watch.stream(fact.key_result_id), command, "hear")

        async def hear_all(events: Sequence[RecordedEvent]) -> None:
            await each_stream(events, hear)

        return Subscription(f"notifications.{service}", to=service, react=hear_all)

    return [
        Subscription("notifications.inbox", to="notifications", projection=read_model.inbox),
        hearing("goals"),
        hearing("checkins"),
    ]
