"""A database that was restored from a backup: its logs begin a new epoch, so that positions given out since then by the
database that was lost are never taken for what stands there now.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from okr_chassis.startup import StartupError

AGAIN = "restored"
"""Stands where a projection's shape stood. No shape is called so, hence its service folds it afresh when it starts."""


class Restored(NamedTuple):
    """A service's log in its new epoch."""

    service: str
    epoch: int
    events: int
    projections: int
    """Read models that will be built anew when the service starts."""


async def begin_new_epoch(dsn: str, services: Sequence[str]) -> list[Restored]:
    """Do so for all services whose schemas are there, all or none. Raises StartupError while any of them runs.

    Reactions go on where the restored logs end; what they had heard beyond is gone with the events themselves.
    """
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise StartupError(f"PostgreSQL cannot be used: {error}; see DATABASE_URL") from error
    try:
        async with connection.transaction():
            await _require_nobody_at_work(connection)
            found = [
                service
                for service in services
                if await connection.fetchval("SELECT to_regclass($1)", f"{service}.shard")
            ]
            if not found:
                raise StartupError("there is no schema of any service in this database; see DATABASE_URL")
            for service in found:
                await connection.execute(f'UPDATE "{service}".shard SET epoch = epoch + 1')
            return [await _settle(connection, service, found) for service in found]
    finally:
        await connection.close()


async def _require_nobody_at_work(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    at_work = await connection.fetch(
        """SELECT DISTINCT application_name FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE 'okr %' ORDER BY 1"""
    )
    if at_work:
        names = ", ".join(row["application_name"] for row in at_work)
        raise StartupError(f"services are connected to this database: {names}; stop all of them first")


async def _settle(connection: "asyncpg.Connection[asyncpg.Record]", service: str, restored: Sequence[str]) -> Restored:
    """What a service keeps beside its log."""
    projections = await connection.fetch(f'UPDATE "{service}".projection SET shape = $1 RETURNING name', AGAIN)
    for source in restored:
        await connection.execute(
            f"""UPDATE "{service}".checkpoint c SET epoch = s.epoch, position = least(c.position, s.head)
                  FROM "{source}".shard s
                 WHERE c.source = $1 AND c.shard = s.shard AND c.consumer NOT LIKE '%@%'""",
            source,
        )
        await connection.execute(
            f"""DELETE FROM "{service}".parked p USING "{source}".shard s
                 WHERE p.source = $1 AND p.shard = s.shard AND p.position > s.head""",
            source,
        )
    epoch, events = await connection.fetchrow(f'SELECT max(epoch), sum(head)::bigint FROM "{service}".shard') or (0, 0)
    return Restored(service, epoch, events, len(projections))
