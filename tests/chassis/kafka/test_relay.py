"""Everything in the log comes to Kafka, in order, with as few repeats as can be."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from tests.chassis.kafka.conftest import MakeRelay
from tests.eventstore.garden import GARDEN, Garden, Watered
from tests.support.kafka import Topics
from tests.support.relays import carried, cursors, held, organizations, relaying, whole_log


async def water(garden: Garden, times: int, organization_ids: Sequence[UUID] | None = None) -> None:
    for organization_id in organization_ids or [GARDEN]:
        for number in range(times):
            await garden.append("plant", Watered(Decimal(number)), organization_id=organization_id)


async def test_what_is_in_the_log_and_what_comes_is_carried_in_order_and_once(
    garden: Garden, topics: Topics, relay: MakeRelay
) -> None:
    everywhere = organizations(16)
    await water(garden, 3, everywhere)
    carrier = relay()
    async with relaying(carrier):
        await water(garden, 3, everywhere)
        await carried(carrier)
    found = await held(topics.bootstrap, topics.of("garden"), garden)
    assert found.against(await whole_log(garden)) == []
    assert len(found.events) == 96
    assert (carrier.published, carrier.lag, carrier.reason) == (96, 0, None)
    assert carrier.batches <= 96
    assert await cursors(garden.database) == {s: h.position for s, h in (await garden.log.heads()).items()}
