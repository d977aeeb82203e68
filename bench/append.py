"""Appending through the store, against PostgreSQL used plainly and against its limit."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from uuid import UUID

import asyncpg

from bench.facts import ACTOR, check_in, named, organization
from bench.harness import Case, Meter, Rounds, Work, drive
from bench.stage import codec_of, running_log, schema
from okr_eventstore.appender import Appender, uuid7
from okr_eventstore.database import Database
from okr_eventstore.errors import ConflictError
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, Done, NewEvent

CONNECTIONS = 32
CONFLICT_EVERY = 33
"""Three commands in a hundred ask for a version that is taken."""
BATCH = 50
ORGANIZATIONS = (1, 64)
IN_FLIGHT = (64, 256)
FACTS = 1000

_COLUMNS = """organization_id uuid NOT NULL, stream_id text COLLATE "C" NOT NULL, version bigint NOT NULL,
    event_id uuid NOT NULL, type text NOT NULL, schema_version smallint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(), occurred_at timestamptz NOT NULL,
    command_id uuid NOT NULL, causation_id uuid, correlation_id uuid NOT NULL, actor text NOT NULL, data json NOT NULL,
    metadata json"""
_TABLE = f"""CREATE TABLE bare_event (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {_COLUMNS},
    UNIQUE (organization_id, stream_id, version))"""
_NAMES = """organization_id, stream_id, version, event_id, type, schema_version, occurred_at, command_id,
    correlation_id, actor, data"""
_INSERT = f"INSERT INTO bare_event ({_NAMES}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"
_UNNEST = f"""INSERT INTO bare_event ({_NAMES})
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::smallint[],
                         $7::timestamptz[], $8::uuid[], $9::uuid[], $10::text[], $11::json[])"""

Append = Callable[[str, int, NewEvent, CommandContext], Awaitable[Done]]


class Streams:
    """Streams divided among callers, so that nobody conflicts but on purpose."""

    def __init__(self, prefix: str, streams: int, organizations: int, callers: int) -> None:
        streams += -streams % callers
        self._organizations = [organization(number) for number in range(organizations)]
        self._streams = [(f"checkin-{prefix}-{named(str(number))}", 0) for number in range(streams)]
        self._turns = [count(number, callers) for number in range(callers)]
        self._attempts = count(1)
        self._facts = [check_in(number, named(prefix)) for number in range(FACTS)]

    def next(self, caller: int) -> tuple[int, UUID, str, int, bool]:
        """A stream's index, organisation, name and version, and whether to ask for a version that is taken."""
        index = next(self._turns[caller]) % len(self._streams)
        name, version = self._streams[index]
        clash = next(self._attempts) % CONFLICT_EVERY == 0 and version > 0
        return index, self._organizations[index % len(self._organizations)], name, version, clash

    def grew(self, index: int) -> None:
        name, version = self._streams[index]
        self._streams[index] = (name, version + 1)

    def fact(self, number: int) -> NewEvent:
        fact = self._facts[number % FACTS]
        return NewEvent(fact, fact.occurred_at)


def appending(streams: Streams, append: Callable[[int], Append]) -> Callable[[int], Awaitable[bool]]:
    """One command of one event; False where it lost its race, as it should."""

    async def attempt(caller: int) -> bool:
        index, organization_id, name, version, clash = streams.next(caller)
        command_id = uuid7()
        context = CommandContext(organization_id, command_id, command_id.bytes, ACTOR, command_id)
        try:
            await append(caller)(name, version - clash, streams.fact(index), context)
        except ConflictError:
            assert clash, f"{name} had another writer"
            return False
        assert not clash, f"{name} took version {version} twice"
        streams.grew(index)
        return True

    return attempt


async def measure(meter: Meter, dsn: str) -> Rounds:
    scale = meter.scale
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(schema(dsn, "checkins"))
        log = await stack.enter_async_context(running_log("checkins", database))
        appenders = [await _appender(stack, database) for _ in range(CONNECTIONS)]
        bare = [await _connection(stack, database) for _ in range(CONNECTIONS)]
        await database.execute(_TABLE)

        cases = []
        for organizations in ORGANIZATIONS:
            for in_flight in IN_FLIGHT:
                name = _ours(organizations, in_flight)
                streams = Streams(name, scale.streams, organizations, in_flight)
                cases.append(_case(name, scale.seconds, in_flight, appending(streams, lambda _: _one(log))))
            name = _unbatched(organizations)
            streams = Streams(name, scale.streams, organizations, CONNECTIONS)
            attempt = appending(streams, lambda caller: _one(appenders[caller]))
            cases.append(_case(name, scale.seconds, CONNECTIONS, attempt))
        inserting = _inserting(Streams("insert", scale.streams, 64, CONNECTIONS), bare)
        cases.append(_case(INSERT, scale.seconds, CONNECTIONS, inserting))
        cases.append(Case(UNNEST, _unnesting(Streams("unnest", scale.streams, 64, 1), bare[0], scale.seconds)))
        found = await meter.rounds("Append: one event a command, 3 % conflicts", cases)
    _compare(found)
    return found


