"""Who is reminded of a check-in, of what, and how rarely."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from okr_chassis.rpc.commands import Execute
from okr_contracts.checkins import CheckInDue, CheckInMissed, CheckInOverdue
from okr_contracts.notifications import NotificationRaised, NudgeEvent, NudgeSent, NudgeSuppressed
from okr_eventstore.executor import CommandExecutor
from okr_notifications.nudges import Remind, nudges, reminder_of
from okr_notifications.subscribers import subscriptions
from tests.notifications.builders import ANA, BEN, KEY_RESULT, OBJECTIVE
from tests.notifications.hall import SHARD, hall, running
from tests.support.spec import spec

CLEO = UUID(int=23)
CYCLE = UUID(int=3)
CAUSE = UUID(int=5000)
DUE_ON = date(2026, 1, 20)
NINE = datetime(2026, 1, 20, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def due(last: datetime | None = None, answered: bool = False, holder_id: UUID | None = ANA) -> CheckInDue:
    return CheckInDue(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        key_result_title="Win rate",
        due_on=DUE_ON,
        closes_on=date(2026, 1, 23),
        occurred_at=NINE,
        holder_id=holder_id,
        role="accountable",
        last_check_in_at=last,
        answered=answered,
    )


def overdue(working_days: int = 1, asked_id: UUID = ANA) -> CheckInOverdue:
    return CheckInOverdue(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        key_result_title="Win rate",
        due_on=DUE_ON,
        closes_on=date(2026, 1, 23),
        occurred_at=NINE + working_days * DAY,
        working_days=working_days,
        holder_id=ANA,
        asked_id=asked_id,
    )


def missed(in_a_row: int = 2) -> CheckInMissed:
    return CheckInMissed(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        key_result_title="Win rate",
        due_on=DUE_ON,
        occurred_at=NINE + 15 * DAY,
        in_a_row=in_a_row,
        holder_id=ANA,
        owner_id=CLEO,
    )


def reminder(fact: CheckInDue | CheckInOverdue | CheckInMissed, later: timedelta = timedelta(0)) -> Remind | None:
    at = fact.occurred_at + later
    return reminder_of(fact, CAUSE, at, at)


# --- who hears what --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "person_id", "kind"),
    [
        (due(), ANA, "check_in_due"),
        (overdue(1, ANA), ANA, "check_in_overdue"),
        (overdue(3, BEN), BEN, "check_in_escalated"),
        (missed(2), CLEO, "check_ins_missed"),
        (missed(4), CLEO, "check_ins_missed"),
    ],
)
def test_each_hears_of_what_is_theirs_with_the_rule_and_its_inputs(
    fact: CheckInDue | CheckInOverdue | CheckInMissed, person_id: UUID, kind: str
) -> None:
    told = reminder(fact)
    assert told is not None
    assert (told.person_id, told.kind) == (person_id, kind)
    assert "rule rhythm" in told.explanation
    assert "2026-01-20" in told.explanation
    assert "nobody has checked in yet" in told.explanation


def test_who_has_answered_or_checked_in_a_few_days_ago_is_left_in_peace() -> None:
    assert reminder(due(answered=True)) is None
    assert reminder(due(last=NINE - 4 * DAY)) is None
    told = reminder(due(last=NINE - 14 * DAY))
    assert told is not None
    assert "14 days ago" in told.explanation
    assert reminder(replace(overdue(3), last_check_in_at=NINE)) is None


def test_one_missed_check_in_is_nobodys_alarm_and_nobody_is_nobody() -> None:
    assert reminder(missed(1)) is None
    assert reminder(missed(3)) is None
    assert reminder(due(holder_id=None)) is None


def test_what_lies_days_back_is_no_news_however_late_it_was_recorded_or_heard() -> None:
    assert reminder(due(), later=3 * DAY) is not None
    assert reminder(due(), later=3 * DAY + timedelta(minutes=1)) is None
    assert reminder_of(due(), CAUSE, NINE, NINE + 4 * DAY) is None


# --- once, and rarely ------------------------------------------------------------------------------


def remind(number: int = 0, at: datetime = NINE, subject: UUID = KEY_RESULT) -> Remind:
    return Remind(
        ANA, "check_in_due", subject, OBJECTIVE, "Win rate", "How does it stand?", UUID(int=7000 + number), at
    )


def told_by(*commands: Remind) -> list[NudgeEvent]:
    events: list[NudgeEvent] = []
    for command in commands:
        events += nudges.decide(nudges.fold(events), command)
    return events


def sent(events: list[NudgeEvent]) -> int:
    raised = [event for event in events if isinstance(event, NotificationRaised)]
    assert len(raised) == len([event for event in events if isinstance(event, NudgeSent)])
    return len(raised)


def reasons(events: list[NudgeEvent]) -> list[str]:
    return [event.reason for event in events if isinstance(event, NudgeSuppressed)]


def test_the_same_cause_is_told_once() -> None:
    assert sent(told_by(remind(), remind())) == 1
    spec(nudges).given(*told_by(remind(), remind(1, NINE + DAY))).when(remind()).then_nothing()


def test_of_one_thing_a_person_hears_once_a_day() -> None:
    events = told_by(remind(0), remind(1, NINE + timedelta(hours=3)), remind(2, NINE + DAY))
    assert (sent(events), reasons(events)) == (2, ["one_a_day"])


def test_ten_reminders_a_week_are_enough_and_the_tenth_says_so() -> None:
    events = told_by(*(remind(number, NINE, UUID(int=900 + number)) for number in range(12)))
    assert (sent(events), reasons(events)) == (10, ["enough_this_week"] * 2)
    last = [event for event in events if isinstance(event, NotificationRaised)][-1]
    assert last.explanation.endswith("`okr due` shows.")
    spec(nudges).given(*events).when(remind(99, NINE + 7 * DAY)).then(*told_by(remind(99, NINE + 7 * DAY)))


def test_what_comes_again_after_it_was_forgotten_is_not_told_again() -> None:
    events = told_by(remind(0), remind(1, NINE + 20 * DAY))
    assert sent(events) == 2
    spec(nudges).given(*events).when(remind(0)).then_nothing()


# --- on real logs ----------------------------------------------------------------------------------


async def test_reminders_arrive_once_whatever_is_delivered_again(fresh_dsn: str) -> None:
    async with hall(fresh_dsn, NINE) as house:
        await house.tell("checkins", due(), NINE)
        await house.tell("checkins", replace(due(), key_result_id=UUID(int=77)), NINE)
        await house.settle()
        await house.tell("checkins", overdue(1), NINE + DAY)
        await house.tell("checkins", overdue(3, BEN), NINE + 3 * DAY)
        told = [("check_in_due", ANA), ("check_in_due", ANA), ("check_in_overdue", ANA), ("check_in_escalated", BEN)]
        assert await house.inbox() == told

        before = await house.heads()
        notifications = house.databases["notifications"]
        await notifications.execute("DELETE FROM command")
        await notifications.execute("DELETE FROM checkpoint WHERE source <> 'notifications'")
        execute = Execute("notifications", CommandExecutor(house.logs["notifications"]))
        heard = [each for each in subscriptions(execute, house.clock) if each.react is not None]
        async with running(heard, house.databases, house.logs) as runners:
            for runner in runners:
                assert await runner.caught_up(SHARD, before[runner.subscription.to], 20)
        assert await house.inbox() == told
        assert await house.heads() == before


async def test_a_history_written_in_a_burst_floods_no_inbox(fresh_dsn: str) -> None:
    """Eight weeks of due days are recorded now; what lies days back is history and no news."""
    now = NINE + 56 * DAY
    async with hall(fresh_dsn, now) as house:
        for number in range(4):
            shift = 14 * number * DAY
            old = replace(due(), occurred_at=NINE + shift, due_on=DUE_ON + shift)
            await house.tell("checkins", old, now)
        assert await house.inbox() == []
