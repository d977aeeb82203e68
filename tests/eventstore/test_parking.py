"""Parked streams: listed, tried again in order, and healed without losing or overtaking an event."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent
from okr_eventstore.parking import list_parked, retry_parked
from okr_eventstore.rebuild import verify
from okr_eventstore.runner import Runner, Subscription, each_stream
from okr_eventstore.tables import ensure
from tests.eventstore.garden import (
    EVERYTHING,
    GARDEN,
    SHARD,
    Choosy,
    Garden,
    Thinned,
    catch_up,
    planted,
    plants,
    running,
    table,
    watered,
)


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    await ensure(database, [plants])
    yield garden
    await garden.log.close()


def subscribed(choosy: Choosy) -> Subscription:
    return Subscription("garden.plants", "garden", projection=choosy.projection)


async def test_parked_streams_are_listed_with_their_first_position_and_error(
    garden: Garden, database: Database
) -> None:
    choosy = Choosy()
    await garden.append("fern", watered(1), Thinned(-2), watered(1))
    async with running(garden.runner(choosy.projection)) as runner:
        await catch_up(runner, garden)

    (stream,) = await list_parked(database)
    assert (stream.consumer, stream.source, stream.organization_id) == ("plants", "garden", GARDEN)
    assert (stream.stream_id, stream.first_position, stream.events, stream.attempts) == ("fern", 2, 2, 0)
    assert stream.error == "CannotDigestError: fern lost 2 branches"


async def test_a_healed_stream_has_the_rows_of_a_rebuild(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    async with running(garden.runner(choosy.projection)) as runner:
        await garden.append("fern", planted(), watered(1), Thinned(-2))
        await garden.append("moss", watered(3))
        await garden.append("fern", watered("2.5"))
        await garden.append("moss", watered(3))
        await catch_up(runner, garden)
        assert await database.fetchval("SELECT litres FROM garden") == 7

        choosy.digests_up_to = EVERYTHING
        assert await retry_parked(subscribed(choosy), database, garden.source()) == (1, 0)
        verdict = await verify(choosy.projection, database, garden.source())
        assert verdict.equal, verdict
        await garden.append("fern", watered(1))
        await catch_up(runner, garden)

    assert await list_parked(database) == []
    assert runner.parked_streams == 0, "the live runner has learnt that the stream is healed"
    history = await database.fetch("SELECT position FROM plant_history WHERE plant = 'fern' ORDER BY position")
    assert [row["position"] for row in history] == [1, 2, 3, 5, 7]
    verdict = await verify(choosy.projection, database, garden.source())
    assert verdict.equal, verdict


async def test_a_stream_heals_as_far_as_it_can_be_digested(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    await garden.append("fern", watered(1), Thinned(-1), watered(1), watered(1), Thinned(-1), watered(1))
    async with running(garden.runner(choosy.projection)) as runner:
        await catch_up(runner, garden)
    choosy.digests_up_to = 2
    assert await retry_parked(subscribed(choosy), database, garden.source()) == (0, 1)

    (stream,) = await list_parked(database)
    assert (stream.first_position, stream.events, stream.attempts) == (5, 2, 1)
    assert await database.fetchval("SELECT waterings FROM plant") == 3
    assert (await verify(choosy.projection, database, garden.source())).equal


async def test_a_failed_retry_counts_and_changes_nothing(garden: Garden, database: Database) -> None:
    choosy = Choosy()
    await garden.append("fern", watered(1), Thinned(-1), watered(1))
    async with running(garden.runner(choosy.projection)) as runner:
        await catch_up(runner, garden)
    before = await table(database, "plant")

    for attempts in (1, 2):
        assert await retry_parked(subscribed(choosy), database, garden.source()) == (0, 1)
        (stream,) = await list_parked(database)
        assert (stream.attempts, stream.events) == (attempts, 2)
    assert await table(database, "plant") == before


async def test_events_that_arrive_while_a_stream_is_healed_are_neither_lost_nor_overtaken(
    garden: Garden, database: Database
) -> None:
    """Both write the garden's sum: a batch that read it before the heal must not write it after."""
    choosy = Choosy()
    async with running(garden.runner(choosy.projection)) as runner:
        for number in range(4):
            await garden.append(f"fern-{number}", watered(1), Thinned(-1), *(watered(1) for _ in range(10)))
        await catch_up(runner, garden)
        choosy.digests_up_to = EVERYTHING

        async def grow() -> None:
            for number in range(80):
                await garden.append(f"fern-{number % 6}", watered(1))

        _, retried = await asyncio.gather(grow(), retry_parked(subscribed(choosy), database, garden.source()))
        assert retried == (4, 0)
        await catch_up(runner, garden)
        # What the runner set aside before it heard of the heal is healed by the next round.
        await retry_parked(subscribed(choosy), database, garden.source())

    assert await list_parked(database) == []
    assert await database.fetchval("SELECT litres FROM garden") == 4 * 11 + 80
    assert (await verify(choosy.projection, database, garden.source())).equal


async def test_a_reaction_is_retried_in_the_streams_order(garden: Garden, database: Database) -> None:
    handled: list[int] = []
    away = True

    async def react(events: Sequence[RecordedEvent]) -> None:
        async def handle(event: RecordedEvent) -> None:
            if away and event.version == 2:
                raise ValueError("no")
            handled.append(event.version)

        await each_stream(events, handle)

    subscription = Subscription("garden.duties", "garden", react=react)
    await garden.append("fern", *(watered(1) for _ in range(5)))
    async with running(Runner(subscription, database, garden.source())) as runner:
        await catch_up(runner, garden)
        handled.clear()
        away = False
        assert await retry_parked(subscription, database, garden.source()) == (1, 0)
        assert handled == [2, 3, 4, 5]
        await garden.append("fern", watered(1))
        assert await runner.caught_up(SHARD, 6, 20)

    assert handled == [2, 3, 4, 5, 6]


async def test_an_upgrade_heals_what_waited_for_it(garden: Garden, database: Database) -> None:
    await database.execute("ALTER TABLE event DISABLE TRIGGER USER")
    await garden.append("fern", watered(1), watered(2), watered(4))
    await database.execute("UPDATE event SET schema_version = 2 WHERE position = 2")
    async with running(garden.runner()) as runner:
        await catch_up(runner, garden)
    subscription = Subscription("garden.plants", "garden", projection=plants)

    assert await retry_parked(subscription, database, garden.source()) == (0, 1), "still the older release"
    await database.execute("UPDATE event SET schema_version = 1")
    assert await retry_parked(subscription, database, garden.source()) == (1, 0)
    assert await database.fetchval("SELECT litres FROM plant") == 7
