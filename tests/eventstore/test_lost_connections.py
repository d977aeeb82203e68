"""Connections die. An acknowledged command stays, an unacknowledged one is sent again and lands once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from okr_eventstore import appender
from okr_eventstore import database as database_module
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import shard_of
from tests.support.proxy import Proxy
from tests.support.shop import MINT, added, codec, context

_KILL = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = $1 AND query LIKE 'SELECT * FROM append_batch%'"""


async def test_appends_survive_the_death_of_their_connection(log: EventLog, database: Database) -> None:
    """The appender's backend is killed after every tenth answer, while others are under way."""
    answers = asyncio.Semaphore(0)
    kills = 0

    async def write(stream: int) -> None:
        for version in range(30):
            await log.append(f"counter-{stream}", version, added(1), context())
            answers.release()

    async def kill() -> None:
        nonlocal kills
        for _ in range(8 * 30 // 10):
            for _ in range(10):
                await answers.acquire()
            kills += await database.fetchval(_KILL, f"okr {database.schema}")

    await asyncio.gather(kill(), *(write(stream) for stream in range(8)))

    events = await log.read_shard(shard_of(MINT))
    assert [event.position for event in events] == list(range(1, 241))
    for stream in range(8):
        assert [event.version for event in events if event.stream_id == f"counter-{stream}"] == list(range(1, 31))
    assert kills > 10


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[Proxy]:
    url = urlsplit(database.dsn)
    assert url.hostname is not None and url.port is not None
    async with Proxy(url.hostname, url.port) as proxy:
        yield proxy


@asynccontextmanager
async def through(proxy: Proxy, database: Database) -> AsyncIterator[Database]:
    """The same schema behind the proxy, whose answers are not waited for long."""
    url = urlsplit(database.dsn)
    dsn = urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}")))
    behind = await Database.open(dsn, database.schema, answer_seconds=0.2)
    try:
        yield behind
    finally:
        await behind.close()


async def test_a_writer_gives_up_a_connection_that_falls_silent_and_sends_the_batch_on_another(
    database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open connections report no error: whoever waits for one waits for ever."""
    monkeypatch.setattr(appender, "ANSWER_SECONDS", 0.2)
    async with through(proxy, database) as behind:
        log = EventLog("shop", behind, codec())
        await log.start()
        await log.append("counter-1", 0, added(1), context())
        proxy.swallow()

        assert (await log.append("counter-1", 1, added(1), context())).version == 2
        await log.close()


async def test_a_reader_gives_up_a_connection_that_falls_silent_and_reads_on_another(
    database: Database, proxy: Proxy
) -> None:
    async with through(proxy, database) as behind:
        assert await behind.fetchval("SELECT 1") == 1
        proxy.swallow()

        with pytest.raises(StoreUnavailableError):
            await behind.fetchval("SELECT 1")
        assert await behind.fetchval("SELECT 1") == 1


async def test_a_pool_with_a_silent_connection_closes_all_the_same(
    database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CLOSE_SECONDS", 0.2)
    async with through(proxy, database) as behind:
        assert await behind.fetchval("SELECT 1") == 1
        proxy.swallow()
