"""Relays that are killed and stopped at the worst moments; what Kafka holds afterwards is judged by one check."""

import asyncio
from decimal import Decimal
from uuid import UUID

import pytest

from tests.chassis.kafka.conftest import MakeRelay
from tests.eventstore.garden import Garden, Watered
from tests.support.kafka import Topics
from tests.support.relay_process import BEFORE_SEND, MOMENTS, HastyRelay, TrustingRelay, relay_process
from tests.support.relays import carried, cursors, held, organizations, relaying, whole_log

EVERYWHERE = organizations(16)
"""Two in each partition."""


async def water(garden: Garden, times: int) -> None:
    await asyncio.gather(*(_water(garden, times, organization_id) for organization_id in EVERYWHERE))


async def _water(garden: Garden, times: int, organization_id: UUID) -> None:
    for number in range(times):
        await garden.append("plant", Watered(Decimal(number)), organization_id=organization_id)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_relay_killed_in_the_middle_of_a_round_loses_nothing_and_its_heir_repeats_nothing(
    garden: Garden, topics: Topics, relay: MakeRelay, moment: str
) -> None:
    await water(garden, 2)
    async with relay_process(garden.database, topics.servers, topics.prefix, held_at=moment, free_events=32) as doomed:
        heir = relay(lease_seconds=1.0)
        while (await doomed.status()).get("published") != 32:
            pass  # asking takes long enough
        await water(garden, 2)
        assert await doomed.held() == moment
        await doomed.kill()
        async with relaying(heir):
            await carried(heir)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []
    assert found.repeated == 0
    assert heir.takeovers == 8


async def test_a_relay_that_moves_its_cursor_before_the_acknowledgement_is_found_out(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    """The control: the same death, the same check, and a relay that is wrong."""
    await water(garden, 2)
    async with relay_process(
        garden.database, topics.servers, topics.prefix, held_at=BEFORE_SEND, free_events=32, kind=HastyRelay
    ) as doomed:
        while (await doomed.status()).get("published") != 32:
            pass  # asking takes long enough
        await water(garden, 2)
        assert await doomed.held() == BEFORE_SEND
        await doomed.kill()
    heir = relay(kind=TrustingRelay, lease_seconds=1.0)
    async with relaying(heir):
        await carried(heir)
        await water(garden, 1)
        await carried(heir)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert any("is lost" in fault for fault in found.against(await whole_log(garden)))
    assert any("something is lost" in fault for fault in found.faults)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_relay_stopped_past_its_lease_writes_nothing_when_it_wakes(
    garden: Garden, topics: Topics, relay: MakeRelay, moment: str
) -> None:
    await water(garden, 2)
    async with relay_process(garden.database, topics.servers, topics.prefix, held_at=moment, free_events=32) as sleeper:
        while (await sleeper.status()).get("published") != 32:
            pass  # asking takes long enough
        await water(garden, 2)
        assert await sleeper.held() == moment
        sleeper.stop()
        heir = relay(lease_seconds=1.0)
        async with relaying(heir):
            await carried(heir)
            assert len(heir.leases.held) == 8
            before = await cursors(garden.database)
            await sleeper.go()
            sleeper.wake()
            while (await sleeper.status())["held"] != 4:  # it is let in again, with nothing of what it knew
                pass  # asking takes long enough
            assert (await sleeper.status())["fenced"] or moment == BEFORE_SEND
            assert await cursors(garden.database) == before
            await water(garden, 2)
            await carried(heir)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []
    assert found.repeated == 0
