"""Any command of any service of this process, many in a call: `CommandsService`, once for all of them.

Each command goes straight to the handler of its own RPC, with the identity of the call: what it answers
or is refused with is what the RPC would say. What is saved is the call around it, which costs more
than most commands do; and commands that run side by side share their commits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from okr.commands.v1 import commands_pb2 as pb
from okr.commands.v1 import commands_pb2_grpc
from okr_chassis.rpc.bulk import BATCH_COMMANDS, STREAM_IN_FLIGHT, TYPE_PREFIX
from okr_chassis.rpc.commands import carry_to_the_end
from okr_chassis.rpc.errors import LeavingError, TooSlowError, status_of
from okr_chassis.rpc.gate import UNARY_SECONDS, read_message
from okr_chassis.service import Service
from okr_chassis.telemetry.correlation import correlated, correlation_id
from okr_contracts.errors import InvalidInputError, Violation

Context = aio.ServicerContext[Any, Any]
Lane = tuple[str, str]
"""Commands in one lane wait for each other: the service, and the id of the aggregate in it."""


class Way(NamedTuple):
    """How a command gets to its handler."""

    method: str
    handle: Callable[[Any, Any], Awaitable[Message]]
    read: Callable[[bytes], Message]
    service: str
    aggregate_field: str | None
    response_type: str

    def lane(self, request: Message) -> Lane:
        """Ids are compared in lower case: a UUID has two spellings."""
        return self.service, getattr(request, self.aggregate_field).lower() if self.aggregate_field else ""


class _Table:
    """What a servicer is added to in place of a server: finds the commands among its methods.

    A command is what brings a `request_id`. Its request's type belongs to one RPC alone.
    """

    def __init__(self, services: Iterable[Service]) -> None:
        self.ways: dict[str, Way] = {}
        self.others: set[str] = set()
        for service in services:
            for add, servicer in service.servicers:
                self._service = service
                add(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for handler in handlers:
            described = descriptor_pool.Default().FindServiceByName(handler.service_name())
            for method in described.methods:
                self._add(f"/{described.full_name}/{method.name}", method, handler)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same handlers once more, for a shortcut that only the synchronous server has."""

    def _add(self, path: str, method: Any, handler: Any) -> None:
        found = handler.service(_CallDetails(path))
        fields = method.input_type.fields_by_name
        name = method.input_type.full_name
        if found is None or found.unary_unary is None or "request_id" not in fields:
            self.others.add(name)
            return
        assert name not in self.ways, f"{name} is the request of two methods, {self.ways[name].method} and {path}"
        self.ways[name] = Way(
            method=path,
            handle=found.unary_unary,
            read=GetMessageClass(method.input_type).FromString,
            service=self._service.name,
            aggregate_field=next((field for field in self._service.aggregate_fields if field in fields), None),
            response_type=TYPE_PREFIX + method.output_type.full_name,
        )


class _CallDetails(NamedTuple):
    """What a generic handler looks its method up by."""

    method: str
    invocation_metadata: tuple[()] = ()


