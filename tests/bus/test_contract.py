"""What every bus keeps to, told once and checked on PostgreSQL and on Kafka alike."""

import asyncio
import gc
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

import pytest

from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import Head, RecordedEvent, shard_of
from okr_eventstore.parking import retry_parked
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import rebuild, verify
from okr_eventstore.runner import BACKFILL_EVENTS, Runner, Subscription
from okr_eventstore.source import EventSource
from tests.bus.buses import Bus
from tests.eventstore.garden import (
    EVERYTHING,
    SHARD,
    Choosy,
    Garden,
    Thinned,
    catch_up,
    planted,
    plants,
    running,
    watered,
)

GARDENS = [UUID(int=number) for number in range(1, 13)]
"""So many organisations lie in many shards, and those in all partitions."""


def runner(bus: Bus, garden: Garden, projection: Projection = plants, source: EventSource | None = None) -> Runner:
    return garden.runner(projection, source=source or bus.source())


async def fill(garden: Garden, rounds: int = 5) -> int:
    """Something in every garden; answers how many events that are."""
    for number in range(rounds):
        for organization in GARDENS:
            await garden.append(f"fern-{number % 3}", planted(), watered(number + 1), organization_id=organization)
    return 2 * rounds * len(GARDENS)


async def equal_to_the_log(garden: Garden) -> bool:
    """Whether the rows are what a fold of the log itself makes."""
    return (await verify(plants, garden.database, garden.source())).equal


async def test_each_shard_comes_in_order_without_a_hole(bus: Bus, garden: Garden) -> None:
    total = await fill(garden)
    seen: dict[int, list[int]] = {}
    source = bus.source()
    await source.start()
    try:
        sought: frozenset[int] = frozenset()
        while sum(map(len, seen.values())) < total:
            sought = await begin(source, sought)
            for batch in await source.fetch(1):
                assert {event.shard for event in batch.events} == {batch.shard}
                seen.setdefault(batch.shard, []).extend(event.position for event in batch.events)
    finally:
        await source.close()

    assert seen.keys() == {shard_of(organization) for organization in GARDENS}
    for positions in seen.values():
        assert positions == list(range(1, len(positions) + 1))


async def begin(source: EventSource, sought: frozenset[int], after: int = 0) -> frozenset[int]:
    """Say for what was newly assigned where to begin, as a runner does."""
    assigned = await source.assignments()
    for shard in assigned - sought:
        await source.seek(shard, after)
    return assigned


async def test_an_event_arrives_as_it_was_recorded(bus: Bus, garden: Garden) -> None:
    await garden.append("fern", planted(), watered("1.50", note="über 🌱"))
    source = bus.source()
    await source.start()
    found: list[RecordedEvent] = []
    try:
        sought: frozenset[int] = frozenset()
        while len(found) < 2:
            sought = await begin(source, sought)
            for batch in await source.fetch(1):
                assert batch.epoch == 1
                found += batch.events
    finally:
        await source.close()

    assert found == await garden.log.read_shard(SHARD)


async def test_what_the_bus_repeats_has_its_effect_once(bus: Bus, garden: Garden, database: Database) -> None:
    bus.repeats = True
    total = await fill(garden)
    async with running(runner(bus, garden)) as consumer:
        await catch_up(consumer, garden)

    assert consumer.counters.events == total
    assert consumer.counters.gaps == 0
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == total / 2
    assert await equal_to_the_log(garden)


async def test_what_the_bus_skips_is_backfilled_from_the_owners_log_and_counted(
    bus: Bus, garden: Garden, database: Database
) -> None:
    bus.skipped = {3, 4, 7}
    await garden.append("fern", planted(), *(watered(n) for n in range(1, 10)))
    async with running(runner(bus, garden)) as consumer:
        await catch_up(consumer, garden)

    assert bus.backfilled == [(2, 4), (6, 7)]
    assert consumer.counters.gaps == 2
    assert await database.fetchval("SELECT litres FROM plant") == sum(range(1, 10))


async def test_a_long_gap_is_filled_in_bounded_steps(bus: Bus, garden: Garden, database: Database) -> None:
    length = BACKFILL_EVENTS + 50
    bus.skipped = set(range(1, length))
    await garden.append("fern", planted(), *(watered(1) for _ in range(length - 1)))
    async with running(runner(bus, garden)) as consumer:
        await garden.append("fern", watered(1))
        await catch_up(consumer, garden)

    assert max(up_to - after for after, up_to in bus.backfilled) <= BACKFILL_EVENTS
    assert await database.fetchval("SELECT waterings FROM plant") == length


