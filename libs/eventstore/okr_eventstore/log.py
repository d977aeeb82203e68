"""One service's event log: append to it, read it, hear of it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from okr_eventstore.appender import Appended, Appender, Clock
from okr_eventstore.codec import Codec, UnknownEvent, UnreadableEvent
from okr_eventstore.database import Database, is_transient
from okr_eventstore.errors import StoreUnavailableError, UnknownEventError
from okr_eventstore.model import CommandContext, Done, Head, NewEvent, Position, RecordedEvent, shard_of
from okr_eventstore.recent_events import RecentEvents

PAGE_EVENTS = 1000
_NO_LIMIT = 2**62
NOTIFY_SECONDS = 0.002
"""Wake-ups to other processes are gathered this long and sent after commit, from a connection of their own."""
COMMANDS_KEPT_DAYS = 30
EXPIRY_SECONDS = 3600.0

_COLUMNS = """position, organization_id, stream_id, version, event_id, type, schema_version, recorded_at, occurred_at,
    command_id, causation_id, correlation_id, actor, data, metadata"""
_STREAM = f"""SELECT {_COLUMNS} FROM event
    WHERE shard = $1 AND organization_id = $2 AND stream_id = $3 AND version > $4 AND version <= $5 ORDER BY version"""
_SHARD = f"SELECT {_COLUMNS} FROM event WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3"
_SHARD_OF_ORGANIZATION = f"""SELECT {_COLUMNS} FROM event
    WHERE shard = $1 AND position > $2 AND organization_id = $4 ORDER BY position LIMIT $3"""
_FACT = "version, type, schema_version, data"
_FACTS = f"""SELECT {_FACT} FROM event
    WHERE shard = $1 AND organization_id = $2 AND stream_id = $3 AND version > $4 AND version <= $5 ORDER BY version"""
_VERSIONS = f"""SELECT {_FACT} FROM event
    WHERE shard = $1 AND organization_id = $2 AND stream_id = $3 AND version = ANY ($4::bigint[]) ORDER BY version"""
_FROM_SNAPSHOT = f"""
    WITH kept AS MATERIALIZED (
        SELECT version, state FROM snapshot
         WHERE shard = $1 AND organization_id = $2 AND stream_id = $3 AND state_version = $4 AND version <= $5
         ORDER BY version DESC LIMIT 1)
    SELECT version, NULL AS type, NULL::smallint AS schema_version, state AS data FROM kept
    UNION ALL
    SELECT {_FACT} FROM event
     WHERE shard = $1 AND organization_id = $2 AND stream_id = $3
       AND version > coalesce((SELECT version FROM kept), 0) AND version <= $5
     ORDER BY version"""
_SAVE_SNAPSHOT = """
    WITH thinned AS (
        DELETE FROM snapshot WHERE shard = $1 AND organization_id = $2 AND stream_id = $3
           AND (state_version < $4 OR (state_version = $4 AND slot % $8 <> 0)))
    INSERT INTO snapshot (shard, organization_id, stream_id, state_version, version, state, slot)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"""

_NOTIFY = "SELECT pg_notify($1, $2)"

Listener = Callable[[set[int]], None]


class StoredCommand(Struct, frozen=True):
    """The answer to a finished command, as kept for a resend."""

    fingerprint: bytes
    done: Done


class Fact(NamedTuple):
    """As much of a recorded event as a decision may know."""

    version: int
    data: Struct


class Snapshot(NamedTuple):
    """A stream folded up to a version, as JSON."""

    version: int
    state: str


class EventLog:
    """The log of one service. Positions are gapless in each shard, versions in each stream.

    `clock` replaces the database's clock for `recorded_at` (histories, tests); it may stand still or
    jump, recorded times never go back inside a shard.
    """

    def __init__(self, service: str, database: Database, codec: Codec, clock: Clock | None = None) -> None:
        self.service = service
        self.database = database
        self.codec = codec
        self.appender = Appender(service, database, codec, clock, self._hand_over)
        self.recent = RecentEvents()
        """What listeners were called for, so that they need not read it back."""
        self._listeners: list[Listener] = []
        self._woken: set[int] = set()
        self._waking = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._looked: asyncio.Task[dict[int, Head]] | None = None
        self._looked_at = 0.0

    @property
    def channel(self) -> str:
        """The NOTIFY channel on which other processes hear of new events; the payload lists the shards."""
        return channel_of(self.database.schema)

    async def start(self) -> None:
        self.appender.start()
        self._tasks = [
            asyncio.create_task(self._notify(), name=f"notify {self.service}"),
            asyncio.create_task(self._expire_hourly(), name=f"expire commands {self.service}"),
        ]

    async def close(self) -> None:
        await self.appender.close()
        tasks = [*self._tasks, *([self._looked] if self._looked is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- writing ---------------------------------------------------------------------------------

    async def append(
        self,
        stream_id: str,
        expected_version: int,
        events: Sequence[NewEvent],
        context: CommandContext,
        reply: bytes | None = None,
    ) -> Done:
        """Durably append one command's events, all or none, or say what it answered the first time.

        Raises ConflictError when the stream is not at `expected_version` (0: does not exist yet),
        CommandIdReusedError, EventRejectedError, and StoreUnavailableError when the outcome is
        unknown: then the same command id may be sent again.
        """
        return await self.appender.append(stream_id, expected_version, events, context, reply)

    async def find_command(self, organization_id: UUID, command_id: UUID) -> StoredCommand | None:
        """What a command answered, if it was finished within the last 30 days."""
        shard = shard_of(organization_id)
        row = await self.database.fetchrow(
            """SELECT c.fingerprint, c.version, c.position, c.reply, s.epoch
                 FROM command c JOIN shard s USING (shard)
                WHERE c.shard = $1 AND c.organization_id = $2 AND c.command_id = $3""",
            shard,
            organization_id,
            command_id,
        )
        if row is None:
            return None
        position = Position(self.service, shard, row["epoch"], row["position"])
        return StoredCommand(row["fingerprint"], Done(row["version"], position, True, row["reply"]))

    async def expire_commands(self) -> None:
        """Forget the answers of commands so old that nobody will send them again."""
        await self.database.execute(
            "DELETE FROM command WHERE recorded_at < now() - make_interval(days => $1)", COMMANDS_KEPT_DAYS
        )

    # --- reading ---------------------------------------------------------------------------------

    async def read_stream(
        self, organization_id: UUID, stream_id: str, after_version: int = 0, up_to_version: int | None = None
    ) -> list[RecordedEvent]:
        """A stream's events in version order, `after_version` < version ≤ `up_to_version`."""
        shard = shard_of(organization_id)
        limit = _NO_LIMIT if up_to_version is None else up_to_version
        rows = await self.database.fetch(_STREAM, shard, organization_id, stream_id, after_version, limit)
        return decode_rows(self.codec, shard, rows)

    async def read_shard(
        self, shard: int, after: int = 0, limit: int = PAGE_EVENTS, organization_id: UUID | None = None
    ) -> list[RecordedEvent]:
        """The next events of a shard in position order; of one organisation only, where it is named."""
        if organization_id is None:
            return await read_page(self.database, self.codec, shard, after, limit)
        rows = await self.database.fetch(_SHARD_OF_ORGANIZATION, shard, after, limit, organization_id)
        return decode_rows(self.codec, shard, rows)

    async def heads(self) -> dict[int, Head]:
        """The last position of every shard that holds anything."""
        return await read_heads(self.database)

    async def heads_lately(self, seconds: float) -> dict[int, Head]:
        """The heads as they were at most so long ago: however many consumers ask, one question a while is enough."""
        if self._looked is None or (self._looked.done() and time.monotonic() - self._looked_at > seconds):
            self._looked_at = time.monotonic()
            self._looked = asyncio.ensure_future(self.heads())
        # One that gives up must not take the answer away from the others.
        return await asyncio.shield(self._looked)

    async def read_facts(
        self, organization_id: UUID, stream_id: str, after_version: int = 0, up_to_version: int | None = None
    ) -> list[Fact]:
        """What a stream's events say, `after_version` < version ≤ `up_to_version`. Raises UnknownEventError."""
        limit = _NO_LIMIT if up_to_version is None else up_to_version
        shard = shard_of(organization_id)
        rows = await self.database.fetch(_FACTS, shard, organization_id, stream_id, after_version, limit)
        return self._facts(stream_id, rows)

    async def read_versions(self, organization_id: UUID, stream_id: str, versions: Sequence[int]) -> list[Fact]:
        """What a stream's events at these versions say. Raises UnknownEventError."""
        shard = shard_of(organization_id)
        return self._facts(stream_id, await self.database.fetch(_VERSIONS, shard, organization_id, stream_id, versions))

    async def read_from_snapshot(
        self, organization_id: UUID, stream_id: str, state_version: int, up_to_version: int | None = None
    ) -> tuple[Snapshot | None, list[Fact]]:
        """The last snapshot of this state version up to a version, and what follows it. Raises UnknownEventError."""
        limit = _NO_LIMIT if up_to_version is None else up_to_version
        shard = shard_of(organization_id)
        rows = await self.database.fetch(_FROM_SNAPSHOT, shard, organization_id, stream_id, state_version, limit)
        if rows and rows[0]["type"] is None:
            return Snapshot(rows[0]["version"], rows[0]["data"]), self._facts(stream_id, rows[1:])
        return None, self._facts(stream_id, rows)

    def _facts(self, stream_id: str, rows: Iterable[Iterable[Any]]) -> list[Fact]:
        """Deciding on a stream one cannot fully read would be guessing."""
        decode, facts = self.codec.decode, []
        for version, type_, schema_version, data in rows:
            fact = Fact(version, decode(type_, schema_version, data))
            if type(fact.data) is UnknownEvent or type(fact.data) is UnreadableEvent:
                raise UnknownEventError(
                    f"{stream_id} holds {type_} version {schema_version} at {version}, which this release cannot read"
                )
            facts.append(fact)
        return facts

    async def save_snapshot(
        self, organization_id: UUID, stream_id: str, state_version: int, kept: Snapshot, slot: int, thinned: int
    ) -> None:
        """Keep a snapshot, and of the older ones those whose slot is a multiple of `thinned`."""
        await self.database.execute(
            _SAVE_SNAPSHOT,
            shard_of(organization_id),
            organization_id,
            stream_id,
            state_version,
            kept.version,
            kept.state,
            slot,
            thinned,
        )

    # --- wake-ups --------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the shards that grew, after each commit of this process; returns the way to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _hand_over(self, appended: Sequence[Appended]) -> None:
        """What was committed just now, to whoever listens here; and a word to other processes."""
        shards = {each.command.shard for each in appended}
        if self._listeners:
            for each in appended:
                shard = each.command.shard
                self.recent.add(shard, each.epoch, decode_rows(self.codec, shard, _as_stored(each)))
        for listener in tuple(self._listeners):
            listener(shards)
        self._woken |= shards
        self._waking.set()

    async def _notify(self) -> None:
        """Tell other processes. A lost wake-up costs them one poll, so a failure here is no error."""
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            while True:
                await self._waking.wait()
                await asyncio.sleep(NOTIFY_SECONDS)
                shards, self._woken = self._woken, set()
                self._waking.clear()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self.database.connect(answer_seconds=self.database.answer_seconds)
                        # A wake-up need not outlive a crash, and commits must not wait for it at the disk.
                        await connection.execute("SET synchronous_commit = off")
                    await connection.execute(_NOTIFY, self.channel, ",".join(map(str, sorted(shards))))
                except Exception as error:
                    if not is_transient(error):
                        raise
                    if connection is not None:
                        connection.terminate()
        finally:
            if connection is not None:
                connection.terminate()

    async def _expire_hourly(self) -> None:
        """It may be late, so a failure waits for the next round."""
        while True:
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
                await self.expire_commands()
            await asyncio.sleep(EXPIRY_SECONDS)


