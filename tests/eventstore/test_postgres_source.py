"""The embedded platform's bus: the log itself, tailed."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import asyncpg
from msgspec.structs import replace

from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import Head, NewEvent, RecordedEvent, shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.recent_events import RECENT_EVENTS, RecentEvents
from tests.support.shop import MINT, Added, Opened, added, codec, context

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


async def test_consumers_beside_a_log_share_one_look_at_it(database: Database) -> None:
    class Looking(EventLog):
        looks = 0

        async def heads(self) -> dict[int, Head]:
            self.looks += 1
            return await super().heads()

    log = Looking("shop", database, codec())
    await log.start()
    await log.append("counter-1", 0, added(1), context())

    found = await asyncio.gather(*(log.heads_lately(60) for _ in range(16)))
    assert found == [{SHARD: Head(1, 1)}] * 16
    assert log.looks == 1
    await log.append("counter-1", 1, added(1), context())
    assert await log.heads_lately(0) == {SHARD: Head(1, 2)}
    await log.close()


# --- what this process appended itself --------------------------------------------------------------


class SilentDatabase(Database):
    """Answers no fetch: whoever is handed events all the same did not read them."""

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        raise StoreUnavailableError("nothing is read here")


async def test_what_is_handed_over_is_what_the_log_holds(log: EventLog, database: Database) -> None:
    silent = await SilentDatabase.open(database.dsn, database.schema)
    source = PostgresSource("shop", silent, codec(), log=log)
    await source.start()
    dated = NewEvent(Added(7), datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=-7))))
    asked = replace(context(), metadata={"traceparent": "00-1-2-01"}, causation_id=uuid4())
    await log.append("counter-1", 0, [NewEvent(Opened("one")), dated], asked)
    await log.append("counter-1", 2, added(1, 2), context())
    await source.seek(SHARD, 0)

    (batch,) = await source.fetch(0)

    read = await log.read_shard(SHARD)
    assert (batch.epoch, batch.events) == (1, read)
    assert [event.occurred_at.tzinfo for event in batch.events] == [event.occurred_at.tzinfo for event in read]
    await source.close()
    await silent.close()


async def test_what_another_process_appended_in_between_is_read_from_the_log(log: EventLog, database: Database) -> None:
    source = PostgresSource("shop", database, codec(), log=log)
    await source.start()
    await source.seek(SHARD, 0)
    other = EventLog("shop", database, codec())
    await other.start()
    for version, writer in enumerate([log, log, other, log, other, other, log]):
        await writer.append("counter-1", version, added(version + 1), context())

    seen: list[int] = []
    while len(seen) < 7:
        seen += [event.position for batch in await source.fetch(30) for event in batch.events]

    assert seen == [1, 2, 3, 4, 5, 6, 7]
    await other.close()
    await source.close()


async def test_who_has_fallen_far_behind_reads_the_log(log: EventLog, database: Database) -> None:
    source = PostgresSource("shop", database, codec(), log=log)
    await source.start()
    for version in range(3):
        await log.append("counter-1", version, added(1), context())
    log.recent = RecentEvents()  # as after many more
    await log.append("counter-1", 3, added(1), context())
    await source.seek(SHARD, 0)

    assert [event.position for batch in await source.fetch(30) for event in batch.events] == [1, 2, 3, 4]
    await source.close()


def test_recent_events_are_kept_without_holes_and_not_for_ever() -> None:
    recent = RecentEvents()
    everything = [event_at(position) for position in range(1, 5 * RECENT_EVENTS)]
    for event in everything:
        recent.add(SHARD, 1, [event])

    last = len(everything)
    assert recent.after(SHARD, 0, 10) is None
    batch = recent.after(SHARD, last - RECENT_EVENTS, 2 * RECENT_EVENTS)
    assert batch is not None and batch.events == everything[-RECENT_EVENTS:]
    assert recent.after(SHARD, last, 10) is None
    oldest = next(position for position in range(last) if recent.after(SHARD, position, 1))
    assert last - oldest < 2 * RECENT_EVENTS

    recent.add(SHARD, 1, [event_at(last + 2)])
    batch = recent.after(SHARD, last - 1, 10)
    assert batch is not None and [event.position for event in batch.events] == [last]
    assert recent.last(SHARD) == last + 2


def test_a_restored_log_has_no_recent_events() -> None:
    recent = RecentEvents()
    recent.add(SHARD, 1, [event_at(1), event_at(2)])
    recent.add(SHARD, 2, [event_at(2)])

    batch = recent.after(SHARD, 1, 10)
    assert batch is not None and (batch.epoch, len(batch.events)) == (2, 1)
    assert recent.after(SHARD, 0, 10) is None


def event_at(position: int) -> RecordedEvent:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return RecordedEvent(
        SHARD,
        position,
        MINT,
        "counter-1",
        position,
        MINT,
        "Added",
        1,
        now,
        now,
        MINT,
        None,
        MINT,
        "person:ana",
        Added(1),
    )
