"""A million events through the project's own projections, against one SQL GROUP BY and the peer's runner."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from uuid import uuid4

from bench.facts import EPOCH, WORDS, named
from bench.harness import Case, Meter, Rounds, Work
from bench.history import towns, write_check_ins, write_goals
from bench.library import CheckIns, application, project_all
from bench.stage import codec_of, schema
from okr_checkins import read_model as checkins
from okr_eventstore.database import Database
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import rebuild
from okr_eventstore.tables import ensure
from okr_goals import replica as goals
from okr_insights import read_model as insights

LEANEST = goals.check_ins
"""The last value of each key result, without history."""
WITH_HISTORY = (insights.check_ins, checkins.check_ins)
"""All others that fold check-ins: each keeps every version of its rows."""
SQL = "SQL GROUP BY on jsonb"
PEER = "eventsourcing ProjectionRunner"

_AS_JSONB = """CREATE TABLE event_jsonb AS
    SELECT shard, position, organization_id, stream_id, version, recorded_at, occurred_at, type, data::jsonb AS data
      FROM event"""
_GROUP_BY = """CREATE TABLE standing AS
    SELECT organization_id, data->>'key_result_id' AS key_result_id, count(*) AS check_ins,
           max(ARRAY[data->>'occurred_at', data->>'check_in_id', data->>'value']) AS last
      FROM event_jsonb WHERE type = 'CheckInRecorded' GROUP BY 1, 2"""
"""The rows of the leanest projection, as cheaply as SQL makes them: the greatest of moment, id and value."""


async def measure(meter: Meter, dsn: str) -> Rounds:
    settled = towns(meter.scale)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(schema(dsn, "checkins"))
        await write_check_ins(log, codec_of("checkins"), settled)
        await log.execute(_AS_JSONB)
        await log.execute("VACUUM ANALYZE event")
        await log.execute("VACUUM ANALYZE event_jsonb")

        cases = [Case(SQL, _group_by(log, settled.events))]
        for projection in (LEANEST, *WITH_HISTORY):
            database = await stack.enter_async_context(schema(dsn, projection.name.partition(".")[0]))
            await ensure(database, [projection])
            cases.append(Case(projection.name, _rebuilding(projection, database, log, settled.events)))
        await log.execute("CREATE SCHEMA peer")
        peer = stack.enter_context(application(dsn, "peer"))
        cases.append(Case(PEER, _projecting(log, peer, meter.scale.peer_events)))
        await asyncio.to_thread(_record, peer, meter.scale.peer_events)
        found = await meter.rounds(f"Rebuild of {settled.events:,} events, checkpoint included", cases)
    unit = "events/s"
    found.compare(f"rebuild, {LEANEST.name} / SQL", LEANEST.name, SQL, ">= 0.8", unit=unit)
    for projection in WITH_HISTORY:
        found.compare(f"rebuild, {projection.name} with history / SQL", projection.name, SQL, ">= 0.25", unit=unit)
    for projection in (LEANEST, *WITH_HISTORY):
        found.compare(f"rebuild, {projection.name} / eventsourcing", projection.name, PEER, ">= 200", unit=unit)
    return found


def _rebuilding(
    projection: Projection, database: Database, log: Database, events: int
) -> Callable[[], Awaitable[Work]]:
    """Each time as after a release that changed the fold: rows, history, keys, checkpoint and switch."""
    versions = count(projection.version + 1)

    async def run() -> Work:
        source = PostgresSource(projection.source, log, codec_of(projection.source))
        rebuilt = await rebuild(replace(projection, version=next(versions)), database, source)
        assert rebuilt.events == events, f"{rebuilt.events} of {events} were read"
        return Work(events)

    return run


def _group_by(log: Database, events: int) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        await log.execute("DROP TABLE IF EXISTS standing")
        await log.execute(_GROUP_BY)
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
    """The other half of two boards: what their key results are."""
    settled = towns(meter.scale)
    async with schema(dsn, "goals") as log, schema(dsn, "insights") as database:
        await write_goals(log, codec_of("goals"), settled)
        await ensure(database, insights.projections)
        source = PostgresSource("goals", log, codec_of("goals"))
        await rebuild(replace(insights.goals, version=insights.goals.version + 1), database, source)