def channel_of(schema: str) -> str:
    return f"okr_events_{schema}"


def _as_stored(appended: Appended) -> Iterator[tuple[Any, ...]]:
    """A command's events as the table has them. They are decoded like those, so that consumers see no difference."""
    command, events = appended.command, appended.command.events
    for before_last, event in zip(reversed(range(len(events))), events, strict=True):
        yield (
            appended.position - before_last,
            command.organization_id,
            command.stream_id,
            command.expected_version + len(events) - before_last,
            event.event_id,
            event.type,
            event.schema_version,
            appended.recorded_at,
            appended.recorded_at if event.occurred_at is None else event.occurred_at.astimezone(UTC),
            command.command_id,
            command.causation_id,
            command.correlation_id,
            command.actor,
            event.data,
            command.metadata,
        )


async def read_page(database: Database, codec: Codec, shard: int, after: int, limit: int) -> list[RecordedEvent]:
    """The next events of a shard in position order."""
    return decode_rows(codec, shard, await database.fetch(_SHARD, shard, after, limit))


async def read_heads(database: Database) -> dict[int, Head]:
    rows = await database.fetch("SELECT shard, epoch, head FROM shard WHERE head > 0")
    return {row["shard"]: Head(row["epoch"], row["head"]) for row in rows}


def decode_rows(codec: Codec, shard: int, rows: Iterable[Iterable[Any]]) -> list[RecordedEvent]:
    """Rows of `event` as recorded events; unknown and newer types keep a marker in place of their data."""
    decode = codec.decode
    return [
        RecordedEvent(
            shard,
            position,
            organization_id,
            stream_id,
            version,
            event_id,
            type_,
            schema_version,
            recorded_at,
            occurred_at,
            command_id,
            causation_id,
            correlation_id,
            actor,
            decode(type_, schema_version, data),
            msgspec.json.decode(metadata, type=dict[str, str]) if metadata else {},
        )
        for (
            position,
            organization_id,
            stream_id,
            version,
            event_id,
            type_,
            schema_version,
            recorded_at,
            occurred_at,
            command_id,
            causation_id,
            correlation_id,
            actor,
            data,
            metadata,
        ) in rows
    ]
