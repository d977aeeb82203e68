"""The start of the embedded platform: what it does before it serves, and what it leaves to what serves."""

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from okr_chassis.settings import Settings
from okr_cli import up
from okr_cli.output import Output
from okr_cli.samples import Bookmark
from okr_cli.story import stories
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def directory(fresh_dsn: str) -> AsyncIterator[Database]:
    """The directory's log in a database of its own."""
    database = await Database.open(fresh_dsn, "directory")
    await migrate(database, LOG_MIGRATIONS)
    yield database
    await database.close()


async def schemas(database: Database) -> set[str]:
    return {row[0] for row in await database.fetch("SELECT schema_name FROM information_schema.schemata")}


async def test_a_start_with_events_in_the_log_waits_for_nobody_to_digest_them(
    directory: Database, tmp_path: Path
) -> None:
    """An import of thousands of rows that was interrupted, or a halted consumer, must not keep the platform down."""
    await directory.execute(
        """INSERT INTO event (shard, position, organization_id, stream_id, version, event_id, type, schema_version,
                              recorded_at, occurred_at, command_id, correlation_id, actor, data)
           VALUES (0, 1, $1, 'organization-1', 1, $1, 'X', 1, $2, $2, $1, $1, 'person:1', '{}')""",
        uuid4(),
        NOW,
    )
    said = io.StringIO()

    await up.tell(Settings(data_dir=tmp_path), directory.dsn, stories(), Output(stdout=said))

    assert said.getvalue() == ""
    assert "goals" not in await schemas(directory), "no platform was started to look for the samples"


async def test_an_empty_log_holds_nothing_migrated_or_not(fresh_dsn: str, directory: Database) -> None:
    assert not await up._holds_events(directory.dsn)
    connection = await asyncpg.connect(fresh_dsn)
    try:
        await connection.execute("DROP SCHEMA directory CASCADE")
    finally:
        await connection.close()
    assert not await up._holds_events(fresh_dsn)


def test_a_bookmark_that_cannot_be_read_still_tells_of_an_interrupted_telling(tmp_path: Path) -> None:
    bookmark = Bookmark(tmp_path / "samples.bookmark")
    told = [bookmark.is_there]
    bookmark.put(NOW)
    told.append(bookmark.is_there)
    assert bookmark.read() == NOW
    (tmp_path / "samples.bookmark").write_text("torn")
    told.append(bookmark.is_there)
    assert bookmark.read() is None
    bookmark.remove()
    told.append(bookmark.is_there)
    assert told == [False, True, True, False]
