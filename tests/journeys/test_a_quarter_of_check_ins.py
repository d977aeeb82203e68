"""A quarter of check-ins: asked for, made on time, made late, missed, handed over, and never asked for twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from okr.checkins.v1 import rhythm_pb2
from okr.goals.v1 import goals_pb2
from okr.notifications.v1 import notifications_pb2 as notes
from okr_chassis.clock import ManualClock
from okr_checkins.rhythm.scheduler import DutySweep
from okr_contracts.checkins import CheckInDue, CheckInMissed, CheckInOverdue
from okr_eventstore.model import RecordedEvent
from tests.conftest import fresh_database
from tests.journeys.town import NEW_YEAR, SERVICES, Town, organization_of_a_new_shard, settle_in
from tests.support.house import Desk, House, house, new_id

DUE = notes.NOTIFICATION_KIND_CHECK_IN_DUE
OVERDUE = notes.NOTIFICATION_KIND_CHECK_IN_OVERDUE
ESCALATED = notes.NOTIFICATION_KIND_CHECK_IN_ESCALATED
MISSED = notes.NOTIFICATION_KIND_CHECK_INS_MISSED
REMINDERS = {DUE, OVERDUE, ESCALATED, MISSED}


@pytest.fixture(scope="module")
async def quarter_house(
    postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[House, ManualClock]]:
    clock = ManualClock(NEW_YEAR)
    data_dir = tmp_path_factory.mktemp("quarter") / "data"
    async with fresh_database(postgres_dsn) as dsn, house(dsn, data_dir, SERVICES, clock) as built:
        yield built, clock


def at(day: str, hour: int = 9) -> datetime:
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


def sweep_of(place: Town) -> DutySweep:
    """The clock as one more copy of the service would run it: with a memory of its own."""
    host = place.house.platform.services["checkins"].host
    assert host.log is not None
    return DutySweep(host.log, host.reader, place.clock)


async def time_passes(place: Town, until: datetime) -> None:
    """It becomes that moment; two copies of the scheduler notice at once."""
    place.clock.set(until)
    await asyncio.gather(*(sweep_of(place).sweep() for _ in range(2)))
    await place.settle()


async def reminders(desk: Desk) -> list[tuple[int, str]]:
    """What somebody was reminded of, oldest first, and on which day."""
    answer = await desk.notifications.ListInbox(notes.ListInboxRequest())
    found = [(each.kind, each.occurred_at[:10]) for each in answer.notifications if each.kind in REMINDERS]
    return found[::-1]


async def duty(desk: Desk, **whose: Any) -> rhythm_pb2.Duty:
    (found,) = (await desk.rhythm.ListDuties(rhythm_pb2.ListDutiesRequest(**whose))).duties
    assert isinstance(found, rhythm_pb2.Duty)
    return found


def state(found: rhythm_pb2.Duty) -> tuple[str, str]:
    return rhythm_pb2.DutyState.Name(found.state).removeprefix("DUTY_STATE_").lower(), found.due_on


def due_on(event: RecordedEvent) -> str:
    assert isinstance(event.data, CheckInDue | CheckInOverdue | CheckInMissed)
    return f"{event.data.due_on}"


async def facts(place: Town) -> list[str]:
    """All that the duty stream tells, in a few words each."""
    log = place.house.platform.logs["checkins"]
    events = await log.read_stream(place.ana.organization_id, f"duty-{place.key_result_id}")
    told = []
    for event in events:
        days = getattr(event.data, "working_days", "")
        told.append(f"{event.type.removeprefix('CheckIn')}{days} {due_on(event)}")
    return told


async def hand_over(place: Town, successor: Desk) -> None:
    champion = goals_pb2.Champion(person_id=str(successor.person_id), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)
    await place.ana.goals.AssignChampion(
        goals_pb2.AssignChampionRequest(
            request_id=new_id(),
            objective_id=place.objective_id,
            key_result_id=place.key_result_id,
            champion=champion,
        )
    )
    await place.settle()


async def test_a_quarter(quarter_house: tuple[House, ManualClock]) -> None:
    built, clock = quarter_house
    place = await settle_in(built, clock, organization_of_a_new_shard())
    ana, ben = place.ana, place.ben
    await place.settle()

    # Before the first due day, nothing but a day to look forward to.
    await time_passes(place, at("2026-01-17"))
    assert state(await duty(ana)) == ("scheduled", "2026-01-20")
    await time_passes(place, at("2026-01-18"))
    assert state(await duty(ana)) == ("upcoming", "2026-01-20")
    assert await reminders(ana) == []

    # 20 January, nine in the morning: Ana is asked, and checks in the same evening.
    await time_passes(place, at("2026-01-20", 8))
    assert await reminders(ana) == []
    await time_passes(place, at("2026-01-20"))
    assert await reminders(ana) == [(DUE, "2026-01-20")]
    assert state(await duty(ana)) == ("due", "2026-01-20")
    clock.set(at("2026-01-20", 21))
    await place.check_in("21")
    await place.settle()
    answered = await duty(ana)
    assert state(answered) == ("on_time", "2026-01-20")
    assert (answered.due_count, answered.on_time_count, answered.streak) == (1, 1, 1)
    assert answered.next_due_on == "2026-02-03"
    await time_passes(place, at("2026-01-26"))

    # 3 February passes; a reminder on the next day, and a check-in that is late and counts.
    await time_passes(place, at("2026-02-03"))
    await time_passes(place, at("2026-02-04"))
    assert state(await duty(ana)) == ("overdue", "2026-02-03")
    assert await reminders(ana) == [(DUE, "2026-01-20"), (DUE, "2026-02-03"), (OVERDUE, "2026-02-04")]
    clock.set(at("2026-02-05", 15))
    await place.check_in("22")
    await time_passes(place, at("2026-02-06"))
    late = await duty(ana)
    assert state(late) == ("late", "2026-02-03")
    assert (late.due_count, late.on_time_count, late.streak) == (2, 1, 0)

    # A clock that was set back, and forth again, tells nothing twice.
    before = await facts(place)
    assert before == ["Due 2026-01-20", "Due 2026-02-03", "Overdue1 2026-02-03"]
    await time_passes(place, at("2026-01-19"))
    await time_passes(place, at("2026-02-06"))
    assert await facts(place) == before

    # Between two due days Ben takes over: from now on he is asked.
    await hand_over(place, ben)
    assert (await ana.rhythm.ListDuties(rhythm_pb2.ListDutiesRequest())).duties == []
    await time_passes(place, at("2026-02-17"))
    assert await reminders(ben) == [(DUE, "2026-02-17")]
    assert len(await reminders(ana)) == 3
    await time_passes(place, at("2026-02-18"))
    await time_passes(place, at("2026-02-20"))
    assert await reminders(ben) == [(DUE, "2026-02-17"), (OVERDUE, "2026-02-18"), (ESCALATED, "2026-02-20")]

    # Nobody checks in. The grace ends, the value grows stale, and with the next due day it is missed for good.
    await time_passes(place, at("2026-02-21"))
    assert state(await duty(ben)) == ("stale", "2026-02-17")
    await hand_over(place, ana)
    await time_passes(place, at("2026-03-04", 0))
    missed = await duty(ana)
    assert state(missed) == ("overdue", "2026-03-03")
    assert missed.missed_in_a_row == 1
    assert (await facts(place))[-2:] == ["Due 2026-03-03", "Missed 2026-02-17"]
    await time_passes(place, at("2026-03-18", 8))

    # Two in a row: Ana owns the objective, and is asked whether it still matters.
    assert (MISSED, "2026-03-18") in await reminders(ana)
    inbox = (await ana.notifications.ListInbox(notes.ListInboxRequest())).notifications
    told = next(each for each in inbox if each.kind == MISSED)
    assert "rule rhythm" in told.explanation
    assert "2 check-ins" in told.explanation

    # The record says who owed the first of them: Ben, whoever holds the role now.
    log = built.platform.logs["checkins"]
    events = await log.read_stream(ana.organization_id, f"duty-{place.key_result_id}")
    owed_by = {due_on(event): event.data.holder_id for event in events if isinstance(event.data, CheckInMissed)}
    assert owed_by == {"2026-02-17": ben.person_id, "2026-03-03": ana.person_id}

    # The end: nothing was told twice, and what is computed is never stored.
    await time_passes(place, at("2026-04-20"))
    told_once = await facts(place)
    assert len(told_once) == len(set(told_once))
    assert told_once.count("Missed 2026-03-31") == 1
