"""One service's schema in one PostgreSQL: a pool for reads, dedicated connections for the hot paths."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from okr_eventstore.errors import StoreUnavailableError

CONNECT_TIMEOUT_SECONDS = 10
POOL_SIZE = 4
ANSWER_SECONDS = 30.0
"""How long a statement on the pool, or of a consumer, may take before its connection counts as lost. A connection
whose other end has gone without a word would else be waited for until the kernel gives it up, or for ever."""
CLOSE_SECONDS = 5.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Answer = TypeVar("Answer")

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # After a crash of the server asyncpg may say "cannot switch to state …": the connection is gone all the same.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    ConnectionError,
    TimeoutError,
    OSError,
)

_TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    StoreUnavailableError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the connection, not the question, is at fault: the outcome of a write is then unknown."""
    return isinstance(error, _LOST)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later without anybody changing anything."""
    return isinstance(error, _LOST + _TRANSIENT)


class PoolUse(NamedTuple):
    """The connections of a pool: how many are open, how many of them nobody uses, how many there may be."""

    open: int
    idle: int
    most: int


class Database:
    """A schema and the ways to reach it. `search_path` is the schema, so SQL names tables bare."""

    def __init__(
        self, dsn: str, schema: str, pool: "asyncpg.Pool[asyncpg.Record]", answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.dsn = dsn
        self.schema = schema
        self.answer_seconds = answer_seconds
        self._pool = pool

    @classmethod
    async def open(
        cls, dsn: str, schema: str, *, pool_size: int = POOL_SIZE, answer_seconds: float = ANSWER_SECONDS
    ) -> "Database":
        """Connect, and create the schema if it is missing. Raises StoreUnavailableError."""
        if not schema.replace("_", "").isalnum():
            raise ValueError(f"{schema!r} is no schema name; letters, digits and underscores make one")
        with _reported():
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
            try:
                # A role that was given its schema ready-made need not be allowed to make others.
                if await connection.fetchval("SELECT to_regnamespace(quote_ident($1)) IS NULL", schema):
                    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            except asyncpg.UniqueViolationError:
                pass  # another process created it in the same instant
            finally:
                await connection.close()
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=pool_size,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=answer_seconds,
                server_settings=_settings(schema),
                reset=_as_it_was,
            )
        return cls(dsn, schema, pool, answer_seconds)

    @property
    def pool_use(self) -> PoolUse:
        return PoolUse(self._pool.get_size(), self._pool.get_idle_size(), self._pool.get_max_size())

    async def close(self) -> None:
        """In an orderly way, as long as the other end takes part in it."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def connect(self, *, answer_seconds: float | None = None) -> "asyncpg.Connection[asyncpg.Record]":
        """A dedicated connection, for hot paths and LISTEN; the caller closes it. Raises StoreUnavailableError.

        Without `answer_seconds` a statement may take as long as it likes, as a migration's may.
        """
        with _reported():
            return await asyncpg.connect(
                self.dsn,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=answer_seconds,
                server_settings=_settings(self.schema),
            )

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        return await self._ask(lambda connection: connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        return await self._ask(lambda connection: connection.fetchrow(sql, *args))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self._ask(lambda connection: connection.fetchval(sql, *args))

    async def execute(self, sql: str, *args: Any) -> str:
        return await self._ask(lambda connection: connection.execute(sql, *args))

    @asynccontextmanager
    async def transaction(self, isolation: Any = None) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        """A connection inside BEGIN … COMMIT. Raises StoreUnavailableError when it is lost on the way."""
        with _reported():
            async with self._pool.acquire() as connection, connection.transaction(isolation=isolation):
                yield connection

    async def _ask(self, question: "Callable[[PoolConnectionProxy[asyncpg.Record]], Awaitable[Answer]]") -> Answer:
        with _reported():
            async with self._pool.acquire() as connection:
                return await question(connection)


async def _as_it_was(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Nothing is asked of PostgreSQL when a connection goes back to the pool, which would nearly double a statement.

    Nobody changes a session of the pool: no SET but for a transaction, no LISTEN, no lock or table that outlives one.
    The driver itself rolls back a transaction that was left open.
    """


def _settings(schema: str) -> dict[str, str]:
    return {"search_path": schema, "application_name": f"okr {schema}", "timezone": "UTC", "jit": "off"}


class _reported:
    """Turns every way of losing PostgreSQL into the one error that callers know."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and is_lost(error) and not isinstance(error, asyncio.CancelledError):
            raise StoreUnavailableError(f"PostgreSQL did not answer: {error or type(error).__name__}") from error
