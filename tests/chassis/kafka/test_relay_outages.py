"""Brokers die, fall silent and come back under load: the log takes commands, and Kafka has them all in the end."""

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import UUID

import pytest

from okr_chassis.kafka import publishing, tail
from okr_chassis.kafka import relay as relay_module
from okr_chassis.kafka.relay import Relay
from okr_chassis.kafka.topics import provision
from okr_eventstore.database import Database
from tests.eventstore.garden import Garden, Watered
from tests.support.kafka import LocalBroker
from tests.support.relay_process import relay_process
from tests.support.relays import carried, held, organizations, relaying, whole_log
from tests.support.waiting import eventually

EVERYWHERE = organizations(16)
"""Two in each partition, each with a writer of its own."""
TOPIC = "okr.garden.v1"


@pytest.fixture(autouse=True)
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "ACK_SECONDS", 1.0)
    monkeypatch.setattr(tail, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(relay_module, "CHECK_SECONDS", 1.0)


@pytest.fixture
async def garden(database: Database, own_broker: LocalBroker) -> AsyncIterator[Garden]:
    await provision([own_broker.bootstrap], ["garden"])
    garden = Garden(database)
    await garden.log.start()
    yield garden
    await garden.log.close()


def relay_of(garden: Garden, broker: LocalBroker) -> Relay:
    return Relay("garden", garden.database, [broker.bootstrap], partitions=8, owner="test", log=garden.log)


async def water(garden: Garden, times: int) -> None:
    """Sixteen writers at once."""

    async def write(organization_id: UUID) -> None:
        for number in range(times):
            await garden.append("plant", Watered(Decimal(number)), organization_id=organization_id)

    await asyncio.gather(*(write(organization_id) for organization_id in EVERYWHERE))


async def judge(garden: Garden, broker: LocalBroker) -> int:
    """Nothing is lost or out of order. Returns how many were repeated."""
    found = await held(broker.bootstrap, TOPIC, garden)
    assert found.against(await whole_log(garden)) == []
    return found.repeated


async def test_a_broker_that_is_killed_under_load_costs_no_event_and_no_command(
    garden: Garden, own_broker: LocalBroker
) -> None:
    carrier = relay_of(garden, own_broker)
    async with relaying(carrier):
        await water(garden, 2)
        await carried(carrier)
        load = asyncio.create_task(water(garden, 60))
        await eventually(lambda: carrier.published > 100)
        await own_broker.kill()
        await load  # every command is taken while nobody carries it
        await eventually(lambda: carrier.reason is not None)
        assert carrier.reason is not None
        assert carrier.reason.code == "KAFKA_AWAY"
        await eventually(lambda: carrier.lag > 0)
        await own_broker.start()
        await carried(carrier)
        await eventually(lambda: carrier.reason is None and carrier.lag == 0)
    await judge(garden, own_broker)
    assert carrier.rewinds > 0


async def test_a_broker_that_falls_silent_is_given_up_and_takes_nothing_twice_out_of_order(
    garden: Garden, own_broker: LocalBroker
) -> None:
    """What lay in its buffers is carried out when it wakes, beside what was sent again."""
    carrier = relay_of(garden, own_broker)
    async with relaying(carrier):
        await water(garden, 2)
        await carried(carrier)
        own_broker.pause()
        await water(garden, 5)
        await eventually(lambda: carrier.rewinds > 0)
        own_broker.resume()
        await carried(carrier)
    await judge(garden, own_broker)


async def test_without_a_broker_a_relay_holds_no_lease(garden: Garden, own_broker: LocalBroker) -> None:
    """Another, which may reach one, finds them free."""
    carrier = relay_of(garden, own_broker)
    async with relaying(carrier):
        await eventually(lambda: len(carrier.leases.held) == 8)
        await own_broker.kill()
        await water(garden, 1)
        await eventually(lambda: not carrier.leases.held)
        free = "SELECT count(*) FROM relay_lease WHERE leased_until <= clock_timestamp()"
        while await garden.database.fetchval(free) < 8:
            pass  # asking takes long enough


async def further(carrier: Relay, events: int, load: "asyncio.Task[None]") -> None:
    """Wait until so many more are carried, if so many come."""
    published = carrier.published
    await eventually(lambda: load.done() or carrier.published > published + events)


async def test_sixteen_writers_lose_nothing_while_relays_and_broker_are_killed_twice(
    garden: Garden, own_broker: LocalBroker
) -> None:
    choices = random.Random(20260501)
    prefix, servers = "okr", [own_broker.bootstrap]
    carrier = relay_of(garden, own_broker)
    async with relaying(carrier):
        load = asyncio.create_task(water(garden, 200))
        for _ in range(2):
            async with relay_process(garden.database, servers, prefix) as doomed:
                while (await doomed.status())["held"] == 0:
                    pass  # asking takes long enough
                await further(carrier, choices.randrange(50), load)
                await doomed.kill()
            await own_broker.kill()
            await own_broker.start()
        await load
        await carried(carrier)
    await judge(garden, own_broker)
