"""The store while its network and its PostgreSQL fail in every usual way: nothing promised is broken.

Two logs, as of two processes, write to the same streams through a faulty network; a consumer keeps a
read model, a reader tails. CHAOS_SEED replays a run's decisions, CHAOS_SECONDS lengthens it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import shard_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.rebuild import verify
from okr_eventstore.runner import Runner, Subscription
from okr_eventstore.tables import ensure
from tests.chaos.faults import Faults
from tests.chaos.history import Stream, disagreements, missed, read
from tests.chaos.run import PATIENCE_SECONDS, Beat, Run
from tests.chaos.writers import SAYS, Writers
from tests.eventstore.garden import GARDEN, MEADOW, ORCHARD, codec, plants, running
from tests.support.proxy import Proxy

pytestmark = pytest.mark.timeout(0)  # as long as asked; each step has a patience of its own
SECONDS = 25.0
"""The share within the ordinary tests."""
ANSWER_SECONDS = 3.0
"""Less than usual, so that a half-open connection of a consumer costs the run little."""
SCHEMA = "garden"
WRITERS_A_LOG = 12
STREAMS: list[Stream] = [(organization, f"plant-{n}") for organization in (GARDEN, ORCHARD, MEADOW) for n in range(5)]


async def test_nothing_acknowledged_is_lost_or_done_twice_whatever_fails(tmp_path: Path) -> None:
    run, beat = Run("store", SECONDS), Beat()
    data_dir = tmp_path / "data"
    with run.told():
        async with (
            EmbeddedPostgres(data_dir) as postgres,
            through_a_proxy(postgres.dsn) as (dsn, proxy),
            store(dsn) as (logs, database),
            running(consumer(database)) as runner,
            tailing(dsn) as tail,
        ):
            writers = Writers(STREAMS, beat, logs)
            faults = Faults(run, beat, proxy, postgres, data_dir)
            writing = [
                asyncio.create_task(writers.write(log, run.choices(f"writer {index}.{number}")))
                for index, log in enumerate(logs)
                for number in range(WRITERS_A_LOG)
            ]
            await strike_until_over(run, faults, writing)
            writers.stop()
            await asyncio.gather(*writing)
            proxy.heal()

            held = await read(postgres.dsn, SCHEMA, SAYS)
            for shard, head in held.heads.items():
                assert await runner.caught_up(shard, head, PATIENCE_SECONDS), runner.reason
            await tail.reach(len(held.events))
            assert disagreements(writers.history, held) == []
            assert missed(tail.seen, held) == []
            assert not runner.halted
            assert runner.parked_streams == 0
            verdict = await verify(plants, database, PostgresSource("garden", database, codec()))
            assert verdict.equal, verdict
            print(
                f"store: {len(run.happened)} faults, {len(writers.history)} commands, {len(held.events)} events,"
                f" {writers.conflicts} conflicts, {writers.in_doubt} in doubt for their callers"
                f", longest silence {beat.longest_silence_seconds:.1f} s"
            )
        assert run.happened, "a run without a fault proves nothing"


async def strike_until_over(run: Run, faults: Faults, writing: list[asyncio.Task[None]]) -> None:
    """Fault upon fault until the time is over; a writer that fails ends the run at once."""
    loop = asyncio.get_running_loop()
    end = loop.time() + run.seconds
    while loop.time() < end:
        striking = asyncio.create_task(faults.strike())
        await asyncio.wait((striking, *writing), return_when=asyncio.FIRST_COMPLETED)
        for task in writing:
            if task.done():
                task.result()
        await striking


@asynccontextmanager
async def through_a_proxy(dsn: str) -> AsyncIterator[tuple[str, Proxy]]:
    url = urlsplit(dsn)
    assert url.hostname is not None and url.port is not None
    async with Proxy(url.hostname, url.port) as proxy:
        yield urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}"))), proxy


@asynccontextmanager
async def store(dsn: str) -> AsyncIterator[tuple[list[EventLog], Database]]:
    """Two running logs over one schema, each with a pool of its own; and one more pool for consumers."""
    async with AsyncExitStack() as stack:
        logs = []
        consuming = await stack.enter_async_context(opened(dsn))
        await migrate(consuming, LOG_MIGRATIONS)
        await ensure(consuming, [plants])
        for _ in range(2):
            log = EventLog("garden", await stack.enter_async_context(opened(dsn)), codec())
            await log.start()
            stack.push_async_callback(log.close)
            logs.append(log)
        yield logs, consuming


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = await Database.open(dsn, SCHEMA, answer_seconds=ANSWER_SECONDS)
    try:
        yield database
    finally:
        await database.close()


def consumer(database: Database) -> Runner:
    subscription = Subscription("garden.plants", "garden", projection=plants)
    return Runner(subscription, database, PostgresSource("garden", database, codec()))


class Tail:
    """A reader that hears of the log in another process, and after each loss carries on where it stood."""

    def __init__(self, source: PostgresSource) -> None:
        self.seen: list[tuple[int, int]] = []
        self._source = source
        self._grown = asyncio.Event()

    async def read(self) -> None:
        for organization_id in (GARDEN, ORCHARD, MEADOW):
            await self._source.seek(shard_of(organization_id), 0)
        while True:
            try:
                for batch in await self._source.fetch(PATIENCE_SECONDS):
                    self.seen += [(batch.shard, event.position) for event in batch.events]
                    self._grown.set()
            except StoreUnavailableError:
                await asyncio.sleep(0)

    async def reach(self, events: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.seen) < events:
                self._grown.clear()
                await self._grown.wait()


@asynccontextmanager
async def tailing(dsn: str) -> AsyncIterator[Tail]:
    async with opened(dsn) as database:
        source = PostgresSource("garden", database, codec())
        await source.start()
        tail = Tail(source)
        reading = asyncio.create_task(tail.read())
        try:
            yield tail
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await source.close()
