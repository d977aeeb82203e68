"""Group commit: commands that arrive together go to PostgreSQL together, and each is answered on its own."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
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
    """The one writer of a log in this process.

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
        self._arrived = asyncio.Event()
        self._unanswered: set[asyncio.Future[Done]] = set()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        """What became of commands since the start. Plain numbers: whoever wants to know comes and reads them."""
        self.batch_sizes = [0] * (BATCH_COMMANDS + 1)
        """How many batches held so many commands; the index is the size."""

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def waiting_commands(self) -> int:
        """How many commands have no answer yet."""
        return len(self._unanswered)

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
        if not self.is_running:
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
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(command, answer))
        self._unanswered.add(answer)
        self._arrived.set()
        try:
            return await answer
        finally:
            self._unanswered.discard(answer)

    def _encode(self, event: NewEvent) -> _NewEvent:
        type_, schema_version, text = self._codec.encode(event.data)
        return _NewEvent(uuid7(), type_, schema_version, event.occurred_at, text)

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            size = await self._gather()
            batch = self._next_batch(size)
            if not self._queue:
                self._arrived.clear()
            if batch:
                await self._write(batch)

    async def _gather(self) -> int:
        """Wait for company as long as it comes, and answer how many commands to take.

        Whoever is ready comes along: a turn of the event loop that brings nobody ends the wait, so
        that a lonely command loses no time. Of many callers each batch takes half: while PostgreSQL
        writes for one half, the other half hears its answers and asks anew.
        """
        waiting = 0
        while waiting < len(self._queue) < BATCH_COMMANDS:
            waiting = len(self._queue)
            await asyncio.sleep(0)
        in_flight = len(self._unanswered)
        if in_flight < HALVED_FROM_IN_FLIGHT:
            return BATCH_COMMANDS
        return min(BATCH_COMMANDS, (in_flight + 1) // 2)

    def _next_batch(self, size: int) -> list[_Pending]:
        """At most one command a stream and a command id: a second one must see the first one's outcome."""
        batch: list[_Pending] = []
        # Ids as numbers: a UUID's own hash is computed in Python.
        streams: set[tuple[int, str]] = set()
        commands: set[tuple[int, int]] = set()
        held_back: list[_Pending] = []
        while self._queue and len(batch) < size:
            pending = self._queue.popleft()
            if pending.answer.done():
                continue  # its caller has gone; nothing was written yet
            asked = pending.command
            organization = asked.organization_id.int
            stream, command = (organization, asked.stream_id), (organization, asked.command_id.int)
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
            self.outcomes["unavailable"] += len(batch)
            for pending in batch:
                _refuse(pending, error)
        except Exception as error:  # whatever it is, the next batch must not wait for ever for a writer that is gone
            if len(batch) > 1:
                for pending in batch:
                    await self._write([pending])
            else:
                stream_id = batch[0].command.stream_id
                self.outcomes["rejected"] += 1
                _refuse(batch[0], EventRejectedError(f"{stream_id}: PostgreSQL refused the data: {error}"))
        else:
            self.batch_sizes[len(batch)] += 1
            self._settle(batch, rows)

    async def _send_until_known(self, batch: list[_Pending]) -> "list[asyncpg.Record]":
        commands = [pending.command for pending in batch]
        shards = sorted({command.shard for command in commands})
        now = self._clock() if self._clock else None
        patience = ANSWER_SECONDS + ANSWER_SECONDS_AN_EVENT * sum(len(pending.command.events) for pending in batch)
        deadline = time.monotonic() + RETRY_SECONDS
        for attempt in count():
            try:
                if self._connection is None:
                    self._connection = await self._database.connect()
                return await self._connection.fetch(_APPEND, now, shards, commands, timeout=patience)
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


def _answer(pending: _Pending, done: Done) -> None:
    if not pending.answer.done():
        pending.answer.set_result(done)


def _refuse(pending: _Pending, error: Exception) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