INSERT = f"INSERT + UNIQUE, {CONNECTIONS} connections"
UNNEST = f"bare unnest insert, batches of {BATCH}"


def _ours(organizations: int, in_flight: int) -> str:
    return f"ours, {organizations} organisations, {in_flight} in flight"


def _unbatched(organizations: int) -> str:
    return f"unbatched, {organizations} organisations, {CONNECTIONS} connections"


def _compare(found: Rounds) -> None:
    for organizations in ORGANIZATIONS:
        for in_flight in IN_FLIGHT:
            ours = _ours(organizations, in_flight)
            label = f"append, {organizations} organisations, {in_flight} in flight"
            unit = "events/s"
            found.compare(f"{label} / unbatched", ours, _unbatched(organizations), ">= 4", unit=unit)
            goal = ">= 1.5" if in_flight == 64 else ">= 2.5"
            found.compare(f"{label} / INSERT", ours, INSERT, goal, unit=unit)
            found.compare(
                f"{label} / INSERT, CPU", ours, INSERT, "<= 0.4", read=lambda s: s.cpu_us, unit="µs CPU an event"
            )
            found.compare(f"{label} / unnest", ours, UNNEST, ">= 0.3", unit=unit)


def _case(name: str, seconds: float, in_flight: int, attempt: Callable[[int], Awaitable[bool]]) -> Case:
    return Case(name, lambda: drive(seconds, in_flight, attempt))


def _one(writer: EventLog | Appender) -> Append:
    async def append(stream_id: str, expected: int, event: NewEvent, context: CommandContext) -> Done:
        return await writer.append(stream_id, expected, [event], context)

    return append


def _inserting(
    streams: Streams, connections: "list[asyncpg.Connection[asyncpg.Record]]"
) -> Callable[[int], Awaitable[bool]]:
    codec = codec_of("checkins")

    async def attempt(caller: int) -> bool:
        index, organization_id, name, version, clash = streams.next(caller)
        event = streams.fact(index)
        type_, schema_version, data = codec.encode(event.data)
        command_id = uuid7()
        try:
            await connections[caller].execute(
                _INSERT, organization_id, name, version + 1 - clash, uuid7(), type_, schema_version, event.occurred_at,
                command_id, command_id, ACTOR, data,
            )  # fmt: skip
        except asyncpg.UniqueViolationError:
            return False
        streams.grew(index)
        return True

    return attempt


def _unnesting(
    streams: Streams, connection: "asyncpg.Connection[asyncpg.Record]", seconds: float
) -> Callable[[], Awaitable[Work]]:
    """Nothing is checked and nobody is answered: how fast rows can be had into such a table at all."""
    codec = codec_of("checkins")

    async def batch(_: int) -> bool:
        rows = []
        for _ in range(BATCH):
            index, organization_id, name, version, _ = streams.next(0)
            event = streams.fact(index)
            type_, schema_version, data = codec.encode(event.data)
            command_id = uuid7()
            rows.append((organization_id, name, version + 1, uuid7(), type_, schema_version, event.occurred_at,
                         command_id, command_id, ACTOR, data))  # fmt: skip
            streams.grew(index)
        await connection.execute(_UNNEST, *map(list, zip(*rows, strict=True)))
        return True

    async def run() -> Work:
        work = await drive(seconds, 1, batch)
        return Work(work.operations * BATCH, work.seconds)

    return run


async def _appender(stack: AsyncExitStack, database: Database) -> Appender:
    """One more writer of the log: with a single caller its batches hold one command each."""
    appender = Appender("checkins", database, codec_of("checkins"), None, lambda _: None)
    appender.start()
    stack.push_async_callback(appender.close)
    return appender


async def _connection(stack: AsyncExitStack, database: Database) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await database.connect()
    stack.push_async_callback(connection.close)
    return connection
