"""The schemas of one PostgreSQL that a process works in."""

from contextlib import AsyncExitStack
from pathlib import Path

from okr_chassis.postgres import check_durability
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate


class Schemas:
    """Each is opened once, with the tables of a log and a consumer, and its service's own where it has some."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._opened: dict[str, Database] = {}
        self._stack = AsyncExitStack()

    async def open(self, schema: str, migrations: Path | None = None) -> Database:
        if schema not in self._opened:
            database = await Database.open(self._dsn, schema)
            self._stack.push_async_callback(database.close)
            if not self._opened:
                connection = await database.connect()
                try:
                    await check_durability(connection)
                finally:
                    await connection.close()
            await migrate(database, LOG_MIGRATIONS, *([migrations] if migrations else []))
            self._opened[schema] = database
        return self._opened[schema]

    async def close(self) -> None:
        await self._stack.aclose()
