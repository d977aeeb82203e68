"""Commands over gRPC, against bytes that come straight back from the same grpc.aio."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from bench.facts import named
from bench.harness import Case, Meter, Rounds, Work, drive
from bench.peer import KeyResults
from bench.serving import ECHO
from bench.stage import running_log, schema
from okr.checkins.v1 import checkins_pb2 as pb
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.commands.v1 import commands_pb2
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_eventstore.appender import uuid7
from okr_eventstore.executor import CommandExecutor

IN_FLIGHT = 64
BATCH = 50
BATCHES_IN_FLIGHT = 4
KEY_RESULTS = 2_000
TYPE_URL = "type.googleapis.com/okr.checkins.v1.RecordCheckInRequest"
ECHOED = f"unary echo of bytes, {IN_FLIGHT} in flight"
UNARY = f"unary command, {IN_FLIGHT} in flight"
STREAM = f"command stream, {IN_FLIGHT} in flight"
BULK = f"bulk of {BATCH} commands, {BATCHES_IN_FLIGHT} in flight"


class Server(NamedTuple):
    pid: int
    echo: str
    platform: str


async def measure(meter: Meter, dsn: str) -> Rounds:
    scale = meter.scale
    key_results = KeyResults("grpc", min(KEY_RESULTS, scale.streams), organizations=1)
    async with AsyncExitStack() as stack:
        async with schema(dsn, "checkins") as database, running_log("checkins", database) as log:
            executor = CommandExecutor(log)
            await asyncio.gather(*(key_results.open(executor, number) for number in range(len(key_results.ids))))
        data_dir = Path(stack.enter_context(TemporaryDirectory(prefix="okr-bench-")))
        server = await stack.enter_async_context(served(dsn, data_dir))
        meter.watch(server.pid)
        stack.callback(meter.forget, server.pid)
        echo = await stack.enter_async_context(aio.insecure_channel(server.echo))
        platform = await stack.enter_async_context(aio.insecure_channel(server.platform))
        token = DevelopmentIssuer(data_dir).issue(key_results.organization(0), named("ana"))
        metadata = (("authorization", f"Bearer {token}"),)
        requests = requests_to(key_results)
        commands = CommandsServiceStub(platform)
        cases = [
            Case(ECHOED, lambda: drive(scale.seconds, IN_FLIGHT, _echoing(echo, requests().SerializeToString()))),
            Case(UNARY, lambda: drive(scale.seconds, IN_FLIGHT, _calling(platform, metadata, requests))),
            Case(STREAM, lambda: _streaming(commands, metadata, requests, scale.seconds)),
            Case(BULK, lambda: _bulk(commands, metadata, requests, scale.seconds)),
        ]
        found = await meter.rounds("gRPC: the client in this process, the server in its own", cases)
    found.compare("gRPC, unary command / echo", UNARY, ECHOED, ">= 0.5", unit="commands/s")
    found.compare("gRPC, command stream / echo", STREAM, ECHOED, ">= 1.4", unit="commands/s")
    found.compare("gRPC, bulk of 50 / echo", BULK, ECHOED, ">= 3.5", unit="commands/s")
    return found


def requests_to(key_results: KeyResults) -> Callable[[], pb.RecordCheckInRequest]:
    """Check-ins to one key result after the other, each a command of its own."""
    turns = count()
    ids = [str(key_result_id) for key_result_id in key_results.ids]

    def request() -> pb.RecordCheckInRequest:
        turn = next(turns)
        return pb.RecordCheckInRequest(
            request_id=str(uuid7()), check_in_id=str(uuid7()), key_result_id=ids[turn % len(ids)],
            value=str(turn % 100), confidence="0.7",
        )  # fmt: skip

    return request


def _echoing(channel: aio.Channel, payload: bytes) -> Callable[[int], Awaitable[bool]]:
    echo: Any = channel.unary_unary(ECHO)

    async def attempt(_: int) -> bool:
        return bool(await echo(payload) == payload)

    return attempt


def _calling(
    channel: aio.Channel, metadata: Any, requests: Callable[[], pb.RecordCheckInRequest]
) -> Callable[[int], Awaitable[bool]]:
    record = CheckInsServiceStub(channel).RecordCheckIn

    async def attempt(_: int) -> bool:
        answer = await record(requests(), metadata=metadata)
        return bool(answer.receipt.version)

    return attempt


async def _streaming(
    commands: Any, metadata: Any, requests: Callable[[], pb.RecordCheckInRequest], seconds: float
) -> Work:
    """One stream, so many commands without an answer, one command a message."""
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(IN_FLIGHT)
    call = commands.ExecuteStream(metadata=metadata)
    started = loop.time()

    async def send() -> None:
        while loop.time() < started + seconds:
            await room.acquire()
            await call.write(commands_pb2.ExecuteStreamRequest(commands=[_command(requests())]))
        await call.done_writing()

    async def receive() -> int:
        answered = 0
        async for response in call:
            for outcome in response.outcomes:
                assert outcome.HasField("response"), outcome.refusal.message
                room.release()
                answered += 1
        return answered

    _, answered = await asyncio.gather(send(), receive())
    return Work(answered, loop.time() - started)


async def _bulk(commands: Any, metadata: Any, requests: Callable[[], pb.RecordCheckInRequest], seconds: float) -> Work:
    async def attempt(_: int) -> bool:
        batch = commands_pb2.ExecuteBatchRequest(commands=[_command(requests()) for _ in range(BATCH)])
        answer = await commands.ExecuteBatch(batch, metadata=metadata)
        return all(outcome.HasField("response") for outcome in answer.outcomes)

    work = await drive(seconds, BATCHES_IN_FLIGHT, attempt)
    return Work(work.operations * BATCH, work.seconds, work.values)


def _command(request: pb.RecordCheckInRequest) -> commands_pb2.Command:
    return commands_pb2.Command(request=AnyMessage(type_url=TYPE_URL, value=request.SerializeToString()))


@asynccontextmanager
async def served(dsn: str, data_dir: Path, **settings: str) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.serving", str(data_dir),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"DATABASE_URL": dsn} | settings,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        told = await process.stdout.readline()
        if not told:
            raise RuntimeError(f"the server of the gRPC figures did not start; it ended with {await process.wait()}")
        yield Server(process.pid, **json.loads(told))
    finally:
        process.stdin.close()
        await process.wait()
