"""Many commands in few calls, from the caller's side: batches, and a stream that many may use at once."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import aio

from okr.commands.v1 import commands_pb2 as pb
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr_chassis.rpc.deadline import remaining_seconds
from okr_chassis.rpc.errors import CommandRefusedError

BATCH_COMMANDS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Of one batch or one message of a stream, half of what the server takes."""
BATCH_SECONDS = 30.0
STREAM_IN_FLIGHT = 256
"""Commands of one stream whose outcomes the client has not been sent yet; then nothing more is read."""
MESSAGE_COMMANDS = 64
"""Commands of a stream that wait to be sent go together, at most so many in a message."""

TYPE_PREFIX = "type.googleapis.com/"


Response = TypeVar("Response", bound=Message)


def command_of(request: Message, identifier: str = "") -> pb.Command:
    """A request as one command of a batch or a stream."""
    packed = AnyMessage(type_url=TYPE_PREFIX + request.DESCRIPTOR.full_name, value=request.SerializeToString())
    return pb.Command(id=identifier, request=packed)


def answer_of(outcome: pb.Outcome, kind: type[Response]) -> Response:
    """What the command's own RPC would have answered. Raises CommandRefusedError."""
    if outcome.HasField("refusal"):
        raise CommandRefusedError(Status.FromString(outcome.refusal.SerializeToString()))  # field by field the same
    return kind.FromString(outcome.response.value)


def batches(requests: Sequence[Message]) -> Iterator[pb.ExecuteBatchRequest]:
    """Requests as batches that are neither too long nor too large, in their order."""
    batch, size = pb.ExecuteBatchRequest(), 0
    for request in requests:
        command = command_of(request)
        weight = command.ByteSize()
        if batch.commands and (len(batch.commands) == BATCH_COMMANDS or size + weight > BATCH_BYTES):
            yield batch
            batch, size = pb.ExecuteBatchRequest(), 0
        batch.commands.append(command)
        size += weight
    if batch.commands:
        yield batch


async def execute_all(stub: CommandsServiceStub, requests: Sequence[Message]) -> list[pb.Outcome]:
    """Carry out commands in batches, one after the other; an outcome for each, in their order.

    A batch may take as long as the call it is made in, where it is made in one.
    """
    outcomes: list[pb.Outcome] = []
    for batch in batches(requests):
        left = remaining_seconds()
        answer = await stub.ExecuteBatch(batch, timeout=BATCH_SECONDS if left is None else left)
        outcomes += answer.outcomes
    return outcomes


class CommandStream:
    """One open stream for as many commands as one likes.

        async with CommandStream(stub) as stream:
            outcomes = await asyncio.gather(*(stream.execute(request) for request in requests))

    Whatever waits to be sent goes in one message. When the stream breaks, what is unanswered raises the
    gRPC error; the same requests may be sent again over a new stream.
    """

    def __init__(self, stub: CommandsServiceStub, metadata: Any = None) -> None:
        self._call: Any = stub.ExecuteStream(metadata=metadata)
        self._numbers = count()
        self._queue: list[pb.Command] = []
        self._arrived = asyncio.Event()
        self._unanswered: dict[str, asyncio.Future[pb.Outcome]] = {}
        self._broken: BaseException | None = None
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._arrived.set()
        if error is not None:
            self._call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def execute(self, request: Message) -> pb.Outcome:
        """Carry out one command. Raises what broke the stream, and then nobody knows what became of it."""
        if self._broken is not None:
            raise self._broken
        command = command_of(request, str(next(self._numbers)))
        answer: asyncio.Future[pb.Outcome] = asyncio.get_running_loop().create_future()
        self._unanswered[command.id] = answer
        self._queue.append(command)
        self._arrived.set()
        return await answer

    async def _send(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            commands, self._queue = self._queue[:MESSAGE_COMMANDS], self._queue[MESSAGE_COMMANDS:]
            try:
                await self._call.write(pb.ExecuteStreamRequest(commands=commands))
            except (aio.AioRpcError, asyncio.InvalidStateError):
                return  # the receiving side learns why, and tells those who wait
        await self._call.done_writing()

    async def _receive(self) -> None:
        try:
            async for response in self._call:
                for outcome in response.outcomes:
                    answer = self._unanswered.pop(outcome.id, None)
                    if answer is not None and not answer.done():
                        answer.set_result(outcome)
            self._broken = ConnectionError("the stream has ended")
        except BaseException as error:
            self._broken = error
            raise
        finally:
            self._closing = True
            self._arrived.set()
            for answer in self._unanswered.values():
                if not answer.done() and self._broken is not None:
                    answer.set_exception(self._broken)
            self._unanswered.clear()
