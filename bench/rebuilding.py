"""A million events through the project's own projections, against one SQL GROUP BY and the peer's runner."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from uuid import uuid4

from bench.facts import EPOCH, WORDS, named
from bench.harness import Case, Meter, Rounds, Work
from bench.history import Town, towns, write_check_ins, write_goals
from bench.library import CheckIns, application, project_all
from bench.stage import codec_of, schema
from okr_checkins import read_model as checkins
from okr_eventstore.database import Database
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import Rebuilt, rebuild
from okr_eventstore.tables import ensure
from okr_goals import replica as goals
from okr_insights import read_model as insights

LEANEST = goals.check_ins
"""The last value of each key result, without history."""
WITH_HISTORY = (insights.check_ins, checkins.check_ins)
"""All others that fold check-ins: each keeps every version of its rows."""
BOARDS_VERSION = 1_000
"""No version that a round has built."""
SQL = "SQL GROUP BY on jsonb"
SQL_OF_SOME = "SQL GROUP BY on jsonb, a fifth of it"
PEER = "eventsourcing ProjectionRunner"

_AS_JSONB = """CREATE TABLE {name} AS
    SELECT shard, position, organization_id, stream_id, version, recorded_at, occurred_at, type, data::jsonb AS data
      FROM event WHERE shard = ANY (ARRAY[{shards}])"""
_GROUP_BY = """CREATE TABLE standing AS
    SELECT organization_id, data->>'key_result_id' AS key_result_id, count(*) AS check_ins,
           max(ARRAY[data->>'occurred_at', data->>'check_in_id', data->>'value']) AS last
      FROM {name} WHERE type = 'CheckInRecorded' GROUP BY 1, 2"""
"""The rows of the leanest projection, as cheaply as SQL makes them: the greatest of moment, id and value."""


async def measure(meter: Meter, dsn: str) -> Rounds:
    """All events for the leanest, a fifth of them for those with history: five rounds then take minutes, not a quarter
    of an hour. Rates are compared, each with SQL over the same events."""
    settled = towns(meter.scale)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(schema(dsn, "checkins"))
        await write_check_ins(log, codec_of("checkins"), settled.all)
        await log.execute("VACUUM ANALYZE event")
        cases = [
            Case(SQL, await _group_by(log, "event_jsonb", settled.all)),
            Case(LEANEST.name, await _rebuilding(stack, dsn, LEANEST, log, settled.all)),
            Case(SQL_OF_SOME, await _group_by(log, "event_jsonb_some", settled.some)),
            *[Case(each.name, await _rebuilding(stack, dsn, each, log, settled.some)) for each in WITH_HISTORY],
        ]
        await log.execute("CREATE SCHEMA peer")
        peer = stack.enter_context(application(dsn, "peer"))
        cases.append(Case(PEER, _projecting(log, peer, meter.scale.peer_events)))
        await asyncio.to_thread(_record, peer, meter.scale.peer_events)
        events = sum(town.events for town in settled.all)
        found = await meter.rounds(f"Rebuild of {events:,} events, checkpoint included", cases)
    unit = "events/s"
    found.compare(f"rebuild, {LEANEST.name} / SQL", LEANEST.name, SQL, ">= 0.8", unit=unit)
    for projection in WITH_HISTORY:
        name = f"rebuild, {projection.name} with history / SQL"
        found.compare(name, projection.name, SQL_OF_SOME, ">= 0.25", unit=unit, other_name=SQL)
    for projection in (LEANEST, *WITH_HISTORY):
        found.compare(f"rebuild, {projection.name} / eventsourcing", projection.name, PEER, ">= 200", unit=unit)
    return found


async def _rebuilding(
    stack: AsyncExitStack, dsn: str, projection: Projection, log: Database, of: Sequence[Town]
) -> Callable[[], Awaitable[Work]]:
    """Each time as after a release that changed the fold: rows, history, keys, checkpoint and switch."""
    database = await stack.enter_async_context(schema(dsn, projection.name.partition(".")[0]))
    await ensure(database, [projection])
    versions, events = count(projection.version + 1), sum(town.events for town in of)

    async def run() -> Work:
        rebuilt = await _rebuild(replace(projection, version=next(versions)), database, log, of)
        assert rebuilt.events == events, f"{rebuilt.events} of {events} were read"
        return Work(events)

    return run


async def _rebuild(projection: Projection, database: Database, log: Database, of: Sequence[Town]) -> Rebuilt:
    shards = [town.shard for town in of]
    source = PostgresSource(projection.source, log, codec_of(projection.source), shards=shards)
    return await rebuild(projection, database, source)


async def _group_by(log: Database, name: str, of: Sequence[Town]) -> Callable[[], Awaitable[Work]]:
    shards = ", ".join(str(town.shard) for town in of)
    await log.execute(_AS_JSONB.format(name=name, shards=shards))
    await log.execute(f"VACUUM ANALYZE {name}")
    events = sum(town.events for town in of)

    async def run() -> Work:
        await log.execute("DROP TABLE IF EXISTS standing")
        await log.execute(_GROUP_BY.format(name=name))
        return Work(events)

    return run


def _record(peer: CheckIns, events: int) -> None:
    key_result_id = peer.open(named("objective"), EPOCH)
    for number in range(events - 1):
        at = EPOCH + timedelta(seconds=number)
        peer.record(
            key_result_id, check_in_id=uuid4(), value=Decimal(number), confidence=Decimal("0.7"), note=WORDS,
            occurred_at=at, at=at,
        )  # fmt: skip


def _projecting(log: Database, peer: CheckIns, events: int) -> Callable[[], Awaitable[Work]]:
    """From nothing each time. Its rate does not depend on how much there is, so a part of it is enough."""

    async def run() -> Work:
        await log.execute("DROP TABLE IF EXISTS peer.standingsprojection_tracking, peer.standing")
        await asyncio.to_thread(project_all, log.dsn, "peer", peer.recorder.max_notification_id() or 0)
        return Work(events)

    return run


async def prepare_boards(dsn: str, meter: Meter) -> None:
    """What two boards show: the definitions of their key results, and all their check-ins."""
    settled = towns(meter.scale)
    both = [settled.busy, settled.calm]
    async with schema(dsn, "goals") as goals_log, schema(dsn, "checkins") as log, schema(dsn, "insights") as database:
        await write_goals(goals_log, codec_of("goals"), settled)
        await ensure(database, insights.projections)
        for projection, source in ((insights.goals, goals_log), (insights.check_ins, log)):
            await _rebuild(replace(projection, version=BOARDS_VERSION), database, source, both)
