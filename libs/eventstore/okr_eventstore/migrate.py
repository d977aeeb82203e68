"""Numbered SQL files, applied once, in order, each in its own transaction, never edited afterwards."""

from hashlib import sha256
from pathlib import Path

from okr_eventstore.database import Database

LOG_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x6F6B72  # "okr": one migrator a schema at a time
_LEDGER = """
    CREATE TABLE IF NOT EXISTS migration (
        folder text, file text, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (folder, file)
    )
"""


class MigrationError(Exception):
    """A file that was already applied has changed; restore it and put the change into a new file."""


async def migrate(database: Database, *folders: Path) -> list[str]:
    """Apply what is new in each folder, in order; returns the names of the files applied."""
    applied: list[str] = []
    connection = await database.connect()
    try:
        await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", _LOCK, database.schema)
        await connection.execute(_LEDGER)
        known = {
            (row["folder"], row["file"]): row["checksum"]
            for row in await connection.fetch("SELECT folder, file, checksum FROM migration")
        }
        for folder in folders:
            owner = folder.parent.name
            for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
                sql = path.read_text(encoding="utf-8")
                checksum = sha256(sql.encode()).hexdigest()
                if known.get((owner, path.name), checksum) != checksum:
                    raise MigrationError(f"{owner}/{path.name} was applied to {database.schema} and has changed since")
                if (owner, path.name) in known:
                    continue
                async with connection.transaction():
                    await connection.execute(sql)
                    await connection.execute(
                        "INSERT INTO migration (folder, file, checksum) VALUES ($1, $2, $3)", owner, path.name, checksum
                    )
                applied.append(f"{owner}/{path.name}")
    finally:
        await connection.close()
    return applied