async def test_a_restart_resumes_exactly_where_the_last_one_stood(bus: Bus, garden: Garden) -> None:
    total = await fill(garden)
    async with running(runner(bus, garden)) as first:
        await catch_up(first, garden)
    more = await fill(garden, 1)
    async with running(runner(bus, garden)) as second:
        await catch_up(second, garden)

    assert first.counters.events == total
    assert (second.counters.events, second.counters.gaps, second.counters.duplicates) == (more, 0, 0)
    assert bus.backfilled == []
    assert await equal_to_the_log(garden)


async def test_a_failed_batch_comes_again_whole_whatever_partitions_it_came_from(
    bus: Bus, garden: Garden, database: Database
) -> None:
    total = await fill(garden, 20)
    handled: dict[int, list[int]] = {}
    failures = iter([True, False, True, True])

    async def react(events: Sequence[RecordedEvent]) -> None:
        if next(failures, False):
            raise StoreUnavailableError("away for a moment")
        for event in events:
            handled.setdefault(event.shard, []).append(event.position)

    consumer = Runner(Subscription("garden.duties", "garden", react=react), database, bus.source("duties"))
    async with running(consumer):
        await catch_up(consumer, garden)

    assert consumer.counters.retries == 3
    assert sum(len(set(positions)) for positions in handled.values()) == total
    for positions in handled.values():
        assert positions == list(range(1, len(positions) + 1)), "once each, in order"
    assert bus.backfilled == [], "it was the bus that brought it again"


async def test_of_two_that_both_think_a_shard_theirs_one_loses_and_nothing_is_applied_twice(
    bus: Bus, garden: Garden, database: Database
) -> None:
    one, other = runner(bus, garden, source=bus.source("one")), runner(bus, garden, source=bus.source("other"))
    async with running(one), running(other):
        total = await fill(garden, 10)
        await catch_up(one, garden)
        await catch_up(other, garden)

    assert one.counters.events + other.counters.events == total
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == total / 2
    assert await equal_to_the_log(garden)


async def test_a_shard_is_read_from_any_position_forwards_and_back(bus: Bus, garden: Garden) -> None:
    for _ in range(30):
        await garden.append("fern", watered(1))
    source = bus.source()
    await source.start()
    try:
        sought: frozenset[int] = frozenset()
        while SHARD not in sought:
            await source.fetch(1)
            sought = await begin(source, sought)
        for after in (0, 20, 5, 29, 0, 12, 12, 30, 3):
            await source.seek(SHARD, after)
            positions: list[int] = []
            while len(positions) < 30 - after:
                assert await begin(source, sought) == sought
                for batch in await source.fetch(1):
                    positions += [event.position for event in batch.events]
            assert positions == list(range(after + 1, 31))
        assert await source.fetch(0) == []
    finally:
        await source.close()


async def test_two_members_share_the_shards_and_one_takes_over_what_the_other_leaves(
    bus: Bus, garden: Garden, database: Database
) -> None:
    first, second = bus.member("first"), bus.member("second")
    one, other = runner(bus, garden, source=first), runner(bus, garden, source=second)
    async with running(one):
        total = await fill(garden, 2)
        await catch_up(one, garden)
        async with running(other):
            while not (one.checkpoints and other.checkpoints) or one.checkpoints.keys() & other.checkpoints.keys():
                total += await fill(garden, 1)  # and nobody waits for them
            assert len(one.checkpoints) + len(other.checkpoints) == 256
            await catch_up(one, garden)
            await catch_up(other, garden)
        total += await fill(garden, 2)
        await catch_up(one, garden)
        assert len(one.checkpoints) == 256

    assert other.counters.events > 0
    assert one.counters.events + other.counters.events == total
    assert await database.fetchval("SELECT sum(waterings) FROM plant") == total / 2
    assert await equal_to_the_log(garden)


