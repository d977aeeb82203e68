"""Connections die. An acknowledged command stays, an unacknowledged one is sent again and lands once."""

import asyncio

from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.model import shard_of
from tests.support.shop import MINT, added, context

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
