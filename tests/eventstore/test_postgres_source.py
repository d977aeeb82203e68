"""The embedded platform's bus: the log itself, tailed."""

import asyncio

from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.model import Head, shard_of
from okr_eventstore.postgres_source import PostgresSource
from tests.support.shop import MINT, added, codec, context

SHARD = shard_of(MINT)


async def test_a_source_hands_over_what_follows_the_position_it_was_told(log: EventLog, database: Database) -> None:
    for version in range(5):
        await log.append("counter-1", version, added(1), context())
    source = PostgresSource("shop", database, codec(), log=log)
    await source.start()
    await source.seek(SHARD, 2)

    (batch,) = await source.fetch(1)

    assert (batch.shard, batch.epoch) == (SHARD, 1)
    assert [event.position for event in batch.events] == [3, 4, 5]
    assert await source.fetch(0) == []
    await source.close()


async def test_a_source_wakes_up_when_its_own_process_appends(log: EventLog, database: Database) -> None:
    source = PostgresSource("shop", database, codec(), log=log)
    await source.start()
    await source.seek(SHARD, 0)
    assert await source.fetch(0) == []
    waiting = asyncio.create_task(source.fetch(30))

    await log.append("counter-1", 0, added(1), context())

    assert [event.position for batch in await waiting for event in batch.events] == [1]
    await source.close()


async def test_a_source_in_another_process_hears_or_polls(log: EventLog, database: Database) -> None:
    source = PostgresSource("shop", database, codec())
    await source.start()
    await source.seek(SHARD, 0)
    waiting = asyncio.create_task(source.fetch(30))

    await log.append("counter-1", 0, added(1), context())

    assert [event.position for batch in await waiting for event in batch.events] == [1]
    await source.close()


async def test_no_event_is_missed_while_many_are_written(log: EventLog, database: Database) -> None:
    """The reader that tails `position > last` is right here, because positions are given out in commit order."""
    source = PostgresSource("shop", database, codec(), log=log)
    await source.start()
    await source.seek(SHARD, 0)
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 800:
            for batch in await source.fetch(5):
                seen.extend(event.position for event in batch.events)

    async def write(stream: int) -> None:
        for version in range(50):
            await log.append(f"counter-{stream}", version, added(1), context())

    await asyncio.gather(read(), *(write(stream) for stream in range(16)))

    assert seen == list(range(1, 801))
    await source.close()


async def test_a_source_tells_heads_and_backfills_a_gap(log: EventLog, database: Database) -> None:
    for version in range(6):
        await log.append("counter-1", version, added(1), context())
    source = PostgresSource("shop", database, codec(), log=log)

    assert await source.heads() == {SHARD: Head(1, 6)}
    assert [event.position for event in await source.backfill(SHARD, 2, 5)] == [3, 4, 5]