@pytest.mark.timeout(180)
async def test_a_slow_consumer_holds_little_however_much_waits(bus: Bus, garden: Garden, database: Database) -> None:
    holding, go_on = asyncio.Event(), asyncio.Event()
    handled = 0

    async def react(events: Sequence[RecordedEvent]) -> None:
        nonlocal handled
        holding.set()
        await go_on.wait()
        handled += len(events)

    async def held() -> int:
        """Events and records in memory, once nothing moves any more."""
        before = -1
        while before != (now := sum(type(each).__name__ in HELD for each in gc.get_objects())):
            before = now
            await database.fetchval("SELECT pg_sleep(0.5)")
        return now

    for organization in GARDENS:
        await garden.append("fern", *(watered(1) for _ in range(500)), organization_id=organization)
    consumer = Runner(Subscription("garden.duties", "garden", react=react), database, bus.source("duties"))
    async with running(consumer):
        await holding.wait()
        little = await held()
        for organization in GARDENS:
            await garden.append("moss", *(watered(1) for _ in range(1500)), organization_id=organization)
        much = await held()
        go_on.set()
        await catch_up(consumer, garden)

    assert little > 0
    assert much <= 8000, f"held {little} of 6,000 events and {much} of 24,000"
    assert handled == 24_000
    assert consumer.counters.duplicates == consumer.counters.gaps == 0


HELD = {"RecordedEvent", "ConsumerRecord"}


async def test_poison_parks_its_stream_alone_and_a_retry_heals_it(bus: Bus, garden: Garden, database: Database) -> None:
    choosy = Choosy()
    for number in range(40):
        await garden.append(f"fern-{number}", planted(), watered(1))
    await garden.append("fern-7", Thinned(-3))
    await fill(garden)
    for number in range(40):
        await garden.append(f"fern-{number}", watered(1))
    source = bus.source()
    async with running(runner(bus, garden, choosy.projection, source)) as consumer:
        await catch_up(consumer, garden)

        assert not consumer.halted
        parked = await database.fetch("SELECT stream_id, error FROM parked ORDER BY position")
        assert [row["stream_id"] for row in parked] == ["fern-7", "fern-7"]
        assert parked[0]["error"] == "CannotDigestError: fern-7 lost 3 branches"

        choosy.digests_up_to = EVERYTHING
        healed = await retry_parked(consumer.subscription, database, source)
        await garden.append("fern-7", watered(1))
        await catch_up(consumer, garden)

    assert (healed.healed_streams, healed.still_parked_streams) == (1, 0)
    assert await database.fetchval("SELECT count(*) FROM parked") == 0
    assert await equal_to_the_log(garden)


async def test_heads_and_lag_are_exact(bus: Bus, garden: Garden) -> None:
    total = await fill(garden)
    source = bus.source()
    consumer = runner(bus, garden, source=source)
    async with running(consumer):
        await catch_up(consumer, garden)
        assert await source.heads() == await garden.log.heads()
        assert await consumer.lag() == 0
        bus.skipped = set(range(1, 1000))  # from here on nothing arrives
        position = await garden.append("fern", watered(1), watered(1), watered(1))
        assert (await source.heads())[SHARD] == Head(1, position.position)
        if consumer.checkpoints[SHARD] < position.position:
            assert await consumer.lag() == 3
    assert sum(head.position for head in (await garden.log.heads()).values()) == total + 3


async def test_a_log_restored_from_a_backup_halts_its_consumers(bus: Bus, garden: Garden, database: Database) -> None:
    await garden.append("fern", watered(1), watered(1))
    async with running(runner(bus, garden)) as consumer:
        await catch_up(consumer, garden)
    await database.execute("UPDATE shard SET epoch = epoch + 1")
    await garden.append("fern", watered(1))
    async with running(runner(bus, garden)) as consumer:
        assert not await consumer.caught_up(SHARD, 3, 20)

    assert consumer.halted
    assert "restored from a backup" in consumer.reason


async def test_a_rebuild_over_the_bus_equals_a_rebuild_from_the_log(bus: Bus, garden: Garden) -> None:
    bus.skipped = {2, 5, 6}
    await fill(garden, 10)
    async with running(runner(bus, garden)) as consumer:
        await catch_up(consumer, garden)
        async with bus.reading() as reader:
            over_the_bus = await rebuild(plants, garden.database, reader)
            verdict = await verify(plants, garden.database, reader)
        from_the_log = await rebuild(plants, garden.database, garden.source())

    assert over_the_bus.equal
    assert verdict.equal, verdict
    assert from_the_log.equal
    assert [table.fresh for table in over_the_bus.tables] == [table.fresh for table in from_the_log.tables]


def test_the_gardens_lie_in_many_partitions() -> None:
    assert len({shard_of(organization) // 64 for organization in GARDENS}) == 4
    assert all(one != other for one, other in pairwise(sorted(shard_of(organization) for organization in GARDENS)))
