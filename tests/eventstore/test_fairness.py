"""Nobody waits for ever behind somebody who has much to say."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent, ShardBatch, shard_of
from okr_eventstore.postgres_source import FETCH_SHARDS
from okr_eventstore.runner import Runner, Subscription, fair_shares
from tests.eventstore.garden import ORCHARD, SHARD, Garden, catch_up, running, watered


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    yield garden
    await garden.log.close()


async def test_a_reaction_that_takes_turns_serves_a_newcomer_before_a_long_backlog_is_done(
    garden: Garden, database: Database
) -> None:
    for _ in range(200):
        await garden.append("fern", watered(1))
    seen: list[UUID] = []

    async def react(events: Sequence[RecordedEvent]) -> None:
        if not seen:
            await garden.append("apple", watered(1), organization_id=ORCHARD)
        seen.extend(event.organization_id for event in events)

    subscription = Subscription("garden.duties", "garden", react=react, seconds_a_turn=0)
    async with running(Runner(subscription, database, garden.source())) as runner:
        await catch_up(runner, garden)
        assert await runner.caught_up(shard_of(ORCHARD), 1, 20)

    assert len(seen) == 201, "each event once"
    assert seen.index(ORCHARD) < 100
    assert runner.counters.gaps == runner.counters.duplicates == 0


async def test_shares_hand_over_everything_in_order_and_the_short_ones_early(garden: Garden) -> None:
    for number in range(10):
        await garden.append("fern", watered(number + 1))
    events = list(await garden.log.read_shard(SHARD, 0, 10))
    long, short = ShardBatch(SHARD, 1, events), ShardBatch(shard_of(ORCHARD), 1, events[:1])

    groups = list(fair_shares([long, short], 4))

    assert [[len(batch.events) for batch in group] for group in groups] == [[2, 1], [4], [4]]
    assert [event for group in groups for batch in group if batch.shard == SHARD for event in batch.events] == events
    assert list(fair_shares([], 4)) == []


async def test_the_highest_shards_have_their_turn_while_the_lower_ones_never_rest(garden: Garden) -> None:
    organizations: dict[int, UUID] = {}
    number = 0
    while len(organizations) <= FETCH_SHARDS:
        number += 1
        organization_id = UUID(int=number)
        organizations.setdefault(shard_of(organization_id), organization_id)
    source = garden.source()
    await source.start()
    for shard, organization_id in organizations.items():
        await source.seek(shard, 0)
        await garden.append("fern", watered(1), organization_id=organization_id)
    highest = max(organizations)

    first = {batch.shard for batch in await source.fetch(0)}
    for shard in first:
        await garden.append("fern", watered(1), organization_id=organizations[shard])
    second = {batch.shard for batch in await source.fetch(0)}

    assert highest in first | second
    await source.close()
