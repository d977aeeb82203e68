"""Consumers that are slow, that share shards and hand them over, and one that chokes and is healed by hand."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from okr.directory.v1 import directory_pb2
from okr_contracts.directory import UnitAdded
from okr_eventstore.applying import SupersededError
from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent, ShardBatch, shard_of
from okr_eventstore.postgres_source import FETCH_EVENTS, PostgresSource
from okr_eventstore.projection import ProjectedEvent, Projection, Rows
from okr_eventstore.rebuild import verify
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.tables import ensure
from tests.chaos.run import Run
from tests.chassis.conftest import running as site_of
from tests.chassis.house import Module, UnitRow, project
from tests.eventstore.garden import GARDEN, SHARD, Garden, catch_up, plants, running, watered
from tests.support.embedded import Installation

ORGANIZATIONS = [UUID(int=number) for number in range(1, 25)]
SHARDS = sorted({shard_of(organization_id) for organization_id in ORGANIZATIONS})


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database)
    await garden.log.start()
    await ensure(database, [plants])
    yield garden
    await garden.log.close()


# --- slow --------------------------------------------------------------------------------------------

BACKLOG = 12_000
NOTE = "x" * 200


class Counted(PostgresSource):
    """Counts the events that were handed over."""

    handed = 0

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        batches = await super().fetch(timeout_seconds)
        self.handed += sum(len(batch.events) for batch in batches)
        return batches


async def test_a_consumer_that_is_slow_holds_one_fetch_of_events_however_long_its_backlog(
    garden: Garden, database: Database
) -> None:
    """What waits, waits in PostgreSQL: neither the number of events held nor the memory grows with the backlog."""
    source = Counted("garden", database, garden.codec, log=garden.log)
    handled, most_held = 0, 0
    peaks: list[int] = []
    gate = asyncio.Event()
    stuck = asyncio.Event()

    async def react(events: Sequence[RecordedEvent]) -> None:
        nonlocal handled, most_held
        stuck.set()
        await gate.wait()
        most_held = max(most_held, source.handed - handled)
        handled += len(events)
        if handled // 2000 > len(peaks):
            gc.collect()
            peaks.append(tracemalloc.get_traced_memory()[0])

    consumer = Runner(Subscription("garden.slow", "garden", react=react), database, source)
    async with running(consumer):
        await garden.append("fern", watered(1))
        await stuck.wait()  # it hangs on the first event, and the log grows
        for number in range(BACKLOG // 500):
            await garden.append(f"fern-{number}", *(watered(1, NOTE) for _ in range(500)))
        assert source.handed == 1, "who is busy is handed nothing more"
        gc.collect()
        tracemalloc.start()
        try:
            gate.set()
            await catch_up(consumer, garden)
        finally:
            tracemalloc.stop()

    assert handled == BACKLOG + 1
    assert most_held <= FETCH_EVENTS
    assert len(peaks) >= 3
    assert max(peaks[1:]) <= 1.5 * max(peaks[0], 1_000_000), peaks


# --- sharing -----------------------------------------------------------------------------------------


async def test_runners_share_shards_and_hand_them_over_and_each_event_has_its_effect_once(
    garden: Garden, database: Database
) -> None:
    """Handed over at random while events flow; for a moment two often believe a shard theirs, or nobody does."""
    run = Run("hand over", 0)
    with run.told():
        choices = run.choices("assignments")
        sources = [PostgresSource("garden", database, garden.codec, log=garden.log, shards=()) for _ in range(2)]
        first, second = (garden.runner(source=source) for source in sources)
        total = 600

        async def write() -> None:
            for number in range(total):
                await garden.append(f"fern-{number % 5}", watered(1), organization_id=choices.choice(ORGANIZATIONS))

        async def hand_over(until: asyncio.Task[None]) -> None:
            while not until.done():
                halves = {shard: choices.randrange(3) for shard in SHARDS}
                for index, source in enumerate(sources):
                    # 2: both at once, as when one has not heard yet that it lost the shard
                    source.assign(frozenset(shard for shard in SHARDS if halves[shard] in (index, 2)))
                before = first.counters.events + second.counters.events
                while not until.done() and first.counters.events + second.counters.events < before + 20:
                    await database.fetchval("SELECT 1")  # a pause as long as the machine is slow

        async with running(first), running(second):
            writing = asyncio.create_task(write())
            await asyncio.gather(writing, hand_over(writing))
            middle = len(SHARDS) // 2
            sources[0].assign(frozenset(SHARDS[:middle]))
            sources[1].assign(frozenset(SHARDS[middle:]))
            heads = await garden.log.heads()
            for shard, head in heads.items():
                assert await (first if shard in SHARDS[:middle] else second).caught_up(shard, head.position, 30)

        assert not first.halted and not second.halted
        assert first.counters.events + second.counters.events == total, "nothing was applied by both"
        assert min(first.counters.events, second.counters.events) > 0, "both had work"
        assert await database.fetchval("SELECT sum(waterings) FROM plant") == total
        assert await database.fetchval("SELECT count(*) FROM plant_history") == total
        assert (await verify(plants, database, garden.source())).equal


async def test_a_zombie_that_wakes_up_with_an_old_checkpoint_writes_nothing(garden: Garden, database: Database) -> None:
    """It read its checkpoint and its events, then slept while another took over; its write changes no row."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Sleepy(PostgresSource):
        async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
            batches = await super().fetch(timeout_seconds)
            if batches and not awake.is_set():
                asleep.set()
                await awake.wait()
            return batches

    zombie = garden.runner(source=Sleepy("garden", database, garden.codec, log=garden.log))
    async with running(zombie):
        await garden.append("fern", watered(1))
        await asleep.wait()
        async with running(garden.runner()) as other:
            await garden.append("fern", watered(2))
            await catch_up(other, garden)
            awake.set()
            await garden.append("fern", watered(4))
            await catch_up(zombie, garden)

    assert zombie.counters.zombies >= 1, SupersededError.__doc__
    assert await database.fetchval("SELECT litres FROM plant") == 7
    assert await database.fetchval("SELECT position FROM checkpoint WHERE shard = $1", SHARD) == 3
    assert shard_of(GARDEN) == SHARD


# --- healed ------------------------------------------------------------------------------------------


async def test_a_parked_stream_is_listed_and_healed_from_the_command_line(fresh_dsn: str, tmp_path: Path) -> None:
    broken = True

    def choke(rows: Rows, event: ProjectedEvent) -> None:
        if broken and isinstance(event.data, UnitAdded) and event.data.name == "Bone":
            raise ValueError("cannot swallow this")
        project(rows, event)

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with site_of(fresh_dsn, tmp_path / "data", module) as site:
        client = site.client()
        command = Installation(tmp_path / "data", int(site.platform.address.rpartition(":")[2]))
        await client.directory.FoundOrganization(
            directory_pb2.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint")
        )
        for name in ("Bone", "Soup"):
            await client.directory.AddUnit(
                directory_pb2.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)
            )
        await site.platform.wait_idle()

        (stream,) = (await command.okr("parked", "list", "--json")).json["streams"]
        assert (stream["service"], stream["first_position"], stream["events"]) == ("directory", 2, 2)
        in_vain = await command.okr("parked", "retry", "--json")
        assert in_vain.code == 1
        broken = False
        healed = await command.okr("parked", "retry", "--json")
        assert (healed.code, healed.json) == (0, {"healed_streams": 1, "still_parked_streams": 0}), healed.err
        listed = await client.directory.ListUnits(directory_pb2.ListUnitsRequest())
        assert {each.name for each in listed.units} == {"Bone", "Soup"}