class ItemContext:
    """What a handler gets in place of a call's own context. Handlers refuse by raising, and need no more of it."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float | None:
        return None

    def cancelled(self) -> bool:
        return False


_CONTEXT = ItemContext()


class CommandsService(commands_pb2_grpc.CommandsServiceServicer):
    """Carries out commands, those of one aggregate in the order they came."""

    def __init__(self, services: Iterable[Service], leaving: asyncio.Event) -> None:
        table = _Table(services)
        self._ways, self._others = table.ways, table.others
        self._leaving = leaving
        self._running: set[asyncio.Task[None]] = set()

    async def ExecuteBatch(self, request: pb.ExecuteBatchRequest, context: Context | None) -> pb.ExecuteBatchResponse:
        count = len(request.commands)
        if not 1 <= count <= BATCH_COMMANDS:
            message = f"must be 1 to {BATCH_COMMANDS}, found {count}"
            raise InvalidInputError([Violation("commands", message, "TOO_MANY" if count else "REQUIRED")])
        outcomes = [pb.Outcome(id=command.id) for command in request.commands]
        lanes = _Lanes(self, lambda outcome: None)
        for command, outcome in zip(request.commands, outcomes, strict=True):
            lanes.add(command, outcome)
        await lanes.all_done()
        return pb.ExecuteBatchResponse(outcomes=outcomes)

    async def ExecuteStream(
        self, requests: AsyncIterator[pb.ExecuteStreamRequest], context: Context
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        exchange = _Exchange(self)
        reading = asyncio.create_task(exchange.read(requests))
        reading.add_done_callback(exchange.end)
        leaving = asyncio.create_task(self._leaving.wait())
        leaving.add_done_callback(lambda _: reading.cancel())
        try:
            while outcomes := await exchange.ready():
                yield pb.ExecuteStreamResponse(outcomes=outcomes)
                exchange.sent(len(outcomes))
            if self._leaving.is_set():
                raise LeavingError("the server stops; send what was not answered to it again, or to another one")
            await reading  # raises what ended it: a token that has expired, bytes that are no message
        finally:
            leaving.cancel()
            reading.cancel()

    async def drain(self) -> None:
        """Wait for commands whose callers have gone."""
        if self._running:
            await asyncio.wait(self._running)

    def way(self, command: pb.Command) -> Way:
        """Raises InvalidInputError for what is no command of ours."""
        name = command.request.type_url.rpartition("/")[2]
        way = self._ways.get(name)
        if way is not None:
            return way
        if name in self._others:
            raise InvalidInputError(
                [Violation("request", f"{name} asks and changes nothing; call its own RPC", "NOT_A_COMMAND")]
            )
        raise InvalidInputError([Violation("request", f"{name or 'nothing'} is no command here", "UNKNOWN_COMMAND")])

    def keep(self, task: asyncio.Task[None]) -> None:
        self._running.add(task)
        task.add_done_callback(self._running.discard)


class _Work(NamedTuple):
    way: Way
    request: Message
    outcome: pb.Outcome


class _Lanes:
    """The commands of one call: those of one aggregate after each other, all others beside each other.

    They are ours and not the call's: when a client goes away, what was begun is carried to its end.
    """

    def __init__(
        self, service: CommandsService, done: Callable[[pb.Outcome], None], *, correlate: bool = False
    ) -> None:
        self._service = service
        self._done = done
        self._correlate = correlate
        self._queues: dict[Lane, deque[_Work]] = {}
        self._empty = asyncio.Event()

    def add(self, command: pb.Command, outcome: pb.Outcome) -> None:
        """Begin a command, or put it behind those of its aggregate. What cannot be read is refused at once."""
        try:
            way = self._service.way(command)
            request = read_message(way.method, command.request.value, way.read)
        except Exception as error:
            _refuse(outcome, error)
            self._done(outcome)
            return
        lane, work = way.lane(request), _Work(way, request, outcome)
        queue = self._queues.get(lane)
        if queue is not None:
            queue.append(work)
            return
        self._queues[lane] = queue = deque((work,))
        self._service.keep(asyncio.create_task(self._carry_out(lane, queue)))

    async def all_done(self) -> None:
        while self._queues:
            self._empty.clear()
            await self._empty.wait()

    async def _carry_out(self, lane: Lane, queue: deque[_Work]) -> None:
        carry_to_the_end()
        try:
            while queue:
                work = queue.popleft()
                if self._correlate:
                    with correlated(uuid4()):
                        await _execute(work)
                else:
                    await _execute(work)
                self._done(work.outcome)
        finally:
            del self._queues[lane]
            if not self._queues:
                self._empty.set()


async def _execute(work: _Work) -> None:
    """One command, as its own RPC would be executed and answered.

    A timer of the loop stands in for `asyncio.timeout`, which costs as much as all the rest of this.
    Nobody else cancels these tasks but a loop that ends.
    """
    way, request, outcome = work
    task = asyncio.current_task()
    assert task is not None, "commands are carried out in tasks"
    loop = asyncio.get_running_loop()
    timer = loop.call_later(UNARY_SECONDS, task.cancel)
    try:
        answer = await way.handle(request, _CONTEXT)
        outcome.response.type_url = way.response_type
        outcome.response.value = answer.SerializeToString()
    except asyncio.CancelledError:
        if loop.time() < timer.when():
            raise
        task.uncancel()
        _refuse(outcome, TooSlowError(f"not finished within {UNARY_SECONDS:.0f} s"))
    except Exception as error:
        _refuse(outcome, error)
    finally:
        timer.cancel()


def _refuse(outcome: pb.Outcome, error: Exception) -> None:
    status = status_of(error, correlation_id())
    outcome.refusal.code, outcome.refusal.message = status.code, status.message
    outcome.refusal.details.extend(status.details)


class _Exchange:
    """One stream: commands in, outcomes out, a bounded number of them in between."""

    def __init__(self, service: CommandsService) -> None:
        self._lanes = _Lanes(service, self._done, correlate=True)
        self._in_flight = 0
        self._outcomes: list[pb.Outcome] = []
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def read(self, requests: AsyncIterator[pb.ExecuteStreamRequest]) -> None:
        async for request in requests:
            for command in request.commands:
                await self._room.wait()
                self._in_flight += 1
                if self._in_flight >= STREAM_IN_FLIGHT:
                    self._room.clear()
                self._lanes.add(command, pb.Outcome(id=command.id))

    def end(self, reading: asyncio.Task[None]) -> None:
        """No more commands come."""
        self._ended = True
        self._changed.set()
        if not reading.cancelled():
            reading.exception()  # marks it as seen: the client may have gone, and the reason with it

    async def ready(self) -> list[pb.Outcome]:
        """What is done and was not sent yet; nothing once there is no more to come."""
        while not self._outcomes and (self._in_flight or not self._ended):
            self._changed.clear()
            await self._changed.wait()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def sent(self, count: int) -> None:
        self._in_flight -= count
        self._room.set()

    def _done(self, outcome: pb.Outcome) -> None:
        self._outcomes.append(outcome)
        self._changed.set()
