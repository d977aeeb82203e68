"""What checkins hears: its own log for its read models, goals to know which key results take values and who is to
check them in, directory for where the people are."""

from collections.abc import Sequence

from okr_chassis.rpc.commands import Execute
from okr_checkins import read_model
from okr_checkins.commands import CloseCheckIns, OpenCheckIns
from okr_checkins.decider import check_ins
from okr_checkins.rhythm import replica
from okr_contracts.goals import KeyResultClosed, KeyResultOpened
from okr_eventstore.model import RecordedEvent
from okr_eventstore.runner import Subscription, each_stream


def subscriptions(execute: Execute) -> list[Subscription]:
    async def duty(event: RecordedEvent) -> None:
        match event.data:
            case KeyResultOpened() as fact:
                command: OpenCheckIns | CloseCheckIns = OpenCheckIns(
                    key_result_id=fact.key_result_id,
                    objective_id=fact.objective_id,
                    starts_on=fact.starts_on,
                    type=fact.type,
                    milestones=tuple((each.milestone_id, each.weight) for each in fact.milestones),
                )
            case KeyResultClosed() as fact:
                command = CloseCheckIns(key_result_id=fact.key_result_id)
            case _:
                return
        await execute.for_event(event, check_ins, check_ins.stream(fact.key_result_id), command, "duty")

    async def duties(events: Sequence[RecordedEvent]) -> None:
        await each_stream(events, duty)

    return [
        Subscription("checkins.check_ins", to="checkins", projection=read_model.check_ins),
        Subscription("checkins.rhythm", to="checkins", projection=replica.rhythm),
        Subscription("checkins.duties", to="goals", react=duties),
        Subscription("checkins.goals", to="goals", projection=replica.goals),
        Subscription("checkins.directory", to="directory", projection=replica.directory),
    ]
