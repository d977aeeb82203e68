"""What every call passes on its way in: correlation id, token, permission, size, message; and on its way out: errors.

One interceptor does it all, in this order. The token is looked at before the message is: who may not
call learns nothing about what the call would do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from okr_chassis.identity.auth import Caller, PermissionDeniedError, TokenVerifier, bearer, calling
from okr_chassis.rpc.deadline import within
from okr_chassis.rpc.errors import DETAILS_KEY, MessageTooLargeError, StartingError, status_of
from okr_chassis.telemetry import trail
from okr_chassis.telemetry.calls import Calls
from okr_chassis.telemetry.correlation import HEADER, accepted, correlated

OPEN_METHODS = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Probes and tools need no token."""
EARLY_METHODS = ("/okr.eventlog.v1.EventLogService/",)
"""Answered before the process is ready: others may need our log to become ready themselves, and we theirs."""
OPERATOR_METHODS = ("/okr.operations.v1.OperationsService/",)
"""Everything else is for every member of an organisation, within that organisation."""

REQUEST_BYTES = 1024 * 1024
LARGE_REQUEST_BYTES = 8 * 1024 * 1024
LARGE_REQUESTS = frozenset(
    {
        "/okr.goals.v1.GoalsService/ImportPlan",
        "/okr.commands.v1.CommandsService/ExecuteBatch",
        "/okr.commands.v1.CommandsService/ExecuteStream",
    }
)
"""5,000 rows of a spreadsheet, or 500 commands, do not fit into what is plenty for any other request."""

UNARY_SECONDS = 30.0
"""The deadline of calls that bring none."""

Context = aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


class Gate(aio.ServerInterceptor):
    """The one way in."""

    def __init__(self, verifier: TokenVerifier, calls: Calls) -> None:
        self.is_open = False
        """Whether everything is there that calls need."""
        self._verifier = verifier
        self._calls = calls
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(OPEN_METHODS):
            return handler
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        # Without a deserializer the bytes come to us: they are read after the token, and unreadable ones
        # are refused as such, where gRPC would answer INTERNAL.
        if handler.unary_unary:
            unary = self._unary(method, trail.unary(method, handler.unary_unary), handler.request_deserializer)
            counted = self._calls.unary(method, unary)
            return grpc.unary_unary_rpc_method_handler(counted, None, handler.response_serializer)
        if handler.unary_stream:
            stream = self._stream(method, trail.stream(method, handler.unary_stream), handler.request_deserializer)
            counted = self._calls.stream(method, stream)
            return grpc.unary_stream_rpc_method_handler(counted, None, handler.response_serializer)
        if handler.stream_stream:
            exchange = self._exchange(method, trail.stream(method, handler.stream_stream), handler.request_deserializer)
            counted = self._calls.stream(method, exchange)
            return grpc.stream_stream_rpc_method_handler(counted, None, handler.response_serializer)
        raise TypeError(f"{method} answers a stream of requests once, which the gate does not know how to guard")

    def _unary(self, method: str, handle: Handler, read: Callable[[bytes], Any]) -> Handler:
        async def guarded(data: bytes, context: Context) -> Any:
            metadata = context.invocation_metadata() or ()
            identifier = accepted(_text_of(metadata, HEADER))
            seconds = _seconds_left(context)
            limit = asyncio.timeout(seconds)
            with correlated(identifier):
                try:
                    async with limit:
                        with calling(self._admitted(method, metadata)), within(seconds):
                            return await handle(read_message(method, data, read), context)
                except aio.AbortError:
                    raise
                except Exception as error:
                    refused = error
                if limit.expired():
                    await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"not finished within {seconds:.0f} s")
                return await _refuse(context, refused, identifier)

        return guarded

    def _stream(self, method: str, handle: Handler, read: Callable[[bytes], Any]) -> Handler:
        async def guarded(data: bytes, context: Context) -> AsyncIterator[Any]:
            async for answer in self._answers(
                method, context, lambda _: handle(read_message(method, data, read), context)
            ):
                yield answer

        return guarded

    def _exchange(self, method: str, handle: Handler, read: Callable[[bytes], Any]) -> Handler:
        async def guarded(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async def admitted(metadata: Any) -> AsyncIterator[Any]:
                async for data in messages:
                    self._admitted(method, metadata)  # a stream may outlive the token that opened it
                    yield read_message(method, data, read)

            async for answer in self._answers(method, context, lambda metadata: handle(admitted(metadata), context)):
                yield answer

        return guarded

    async def _answers(
        self, method: str, context: Context, handle: Callable[[Any], AsyncIterator[Any]]
    ) -> AsyncIterator[Any]:
        metadata = context.invocation_metadata() or ()
        identifier = accepted(_text_of(metadata, HEADER))
        with correlated(identifier):
            try:
                with calling(self._admitted(method, metadata)):
                    async for answer in handle(metadata):
                        yield answer
                return
            except aio.AbortError:
                raise
            except Exception as error:
                refused = error
            await _refuse(context, refused, identifier)

    def _admitted(self, method: str, metadata: Any) -> Caller:
        who = self._verifier.verify(bearer([value for key, value in metadata if key == "authorization"]))
        if method.startswith(OPERATOR_METHODS) and not who.operator:
            raise PermissionDeniedError(
                "OPERATOR_SCOPE_REQUIRED", "only operators may call this: the token lacks scope"
            )
        if not self.is_open and not method.startswith(EARLY_METHODS):
            raise StartingError("the platform is starting; send the same request again in a moment")
        return who


def read_message(method: str, data: bytes, read: Callable[[bytes], Any]) -> Any:
    """A method's request from its bytes. Raises MessageTooLargeError and DecodeError."""
    limit = LARGE_REQUEST_BYTES if method in LARGE_REQUESTS else REQUEST_BYTES
    if len(data) > limit:
        raise MessageTooLargeError(f"the request has {len(data)} bytes; at most {limit} are taken")
    try:
        return read(data)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(str(error)) from error


def _text_of(metadata: Any, key: str) -> str | None:
    for name, value in metadata:
        if name == key:
            return value if isinstance(value, str) else None
    return None


def _seconds_left(context: Context) -> float:
    left: float | None = context.time_remaining()  # None without a deadline, whatever the stubs say
    return UNARY_SECONDS if left is None else left


async def _refuse(context: Context, error: Exception, identifier: Any) -> None:
    status = status_of(error, identifier)
    trailing = ((DETAILS_KEY, status.SerializeToString()), (HEADER, str(identifier)))
    await context.abort(_CODES[status.code], status.message, trailing)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
