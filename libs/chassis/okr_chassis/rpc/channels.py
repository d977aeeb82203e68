"""Channels to our own services: who calls, how long it waits, when it tries again."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from grpc import aio

from okr_chassis.rpc.deadline import remaining_seconds
from okr_chassis.telemetry import tracing
from okr_chassis.telemetry.correlation import HEADER, correlation_id

DEADLINE_SECONDS = 5.0
HANDING_ON_SECONDS = 0.05
"""What a call keeps of its own time to answer after a call it makes has run out of time."""
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
"""Only UNAVAILABLE is tried again: nothing happened, or the request id tells what did (AIP-194)."""

_AMONG_COPIES = {
    **_SERVICE_CONFIG,
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
}
"""Where several copies of a service may be: calls go round among those that say they are ready."""

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 1),
    ("grpc.max_receive_message_length", LARGEST_ANSWER_BYTES),
    # A connection whose other end has gone without a word reports no error; while calls wait, somebody must ask.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Left alone, a channel waits up to two minutes after an outage before it tries again, and 20 s for one attempt.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a ping that is on its way already is waited for this long, 60 s else
)

Token = Callable[[], str]


def connect(
    address: str, token: Token, *, deadline_seconds: float = DEADLINE_SECONDS, among_copies: bool = False
) -> aio.Channel:
    """A channel that brings a token, the correlation id and a deadline to every call. Close it when done.

    `address` is host:port, or several IP addresses with their ports, parted by commas. `among_copies` spreads the
    calls over all that answer there and are ready.
    `token` is asked for each call. Unary calls that name no timeout get `deadline_seconds`, or what
    is left of the call they are made in; streams have no deadline unless they name one.
    """
    return aio.insecure_channel(
        target_of(address),
        options=(*OPTIONS, ("grpc.service_config", json.dumps(_AMONG_COPIES if among_copies else _SERVICE_CONFIG))),
        interceptors=[_UnaryCalls(token, deadline_seconds), _StreamCalls(token), _Exchanges(token)],
    )


def target_of(address: str) -> str:
    """An address as gRPC wants it. A name stands for all that it resolves to; only IP addresses can be listed."""
    if "," not in address:
        return address
    family = "ipv6" if "[" in address else "ipv4"
    return f"{family}:{address.replace(' ', '')}"


def _metadata(details: aio.ClientCallDetails, token: Token) -> aio.Metadata:
    metadata = aio.Metadata(*(details.metadata or ()))
    metadata["authorization"] = f"Bearer {token()}"
    if metadata.get(HEADER) is None:
        metadata[HEADER] = str(correlation_id())
    on = tracing.tracing()
    if on is not None and (traceparent := on.traceparent()) is not None:
        metadata[tracing.HEADER] = traceparent
    return metadata


class _UnaryCalls(aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: Token, deadline_seconds: float) -> None:
        self._token = token
        self._deadline_seconds = deadline_seconds

    async def intercept_unary_unary(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        details = client_call_details
        timeout = details.timeout
        if timeout is None:
            left = remaining_seconds()
            timeout = self._deadline_seconds
            if left is not None:
                timeout = min(timeout, max(0.0, left - HANDING_ON_SECONDS))
        return await continuation(
            aio.ClientCallDetails(details.method, timeout, _metadata(details, self._token), details.credentials, True),
            request,
        )


class _StreamCalls(aio.UnaryStreamClientInterceptor):
    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_stream(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        details = client_call_details
        return await continuation(
            aio.ClientCallDetails(
                details.method, details.timeout, _metadata(details, self._token), details.credentials, True
            ),
            request,
        )


class _Exchanges(aio.StreamStreamClientInterceptor):
    """The token of the beginning counts for the whole stream; who holds one open for longer begins another in time."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_stream_stream(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        details = client_call_details
        return await continuation(
            aio.ClientCallDetails(
                details.method, details.timeout, _metadata(details, self._token), details.credentials, True
            ),
            request_iterator,
        )
