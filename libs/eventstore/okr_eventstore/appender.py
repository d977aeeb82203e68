"""Group commit: commands that arrive together go to PostgreSQL together, and each is answered on its own."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from datetime import datetime
from itertools import count
from os import urandom
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database, is_lost, is_transient
from okr_eventstore.errors import CommandIdReusedError, ConflictError, EventRejectedError, StoreUnavailableError
from okr_eventstore.model import CommandContext, Done, NewEvent, Position, shard_of

BATCH_COMMANDS = 200
HALVED_FROM_IN_FLIGHT = 32
"""With fewer commands in flight than this a batch takes all of them."""
CONNECTIONS = 2
"""While PostgreSQL writes one batch, the next is on its way or waits for its shards, and callers hear their answers."""
SIDE_BY_SIDE_COMMANDS = 24
"""Fewer than this wait for the batch that is under way, and for company: a batch costs as much as ten commands do."""
QUEUE_COMMANDS = 10_000
"""Beyond this many waiting commands new ones are refused at once, rather than answered too late."""
RETRY_SECONDS = 4.0
"""How long a batch whose outcome is unknown is sent again before its callers are told so."""
ANSWER_SECONDS = 2.0
ANSWER_SECONDS_AN_EVENT = 0.002
"""How long PostgreSQL may take over a batch before its connection counts as lost and the batch is sent again on
another: a connection whose other end has gone without a word never says so."""
RETRY_PAUSE_SECONDS = (0.02, 0.05, 0.1, 0.25, 0.5)

OUTCOMES = ("ok", "duplicate", "conflict", "reused_id", "rejected", "unavailable")
"""How a command may end: recorded; answered as before; somebody was faster; its id was another command's; its data were
refused; PostgreSQL was away, so that nobody knows."""

_APPEND = "SELECT * FROM append_batch($1, $2, $3)"

Clock = Callable[[], datetime]


class _NewEvent(NamedTuple):
    """The type new_event of the database. Its id stays the same however often it is sent."""

    event_id: UUID
    type: str
    schema_version: int
    occurred_at: datetime | None
    data: str


class _NewCommand(NamedTuple):
    """The type new_command of the database, field by field."""

    shard: int
    organization_id: UUID
    stream_id: str
    expected_version: int
    command_id: UUID
    fingerprint: bytes
    reply: bytes | None
    actor: str
    causation_id: UUID | None
    correlation_id: UUID
    metadata: str | None
    events: list[_NewEvent]


class Appended(NamedTuple):
    """A command whose events are committed: where the last of them stands, and when they were recorded."""

    command: _NewCommand
    epoch: int
    position: int
    recorded_at: datetime


class _Pending(NamedTuple):
    command: _NewCommand
    answer: "asyncio.Future[Done]"


class Appender:
    """The one writer of a log in this process, on two connections.

    An appended command is answered after COMMIT and never before. When the connection dies in
    between, the same batch goes out again: the command ids tell what had been written already.
    """

    def __init__(
        self,
        service: str,
        database: Database,
        codec: Codec,
        clock: Clock | None,
        appended: Callable[[Sequence[Appended]], None],
    ) -> None:
        self._service = service
        self._database = database
        self._codec = codec
        self._clock = clock
        self._appended = appended
        self._queue: deque[_Pending] = deque()
        self._unanswered: set[asyncio.Future[Done]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = copy_context()
        self._lines = [_Line(database) for _ in range(CONNECTIONS)]
        self._free = list(self._lines)
        self._writing: set[asyncio.Task[None]] = set()
        # What is being written now: it must not go out on another connection beside itself, or ahead.
        self._streams: set[tuple[int, str]] = set()
        self._commands: set[tuple[int, int]] = set()
        self._looks = False
        self._seen = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        """What became of commands since the start. Plain numbers: whoever wants to know comes and reads them."""
        self.batch_sizes = [0] * (BATCH_COMMANDS + 1)
        """How many batches held so many commands; the index is the size."""

    @property
    def is_running(self) -> bool:
        return self._loop is not None

    @property
    def waiting_commands(self) -> int:
        """How many commands have no answer yet."""
        return len(self._unanswered)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # a batch belongs to none of its callers

    async def close(self) -> None:
        """Finish what is in hand, then stop; whoever is still without an answer is told so."""
        if self._unanswered:
            await asyncio.wait(self._unanswered, timeout=RETRY_SECONDS)
        self._loop = None
        writing = list(self._writing)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        for answer in list(self._unanswered):
            if not answer.done():
                answer.set_exception(StoreUnavailableError(f"the log of {self._service} has closed"))
        for line in self._lines:
            await line.close()

    async def append(
        self,
        stream_id: str,
        expected_version: int,
        events: Sequence[NewEvent],
        context: CommandContext,
        reply: bytes | None = None,
    ) -> Done:
        loop = self._loop
        if loop is None:
            raise StoreUnavailableError(f"the log of {self._service} is not running")
        if len(self._queue) >= QUEUE_COMMANDS:
            raise StoreUnavailableError(f"the log of {self._service} has {QUEUE_COMMANDS} commands waiting; try later")
        command = _NewCommand(
            shard_of(context.organization_id),
            context.organization_id,
            stream_id,
            expected_version,
            context.command_id,
            context.fingerprint,
            reply,
            context.actor,
            context.causation_id,
            context.correlation_id,
            msgspec.json.encode(context.metadata).decode() if context.metadata else None,
            [self._encode(event) for event in events],
        )
        answer: asyncio.Future[Done] = loop.create_future()
        self._queue.append(_Pending(command, answer))
        self._unanswered.add(answer)
        self._look_soon()
        try:
            return await answer
        finally:
            self._unanswered.discard(answer)

    def _encode(self, event: NewEvent) -> _NewEvent:
        type_, schema_version, text = self._codec.encode(event.data)
        return _NewEvent(uuid7(), type_, schema_version, event.occurred_at, text)

    def _look_soon(self) -> None:
        if not self._looks and self._loop is not None:
            self._looks = True
            self._loop.call_soon(self._look, context=self._context)

    def _look(self) -> None:
        """Begin a batch, or wait for company as long as it comes.

        Whoever is ready comes along: a turn of the event loop that brings nobody ends the wait, so that
        a lonely command loses no time. Waiting by the clock, 1 or 2 ms, gained nothing on a busy machine; on a
        quiet one, where batches are small, it was not measured, and every lone command would pay for it.
        """
        self._looks = False
        if self._loop is None or not self._queue or not self._free:
            return
        seen, self._seen = self._seen, len(self._queue)
        if seen < len(self._queue) < BATCH_COMMANDS:
            self._look_soon()
            return
        if len(self._free) < CONNECTIONS and len(self._queue) < SIDE_BY_SIDE_COMMANDS:
            return  # the end of the batch that is under way, or more commands, bring us back
        batch = self._next_batch()
        self._seen = 0
        if batch:
            task = self._loop.create_task(self._write_on(self._free.pop(), batch), name=f"append {self._service}")
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            self._look_soon()

    def _next_batch(self) -> list[_Pending]:
        """At most one command a stream and a command id: a second one must see the first one's outcome.

        Nor while the first is still under way. Of many callers a batch takes half: while PostgreSQL
        writes for one half, the other half hears its answers and asks anew.
        """
        in_flight = len(self._unanswered)
        size = BATCH_COMMANDS
        if in_flight >= HALVED_FROM_IN_FLIGHT:
            size = min(BATCH_COMMANDS, (in_flight + 1) // 2)
        batch: list[_Pending] = []
        held_back: list[_Pending] = []
        while self._queue and len(batch) < size:
            pending = self._queue.popleft()
            if pending.answer.done():
                continue  # its caller has gone; nothing was written yet
            stream, command = _ids(pending.command)
            if stream in self._streams or command in self._commands:
                held_back.append(pending)
                continue
            self._streams.add(stream)
            self._commands.add(command)
            batch.append(pending)
        self._queue.extendleft(reversed(held_back))
        return batch

    async def _write_on(self, line: "_Line", batch: list[_Pending]) -> None:
        try:
            await self._write(line, batch)
        finally:
            for pending in batch:
                stream, command = _ids(pending.command)
                self._streams.discard(stream)
                self._commands.discard(command)
                if not pending.answer.done():  # the log was closed, or something failed that nobody foresaw
                    _refuse(pending, StoreUnavailableError(f"the log of {self._service} did not finish a command"))
            self._free.append(line)
            self._look_soon()

    async def _write(self, line: "_Line", batch: list[_Pending]) -> None:
        """Write a batch to its end. An error that is the data's own fault is narrowed down to its command."""
        try:
            rows = await self._send_until_known(line, batch)
        except StoreUnavailableError as error:
            self.outcomes["unavailable"] += len(batch)
            for pending in batch:
                _refuse(pending, error)
        except Exception as error:
            if len(batch) > 1:
                for pending in batch:
                    await self._write(line, [pending])
            else:
                stream_id = batch[0].command.stream_id
                self.outcomes["rejected"] += 1
                _refuse(batch[0], EventRejectedError(f"{stream_id}: PostgreSQL refused the data: {error}"))
        else:
            self.batch_sizes[len(batch)] += 1
            self._settle(batch, rows)

    async def _send_until_known(self, line: "_Line", batch: list[_Pending]) -> "list[asyncpg.Record]":
        commands = [pending.command for pending in batch]
        shards = sorted({command.shard for command in commands})
        now = self._clock() if self._clock else None
        patience = ANSWER_SECONDS + ANSWER_SECONDS_AN_EVENT * sum(len(pending.command.events) for pending in batch)
        deadline = time.monotonic() + RETRY_SECONDS
        for attempt in count():
            try:
                connection = await line.connection()
                return await connection.fetch(_APPEND, now, shards, commands, timeout=patience)
            except Exception as error:
                if is_lost(error) or isinstance(error, StoreUnavailableError):
                    line.drop()
                elif not is_transient(error):
                    raise
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"PostgreSQL did not answer for {RETRY_SECONDS:.0f} s; send the same request id again"
                    ) from error
                await asyncio.sleep(RETRY_PAUSE_SECONDS[min(attempt, len(RETRY_PAUSE_SECONDS) - 1)])
        raise AssertionError("unreachable")

    def _settle(self, batch: list[_Pending], rows: "list[asyncpg.Record]") -> None:
        appended: list[Appended] = []
        recorded = 0
        for pending, row in zip(batch, rows, strict=True):
            outcome, version, epoch, position, recorded_at, fingerprint, reply = row
            command = pending.command
            if outcome == "ok":
                recorded += 1
                if command.events:
                    appended.append(Appended(command, epoch, position, recorded_at))
                done = Done(version, Position(self._service, command.shard, epoch, position), False, command.reply)
                _answer(pending, done)
            elif outcome == "conflict":
                self.outcomes["conflict"] += 1
                _refuse(pending, ConflictError(command.stream_id, command.expected_version, version))
            elif fingerprint != command.fingerprint:
                self.outcomes["reused_id"] += 1
                _refuse(pending, CommandIdReusedError(command.command_id))
            else:
                self.outcomes["duplicate"] += 1
                _answer(pending, Done(version, Position(self._service, command.shard, epoch, position), True, reply))
        self.outcomes["ok"] += recorded
        if appended:
            self._appended(appended)


class _Line:
    """A connection of the appender's own, made when it is first needed and again when it was lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None:
            self._connection = await self._database.connect()
        return self._connection

    def drop(self) -> None:
        """Let go of a connection that is lost, without waiting for its other end to agree."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)


def uuid7() -> UUID:
    """A time-ordered id (RFC 9562): neighbours in time are neighbours in an index."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(urandom(10), "big")
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _ids(command: _NewCommand) -> tuple[tuple[int, str], tuple[int, int]]:
    """The stream and the command. Ids as numbers: a UUID's own hash is computed in Python."""
    organization = command.organization_id.int
    return (organization, command.stream_id), (organization, command.command_id.int)


def _answer(pending: _Pending, done: Done) -> None:
    if not pending.answer.done():
        pending.answer.set_result(done)


def _refuse(pending: _Pending, error: Exception) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
