"""Building rows anew from the log: beside the live ones and then in their place, or only to compare.

A rebuild folds one shard after the other in memory and fills the next generation of tables by COPY,
catches up with the live one, and takes its place in one transaction. Readers see the old rows until
that instant; the old generation stays, so that going back is as quick. Nothing here reacts to
events: no command is sent and nobody is notified by a rebuild.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import asyncpg

from okr_eventstore.applying import HALT_FLOOR, Applier, may_pass
from okr_eventstore.checkpoints import Ledger, Stream
from okr_eventstore.database import Connection, Database
from okr_eventstore.errors import StoreError
from okr_eventstore.model import Head, Position, ShardBatch
from okr_eventstore.projection import Projection
from okr_eventstore.refolding import Filler, LogReader, pages
from okr_eventstore.tables import (
    Digest,
    Generation,
    create_generation,
    digest_of,
    drop_generation,
    index_statements,
    live_generation,
    quoted,
    shape_of,
    show_generation,
    tables_of,
)

BATCH_EVENTS = 1000
"""Events in one ordinary batch of the catch-up."""
FREEZE_EVENTS = 2000
"""How far behind the live rows the new ones may be when writers are stopped for the switch."""
CATCH_UP_ROUNDS = 100
"""After so many rounds the switch is made however far behind: the writers are faster than the catch-up."""

Progress = Callable[[int, int], None]
"""Told how many events are done, and how many there are in all."""

log = logging.getLogger(__name__)


class RebuildError(StoreError):
    """A rebuild that cannot begin, or has nothing to go back to; the live rows are as they were."""


class TableVerdict(NamedTuple):
    table: str
    live: Digest
    fresh: Digest


class Verdict(NamedTuple):
    """What a comparison found. `heads` is up to where both sides had been folded."""

    projection: str
    equal: bool
    events: int
    heads: list[Position]
    tables: list[TableVerdict]
    problem: str = ""
    """Why the log could not be folded to its end, if so."""


class Rebuilt(NamedTuple):
    """What a rebuild made. `equal` is None where a changed version or shape makes the rows differ anyway."""

    projection: str
    generation: int
    equal: bool | None
    events: int
    rows: int
    tables: list[TableVerdict]


def _silent(_done: int, _total: int) -> None:
    """Progress for nobody."""


# --- rebuild -----------------------------------------------------------------------------------------


async def rebuild(
    projection: Projection, database: Database, reader: LogReader, progress: Progress = _silent
) -> Rebuilt:
    """Build a projection anew beside the live rows, then switch. The live rows are untouched until then.

    Raises RebuildError when one is under way, or when the fold chokes on streams that the live one digested.
    """
    connection = await database.connect()
    try:
        if not await connection.fetchval(
            "SELECT pg_try_advisory_lock($1::int, hashtext($2))", *_lock_of(database, projection)
        ):
            raise RebuildError(f"{projection.name} is being rebuilt already; wait for that to end")
        return await _Rebuild(projection, database, reader, progress, connection).run()
    finally:
        await connection.close(timeout=5)  # gives the lock back too


class _Rebuild:
    def __init__(
        self,
        projection: Projection,
        database: Database,
        reader: LogReader,
        progress: Progress,
        connection: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        self._projection = projection
        self._database = database
        self._reader = reader
        self._progress = progress
        self._connection = connection

    async def run(self) -> Rebuilt:
        live = await _existing(self._connection, self._projection)
        fresh = await self._prepare(live)
        ledger = Ledger(
            fresh.consumer, self._projection.source, projection=self._projection, generation=fresh, live=False
        )
        applier = Applier(ledger, projection=self._projection)
        goals = await self._goals(live)
        await self._fill(fresh, goals)
        await self._index(fresh)
        await applier.read(self._connection, goals)
        for _ in range(CATCH_UP_ROUNDS):
            goals = await self._goals(live)
            behind = await self._behind(applier, goals)
            await self._catch_up(applier, goals)
            if behind <= FREEZE_EVENTS:
                break
        await self._refuse_worse(live, applier)
        return await self._switch(live, fresh, applier)

    async def _prepare(self, live: Generation) -> Generation:
        """The next generation, empty; what an attempt before left behind goes first."""
        async with self._connection.transaction():
            rows = await self._connection.fetch(
                "SELECT generation, filled FROM projection_generation WHERE name = $1", live.name
            )
            number = max(row["generation"] for row in rows) + 1
            for row in rows:
                if not row["filled"]:
                    await drop_generation(self._connection, live.name, row["generation"])
            fresh = Generation(live.name, number, self._projection.version, shape_of(self._projection))
            await create_generation(self._connection, self._projection, fresh, filled=False)
        return fresh

    async def _goals(self, live: Generation) -> dict[int, Head]:
        """How far to go: as far as the live rows where they can be compared, to the log's heads else."""
        heads = await self._reader.heads()
        if not live.fits(self._projection):
            return heads
        reached = await _checkpoints(self._connection, live.consumer, self._projection.source)
        if any(head.epoch != reached[shard].epoch for shard, head in heads.items() if shard in reached):
            return heads  # the log was restored from a backup: the live rows may know of events that are gone
        return reached

    async def _fill(self, fresh: Generation, goals: Mapping[int, Head]) -> None:
        """Fold and copy all shards, two at a time: while PostgreSQL takes the rows of one, the other is folded."""
        done, total = dict.fromkeys(goals, 0), sum(goal.position for goal in goals.values())
        self._progress(0, total)
        waiting = iter(sorted(goals.items()))  # a reader that has them from elsewhere finds neighbours together

        async def lane(connection: Connection) -> None:
            for shard, goal in waiting:

                def report(events: int, shard: int = shard) -> None:
                    done[shard] = events
                    self._progress(sum(done.values()), total)

                await self._fill_shard(connection, fresh, shard, goal, report)
                report(goal.position)

        await self._two_lanes(lane)
        self._progress(total, total)

    async def _fill_shard(
        self, connection: Connection, fresh: Generation, shard: int, goal: Head, report: Callable[[int], None]
    ) -> None:
        targets = {t.name: (t.live(fresh.number), t.past(fresh.number)) for t in tables_of(self._projection)}
        try:
            async with connection.transaction():
                await Filler(self._projection, connection, targets).fill(self._reader, shard, goal.position, {}, report)
                await connection.execute(
                    "INSERT INTO checkpoint (consumer, source, shard, epoch, position) VALUES ($1, $2, $3, $4, $5)",
                    fresh.consumer,
                    self._projection.source,
                    shard,
                    goal.epoch,
                    goal.position,
                )
        except Exception as error:
            if may_pass(error, lambda _: False):
                raise
            # The catch-up goes through this shard in ordinary batches and parks what cannot be digested.
            log.warning("%s: shard %s cannot be folded in one go: %s", self._projection.name, shard, error)

    async def _index(self, fresh: Generation) -> None:
        """Keys and indexes of two tables at a time."""
        waiting = iter(index_statements(self._projection, fresh))

        async def lane(connection: Connection) -> None:
            for statements in waiting:
                for statement in statements:
                    await connection.execute(statement)

        await self._two_lanes(lane)

    async def _two_lanes(self, lane: Callable[[Connection], Awaitable[None]]) -> None:
        """Run `lane` on two connections at once; what one raises ends both."""
        other = await self._database.connect()
        lanes = [asyncio.ensure_future(lane(connection)) for connection in (self._connection, other)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for each in lanes:
                each.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            await other.close(timeout=5)

    async def _behind(self, applier: Applier, goals: Mapping[int, Head]) -> int:
        unread = goals.keys() - applier.checkpoints.keys()
        if unread:
            await applier.read(self._connection, unread)
        return sum(max(0, goal.position - applier.checkpoints[shard].position) for shard, goal in goals.items())

    async def _catch_up(self, applier: Applier, goals: Mapping[int, Head]) -> None:
        """Go to the goals in ordinary batches."""
        await self._behind(applier, goals)
        for shard, goal in sorted(goals.items()):
            after = applier.checkpoints[shard].position
            if after >= goal.position:
                continue
            async with contextlib.aclosing(
                pages(self._reader.backfill, shard, after, goal.position, BATCH_EVENTS)
            ) as found:
                async for page in found:
                    await applier.apply(self._connection, [ShardBatch(shard, goal.epoch, page)])

    async def _refuse_worse(self, live: Generation, applier: Applier) -> None:
        """A fold that chokes on streams which the live one digests is a bug, and must not go live."""
        known = await _first_parked(self._connection, live.consumer, self._projection.source)
        newly = [s for shard, streams in applier.parked.items() for s in streams if s not in known.get(shard, {})]
        if len(newly) > HALT_FLOOR:
            raise RebuildError(
                f"{live.name}: {len(newly)} streams that are not parked now could not be digested, among them "
                f"{newly[0][1]}; the live rows stay, see `parked` for consumer {applier.ledger.consumer}"
            )

    async def _switch(self, live: Generation, fresh: Generation, applier: Applier) -> Rebuilt:
        """Stop the live generation's writers, draw level, take its place; compare what stood there level."""
        async with self._database.transaction() as frozen:
            found = await frozen.fetchrow(
                "SELECT name, generation, version, shape FROM projection WHERE name = $1 FOR UPDATE", live.name
            )
            if found is None or Generation(*found) != live:
                raise RebuildError(f"{live.name}: another generation went live meanwhile; rebuild once more")
            goals = await self._goals(live)
            await self._catch_up(applier, goals)
            reached = await _checkpoints(frozen, live.consumer, self._projection.source)
            level = live.fits(self._projection) and reached == {
                shard: Head(at.epoch, at.position) for shard, at in applier.checkpoints.items() if at.position
            }
            # Both sides as they are now, to be compared when the writers are no longer held up by it.
            snapshot = self._connection.transaction(isolation="repeatable_read", readonly=True)
            await snapshot.start()
            await self._connection.fetchval("SELECT 1 FROM projection LIMIT 1")
            await frozen.execute(
                "UPDATE projection_generation SET filled = true WHERE (name, generation) = ($1, $2)",
                fresh.name,
                fresh.number,
            )
            await show_generation(frozen, fresh)
        try:
            tables = await self._compare(live, fresh) if level else []
            rows = 0
            for table in tables_of(self._projection):
                rows += await self._connection.fetchval(f"SELECT count(*) FROM {quoted(table.live(fresh.number))}")
        finally:
            await snapshot.rollback()
        await self._drop_older(live, fresh)
        equal = all(verdict.live == verdict.fresh for verdict in tables) if level else None
        events = sum(at.position for at in applier.checkpoints.values())
        log.info("%s is read from generation %s now, %s rows of %s events", live.name, fresh.number, rows, events)
        return Rebuilt(live.name, fresh.number, equal, events, rows, tables)

    async def _compare(self, live: Generation, fresh: Generation) -> list[TableVerdict]:
        verdicts = []
        for table in tables_of(self._projection):
            pairs = [(table.name, table.live)]
            if table.history:
                pairs.append((f"{table.name}_history", table.past))
            for name, of in pairs:
                old = await digest_of(self._connection, of(live.number))
                new = await digest_of(self._connection, of(fresh.number))
                verdicts.append(TableVerdict(name, old, new))
        return verdicts

    async def _drop_older(self, live: Generation, fresh: Generation) -> None:
        """Keep the new one and the one before it."""
        async with self._connection.transaction():
            rows = await self._connection.fetch(
                "SELECT generation FROM projection_generation WHERE name = $1 AND generation <> ALL ($2::int[])",
                live.name,
                [live.number, fresh.number],
            )
            for row in rows:
                await drop_generation(self._connection, live.name, row["generation"])


async def rollback(projection: Projection, database: Database) -> Generation:
    """Go back to the generation before the last rebuild, at once. Its runner catches up from where it stood.

    Raises RebuildError when there is none. Call it again to come back.
    """
    async with database.transaction() as connection:
        current = await connection.fetchval(
            "SELECT generation FROM projection WHERE name = $1 FOR UPDATE", projection.name
        )
        found = await connection.fetchrow(
            """SELECT name, generation, version, shape FROM projection_generation
                WHERE name = $1 AND filled AND generation <> $2 ORDER BY generation DESC LIMIT 1""",
            projection.name,
            current,
        )
        if found is None:
            raise RebuildError(f"{projection.name} has no earlier generation to go back to")
        generation = Generation(*found)
        await show_generation(connection, generation)
        return generation


# --- verify ------------------------------------------------------------------------------------------


async def verify(
    projection: Projection, database: Database, reader: LogReader, progress: Progress = _silent
) -> Verdict:
    """Fold the log afresh exactly as far as the live rows have come, and compare the digests of both.

    Live rows go on changing meanwhile; what is compared is what they were at one instant. Streams
    parked then are left out from their first parked event on, as they are in the live rows.
    """
    connection = await database.connect()
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            live = await _existing(connection, projection)
            if not live.fits(projection):
                raise RebuildError(f"{projection.name} must be rebuilt: its version or its rows' shape changed")
            reached = await _checkpoints(connection, live.consumer, projection.source)
            parked = await _first_parked(connection, live.consumer, projection.source)
            old = {}
            for table in tables_of(projection):
                old[table.name] = await digest_of(connection, table.live(live.number))
                if table.history:
                    old[f"{table.name}_history"] = await digest_of(connection, table.past(live.number))
        problem = await _fold_to_scratch(projection, connection, reader, reached, parked, progress)
        verdicts = []
        for table in tables_of(projection):
            verdicts.append(
                TableVerdict(table.name, old[table.name], await digest_of(connection, f"{table.name}_fresh"))
            )
            if table.history:
                name = f"{table.name}_history"
                verdicts.append(
                    TableVerdict(name, old[name], await digest_of(connection, f"{table.name}_fresh_history"))
                )
    finally:
        await connection.close(timeout=5)  # and with it the scratch tables, which are temporary
    return Verdict(
        projection.name,
        not problem and all(verdict.live == verdict.fresh for verdict in verdicts),
        sum(head.position for head in reached.values()),
        [Position(projection.source, shard, *head) for shard, head in sorted(reached.items())],
        verdicts,
        problem,
    )


async def _fold_to_scratch(
    projection: Projection,
    connection: Connection,
    reader: LogReader,
    reached: Mapping[int, Head],
    parked: Mapping[int, Mapping[Stream, int]],
    progress: Progress,
) -> str:
    """Fill temporary tables from the log. Answers what went wrong, nothing if all went well."""
    for table in tables_of(projection):
        for statement in table.create(f"{table.name}_fresh", f"{table.name}_fresh_history", temporary=True):
            await connection.execute(statement)
    scratch = {t.name: (f"{t.name}_fresh", f"{t.name}_fresh_history") for t in tables_of(projection)}
    done, total = 0, sum(head.position for head in reached.values())
    progress(0, total)
    for shard, head in sorted(reached.items()):
        before = done

        def report(events: int, before: int = before) -> None:
            progress(before + events, total)

        try:
            async with connection.transaction():
                filler = Filler(projection, connection, scratch)
                await filler.fill(reader, shard, head.position, parked.get(shard, {}), report)
        except Exception as error:
            if may_pass(error, lambda _: False):
                raise
            return f"{projection.source}:{shard}: {type(error).__name__}: {error}"
        done += head.position
    progress(total, total)
    return ""


async def _existing(connection: Connection, projection: Projection) -> Generation:
    generation = await live_generation(connection, projection.name)
    if generation is None:
        raise RebuildError(f"{projection.name} has no tables yet; start its service once")
    return generation


async def _checkpoints(connection: Connection, consumer: str, source: str) -> dict[int, Head]:
    rows = await connection.fetch(
        "SELECT shard, epoch, position FROM checkpoint WHERE consumer = $1 AND source = $2 AND position > 0",
        consumer,
        source,
    )
    return {row["shard"]: Head(row["epoch"], row["position"]) for row in rows}


async def _first_parked(connection: Connection, consumer: str, source: str) -> dict[int, dict[Stream, int]]:
    rows = await connection.fetch(
        """SELECT shard, organization_id, stream_id, min(position) FROM parked
            WHERE consumer = $1 AND source = $2 GROUP BY 1, 2, 3""",
        consumer,
        source,
    )
    found: dict[int, dict[Stream, int]] = {}
    for shard, organization_id, stream_id, position in rows:
        found.setdefault(shard, {})[organization_id, stream_id] = position
    return found


def _lock_of(database: Database, projection: Projection) -> tuple[int, str]:
    """An advisory lock's two halves: one for rebuilds as such, one for this projection of this schema."""
    return 0x4F4B52, f"{database.schema}.{projection.name}"
