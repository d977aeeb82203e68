"""Group commit: commands that arrive together go to PostgreSQL together, and each is answered on its own."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from os import urandom
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database, is_lost, is_transient
from okr_eventstore.errors import CommandIdReusedError, ConflictError, EventRejectedError, StoreUnavailableError
from okr_eventstore.model import CommandContext, Done, NewEvent, Position, shard_of

BATCH_COMMANDS = 200
LINGER_SECONDS = 0.002
LINGER_FROM_IN_FLIGHT = 8
"""With fewer commands in flight than this nobody waits for company."""
QUEUE_COMMANDS = 10_000
"""Beyond this many waiting commands new ones are refused at once, rather than answered too late."""
RETRY_SECONDS = 4.0
"""How long a batch whose outcome is unknown is sent again before its callers are told so."""
ANSWER_SECONDS = 2.0
ANSWER_SECONDS_AN_EVENT = 0.002
"""How long PostgreSQL may take over a batch before its connection counts as lost and the batch is sent again on
another: a connection whose other end has gone without a word never says so."""
RETRY_PAUSE_SECONDS = (0.02, 0.05, 0.1, 0.25, 0.5)

_APPEND = "SELECT * FROM append_batch($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20)"

Clock = Callable[[], datetime]


class _Encoded(NamedTuple):
    """An event ready to be sent, with the id it keeps however often that happens."""

    event_id: UUID
    type: str
    schema_version: int
    occurred_at: datetime | None
    data: str


class _Pending(NamedTuple):
    stream_id: str
    expected_version: int
    events: tuple[_Encoded, ...]
    context: CommandContext
    reply: bytes | None
    answer: "asyncio.Future[Done]"

    @property
    def shard(self) -> int:
        return shard_of(self.context.organization_id)


class Appender:
    """The one writer of a log in this process.

    An appended command is answered after COMMIT and never before. When the connection dies in
    between, the same batch goes out again: the command ids tell what had been written already.
    """

    def __init__(
        self, service: str, database: Database, codec: Codec, clock: Clock | None, appended: Callable[[set[int]], None]
    ) -> None:
        self._service = service
        self._database = database
        self._codec = codec
        self._clock = clock
        self._appended = appended
        self._queue: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self._unanswered: set[asyncio.Future[Done]] = set()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        self.commands = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_batches(), name=f"append {self._service}")

    async def close(self) -> None:
        """Finish what is in hand, then stop; whoever is still without an answer is told so."""
        if self._unanswered:
            await asyncio.wait(self._unanswered, timeout=RETRY_SECONDS)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for answer in list(self._unanswered):
            if not answer.done():
                answer.set_exception(StoreUnavailableError(f"the log of {self._service} has closed"))
        await self._disconnect()

    async def append(
        self,
        stream_id: str,
        expected_version: int,
        events: Sequence[NewEvent],
        context: CommandContext,
        reply: bytes | None = None,
    ) -> Done:
        if self._task is None or self._task.done():
            raise StoreUnavailableError(f"the log of {self._service} is not running")
        if len(self._queue) >= QUEUE_COMMANDS:
            raise StoreUnavailableError(f"the log of {self._service} has {QUEUE_COMMANDS} commands waiting; try later")
        encoded = tuple(self._encode(event) for event in events)
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(stream_id, expected_version, encoded, context, reply, answer))
        self._unanswered.add(answer)
        answer.add_done_callback(self._unanswered.discard)
        self._arrived.set()
        return await answer

    def _encode(self, event: NewEvent) -> "_Encoded":
        type_, schema_version, text = self._codec.encode(event.data)
        return _Encoded(uuid7(), type_, schema_version, event.occurred_at, text)

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            in_flight = len(self._unanswered)
            if in_flight > LINGER_FROM_IN_FLIGHT and len(self._queue) < min(in_flight, BATCH_COMMANDS):
                await asyncio.sleep(LINGER_SECONDS)
            batch = self._next_batch()
            if not self._queue:
                self._arrived.clear()
            if batch:
                await self._write(batch)

    def _next_batch(self) -> list[_Pending]:
        """At most one command a stream and a command id: a second one must see the first one's outcome."""
        batch: list[_Pending] = []
        streams: set[tuple[UUID, str]] = set()
        commands: set[tuple[UUID, UUID]] = set()
        held_back: list[_Pending] = []
        while self._queue and len(batch) < BATCH_COMMANDS:
            pending = self._queue.popleft()
            if pending.answer.done():
                continue  # its caller has gone; nothing was written yet
            organization = pending.context.organization_id
            stream, command = (organization, pending.stream_id), (organization, pending.context.command_id)
            if stream in streams or command in commands:
                held_back.append(pending)
                continue
            streams.add(stream)
            commands.add(command)
            batch.append(pending)
        self._queue.extendleft(reversed(held_back))
        return batch

    async def _write(self, batch: list[_Pending]) -> None:
        """Write a batch to its end. An error that is the data's own fault is narrowed down to its command."""
        try:
            rows = await self._send_until_known(batch)
        except StoreUnavailableError as error:
            for pending in batch:
                _refuse(pending, error)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError) as error:
            if len(batch) > 1:
                for pending in batch:
                    await self._write([pending])
            else:
                _refuse(batch[0], EventRejectedError(f"{batch[0].stream_id}: PostgreSQL refused the data: {error}"))
        else:
            self.batches += 1
            self.commands += len(batch)
            self._settle(batch, rows)

    async def _send_until_known(self, batch: list[_Pending]) -> "list[asyncpg.Record]":
        arguments = self._arguments(batch)
        patience = ANSWER_SECONDS + ANSWER_SECONDS_AN_EVENT * sum(len(pending.events) for pending in batch)
        deadline = time.monotonic() + RETRY_SECONDS
        for attempt in count():
            try:
                if self._connection is None:
                    self._connection = await self._database.connect()
                return await self._connection.fetch(_APPEND, *arguments, timeout=patience)
            except Exception as error:
                if is_lost(error) or isinstance(error, StoreUnavailableError):
                    self._drop()
                elif not is_transient(error):
                    raise
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"PostgreSQL did not answer for {RETRY_SECONDS:.0f} s; send the same request id again"
                    ) from error
                await asyncio.sleep(RETRY_PAUSE_SECONDS[min(attempt, len(RETRY_PAUSE_SECONDS) - 1)])
        raise AssertionError("unreachable")

    def _arguments(self, batch: list[_Pending]) -> list[Any]:
        contexts = [pending.context for pending in batch]
        events = [
            (ordinal, nth, *event)
            for ordinal, pending in enumerate(batch, 1)
            for nth, event in enumerate(pending.events, 1)
        ]
        columns = list(zip(*events, strict=True)) if events else [()] * 7
        return [
            self._clock() if self._clock else None,
            [pending.shard for pending in batch],
            [context.organization_id for context in contexts],
            [pending.stream_id for pending in batch],
            [pending.expected_version for pending in batch],
            [context.command_id for context in contexts],
            [context.fingerprint for context in contexts],
            [pending.reply for pending in batch],
            [len(pending.events) for pending in batch],
            [context.actor for context in contexts],
            [context.causation_id for context in contexts],
            [context.correlation_id for context in contexts],
            [_json(context.metadata) for context in contexts],
            *columns,
        ]

    def _settle(self, batch: list[_Pending], rows: "list[asyncpg.Record]") -> None:
        shards: set[int] = set()
        for pending, (_, outcome, version, epoch, position, fingerprint, reply) in zip(batch, rows, strict=True):
            if outcome == "ok":
                if pending.events:
                    shards.add(pending.shard)
                done = Done(version, Position(self._service, pending.shard, epoch, position), False, pending.reply)
                _answer(pending, done)
            elif outcome == "conflict":
                _refuse(pending, ConflictError(pending.stream_id, pending.expected_version, version))
            elif fingerprint != pending.context.fingerprint:
                _refuse(pending, CommandIdReusedError(pending.context.command_id))
            else:
                _answer(pending, Done(version, Position(self._service, pending.shard, epoch, position), True, reply))
        if shards:
            self._appended(shards)

    def _drop(self) -> None:
        """Let go of a connection that is lost, without waiting for its other end to agree."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)


def uuid7() -> UUID:
    """A time-ordered id (RFC 9562): neighbours in time are neighbours in an index."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(urandom(10), "big")
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _json(metadata: dict[str, str]) -> str | None:
    return msgspec.json.encode(metadata).decode() if metadata else None


def _answer(pending: _Pending, done: Done) -> None:
    if not pending.answer.done():
        pending.answer.set_result(done)


def _refuse(pending: _Pending, error: Exception) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
