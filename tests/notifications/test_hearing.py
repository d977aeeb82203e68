"""What goals and checkins record becomes what people are told: once, over restarts and lost checkpoints."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from okr_chassis.rpc.commands import Execute
from okr_eventstore.executor import CommandExecutor
from okr_notifications import scheduler
from okr_notifications.subscribers import subscriptions
from tests.notifications.builders import (
    ANA,
    BEN,
    assigned,
    closed,
    corrected,
    day,
    defined,
    opened,
    recorded,
    revised,
)
from tests.notifications.hall import SHARD, Hall, hall, running


@pytest.fixture
async def house(fresh_dsn: str) -> AsyncIterator[Hall]:
    """Ana is accountable for an open key result; it is the beginning of its first day."""
    async with hall(fresh_dsn, day(0)) as house:
        for fact in (defined(), assigned(), opened()):
            await house.tell("goals", fact, day(0))
        yield house


async def a_quarter(house: Hall) -> None:
    """Everything that can be heard, in both logs."""
    await house.tell("checkins", recorded("30", on=50), day(50))
    await house.settle()
    await house.tell("checkins", recorded("55", on=52), day(52))
    await house.settle()
    await house.tell("checkins", recorded("10", on=40), day(53))
    await house.tell("checkins", corrected("56", on=52), day(53))
    await house.settle()
    await house.tell("goals", assigned(BEN), day(54))
    await house.tell("goals", revised(commit="80"), day(55))
    await house.settle()


TOLD = [
    ("became_accountable", ANA),
    ("fell_behind", ANA),
    ("commit_reached", ANA),
    ("became_accountable", BEN),
]


async def test_two_services_speak_and_one_inbox_tells(house: Hall) -> None:
    await a_quarter(house)
    assert await house.inbox() == TOLD


async def test_who_hears_everything_again_after_the_command_ids_have_expired_tells_nothing_twice(house: Hall) -> None:
    await a_quarter(house)
    before = await house.heads()
    notifications = house.databases["notifications"]
    await notifications.execute("DELETE FROM command")
    await notifications.execute("DELETE FROM checkpoint WHERE source <> 'notifications'")

    log = house.logs["notifications"]
    heard = [each for each in subscriptions(Execute("notifications", CommandExecutor(log))) if each.react is not None]
    async with running(heard, house.databases, house.logs) as runners:
        for runner in runners:
            assert await runner.caught_up(SHARD, before[runner.subscription.to], 20)

    assert await house.inbox() == TOLD
    assert await house.heads() == before


async def test_nothing_is_told_after_the_close(house: Hall) -> None:
    await house.tell("goals", closed(), day(1))
    await house.settle()
    await house.tell("checkins", recorded("1", on=90), day(90))
    assert await house.inbox() == [("became_accountable", ANA)]


# --- the sweep -------------------------------------------------------------------------------------


async def test_nobody_checks_in_and_the_sweep_tells_of_it_once(house: Hall) -> None:
    await house.settle()
    house.clock.set(day(9))
    assert await house.sweep().sweep() == 0
    house.clock.set(day(30))
    assert await house.sweep().sweep() == 1
    assert await house.inbox() == [("became_accountable", ANA), ("fell_behind", ANA)]
    house.clock.set(day(31))
    assert await house.sweep().sweep() == 0


async def test_sweeps_of_several_processes_at_the_same_time_tell_once(house: Hall) -> None:
    await house.settle()
    house.clock.set(day(30))
    await asyncio.gather(*(house.sweep().sweep() for _ in range(5)))
    assert await house.inbox() == [("became_accountable", ANA), ("fell_behind", ANA)]


async def test_a_sweep_looks_at_all_pages(house: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PAGE_KEY_RESULTS", 2)
    for number in range(1, 6):
        another = UUID(int=900 + number)
        for fact in (defined(), assigned(BEN), opened()):
            await house.tell("goals", replace(fact, key_result_id=another), day(0))
    await house.settle()
    house.clock.set(day(30))
    assert await house.sweep().sweep() == 6
    assert sorted(await house.inbox()).count(("fell_behind", BEN)) == 5


async def test_a_sweep_is_due_at_the_start_an_hour_later_and_when_the_clock_was_set_back(house: Hall) -> None:
    sweep = house.sweep()
    assert sweep.is_due()
    await sweep.sweep()
    assert not sweep.is_due()
    house.clock.advance(timedelta(minutes=59))
    assert not sweep.is_due()
    house.clock.advance(timedelta(minutes=1))
    assert sweep.is_due()
    house.clock.set(day(0) - timedelta(days=1))
    assert sweep.is_due()


async def test_the_sweep_comes_by_when_the_clock_has_moved_on(house: Hall) -> None:
    await house.settle()
    told = asyncio.Event()
    house.logs["notifications"].listen(lambda _: told.set())
    sweep = house.sweep()
    task = asyncio.create_task(sweep.run())
    try:
        house.clock.set(day(30))
        sweep.wake()
        await told.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await house.inbox() == [("became_accountable", ANA), ("fell_behind", ANA)]
