"""The schemas of one PostgreSQL that a process works in."""

from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from okr_chassis.startup import StartupError
from okr_chassis.storage.postgres import check_durability
from okr_eventstore.database import Database
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate

_NOT_ALLOWED = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)
_OWN = "DATABASE_URL must name the service's own role, as `okr database provision` makes and prints it"
_OTHERS = (
    "a role that sees one schema alone hears of other services over Kafka, so set OKR_KAFKA; "
    "without Kafka DATABASE_URL must name the owner of all schemas"
)


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
            try:
                await migrate(database, LOG_MIGRATIONS, *([migrations] if migrations else []))
            except _NOT_ALLOWED as error:
                role = await database.fetchval("SELECT current_user")
                hint = _OTHERS if self._opened else _OWN
                raise StartupError(f"the role {role} can neither use nor make the schema {schema}: {hint}") from error
            self._opened[schema] = database
        return self._opened[schema]

    async def close(self) -> None:
        await self._stack.aclose()
