"""Where it happens: one real PostgreSQL with its usual durability, a database of its own for each group of figures."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from okr_chassis.storage.postgres import EmbeddedPostgres, check_durability
from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS, UPCASTERS
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """The server of DATABASE_URL, or one of our own that leaves nothing behind."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with TemporaryDirectory(prefix="okr-bench-") as directory:
        async with EmbeddedPostgres(Path(directory) / "data") as embedded:
            yield embedded.dsn


@asynccontextmanager
async def fresh_database(dsn: str) -> AsyncIterator[str]:
    """An empty database, gone afterwards. Raises DurabilityError where commits are not durable."""
    name = f"bench_{uuid4().hex}"
    connection = await asyncpg.connect(dsn)
    try:
        await check_durability(connection)
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


async def postmaster_of(dsn: str) -> int | None:
    """The pid whose children serve us, where the server is on this machine."""
    connection = await asyncpg.connect(dsn)
    try:
        return _parent_of(await connection.fetchval("SELECT pg_backend_pid()"))
    finally:
        await connection.close()


def _parent_of(backend: int) -> int | None:
    stat = Path(f"/proc/{backend}/stat")
    if not stat.exists() or "postgres" not in stat.read_text():
        return None
    return int(stat.read_text().rpartition(")")[2].split()[1])


@asynccontextmanager
async def schema(dsn: str, name: str) -> AsyncIterator[Database]:
    """A service's schema with the tables of a log."""
    database = await Database.open(dsn, name)
    try:
        await migrate(database, LOG_MIGRATIONS)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def running_log(service: str, database: Database) -> AsyncIterator[EventLog]:
    log = EventLog(service, database, codec_of(service))
    await log.start()
    try:
        yield log
    finally:
        await log.close()


def codec_of(service: str) -> Codec:
    return Codec(EVENTS[service], SCHEMA_VERSIONS, UPCASTERS)
