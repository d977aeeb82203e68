"""Impostors that break promises as systems usually do: the judge of the chaos runs must catch them."""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from tests.chaos.history import Held, Stored, Stream, disagreements, missed, read
from tests.chaos.run import Beat, Run
from tests.chaos.writers import SAYS, Writers
from tests.eventstore.garden import GARDEN, codec

STREAMS: list[Stream] = [(GARDEN, f"plant-{n}") for n in range(4)]
if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # takes no parameters while running

KILLS = 5
ACKNOWLEDGED_BEFORE_A_KILL = 30


class HastyConnection(Connection):
    """Answers from inside a transaction and commits when it finds the time: after each tenth batch."""

    batches = 0

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        if not self.is_in_transaction():
            await self.execute("BEGIN")
        answered = await super().fetch(query, *args, **options)
        self.batches += 1
        if self.batches % 10 == 0:
            await self.execute("COMMIT")
        return answered


class HastyDatabase(Database):
    """Its appender acknowledges before COMMIT."""

    async def connect(self, **_: Any) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            self.dsn,
            connection_class=HastyConnection,
            server_settings={"search_path": self.schema, "application_name": f"okr {self.schema}"},
        )


async def told_and_held(kind: type[Database], database: Database) -> list[str]:
    """Some writers through a store whose backends are killed; what the judge says of it afterwards."""
    run, beat = Run("control", 0), Beat()
    with run.told():
        opened = await kind.open(database.dsn, database.schema)
        log = EventLog("garden", opened, codec())
        await log.start()
        writers = Writers(STREAMS, beat, [log])
        writing = [asyncio.create_task(writers.write(log, run.choices(f"writer {n}"))) for n in range(8)]
        for _ in range(KILLS):
            await beat.reach(beat.count + ACKNOWLEDGED_BEFORE_A_KILL)
            await database.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = $1 AND query ~ 'append_batch|BEGIN|COMMIT' AND pid <> pg_backend_pid()""",
                f"okr {database.schema}",
            )
        writers.stop()
        await asyncio.gather(*writing)
        await log.close()
        await opened.close()
        return disagreements(writers.history, await read(database.dsn, database.schema, SAYS))


async def test_an_appender_that_acknowledges_before_commit_is_caught(database: Database) -> None:
    faults = await told_and_held(HastyDatabase, database)

    assert any("and lost" in fault for fault in faults), faults


async def test_the_same_run_finds_nothing_to_say_of_the_store_itself(database: Database) -> None:
    assert await told_and_held(Database, database) == []


# --- readers -----------------------------------------------------------------------------------------

PLAIN = "CREATE TABLE plain (id bigserial PRIMARY KEY, says text NOT NULL)"


async def test_a_reader_that_tails_plain_inserts_loses_what_commits_late(database: Database) -> None:
    """The usual table of events. One transaction is held open across another's commit; no chance is involved."""
    await database.execute(PLAIN)
    seen: list[tuple[int, int]] = []

    async def tail() -> None:
        last = seen[-1][1] if seen else 0
        rows = await database.fetch("SELECT id FROM plain WHERE id > $1 ORDER BY id", last)
        seen.extend((0, row["id"]) for row in rows)

    async with database.transaction() as slow:
        await slow.execute("INSERT INTO plain (says) VALUES ('slow')")
        await database.execute("INSERT INTO plain (says) VALUES ('quick')")
        await tail()
    await tail()

    rows = await database.fetch("SELECT id, says FROM plain ORDER BY id")
    stored = [Stored(0, row["id"], (GARDEN, "plain"), row["id"], GARDEN, row["says"]) for row in rows]
    assert missed(seen, Held(stored, {0: 2})) == ["shard 0: the reader was never handed positions 1"]


async def test_the_same_overlap_loses_nothing_in_the_log(database: Database) -> None:
    """A writer that is slow to commit holds its shard, so whoever is quick gets the later position."""
    log = EventLog("garden", database, codec())
    await log.start()
    writers = Writers(STREAMS, Beat(), [log])
    seen: list[tuple[int, int]] = []

    async def tail() -> None:
        for head_shard in await log.heads():
            last = max((position for shard, position in seen if shard == head_shard), default=0)
            seen.extend((head_shard, event.position) for event in await log.read_shard(head_shard, last))

    async with database.transaction() as slow:
        await slow.fetch("SELECT FROM shard ORDER BY shard FOR UPDATE")  # as an append begins
        quick = asyncio.create_task(writers.write(log, Run("overlap", 0).choices("quick")))
        while not await slow.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await tail()
        assert seen == []
    writers.stop()
    await quick
    await tail()
    await log.close()
    held = await read(database.dsn, database.schema, SAYS)
    assert held.events
    assert missed(seen, held) == []
