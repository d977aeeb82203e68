"""What this process was asked over gRPC: how often, with which outcome, and how long it took.

Counted in plain numbers, because a call is counted far more often than anybody looks: metrics.py reads
them when somebody does.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import Any

import grpc
from grpc import aio

from okr_chassis.telemetry.running import in_service

BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Of the latency histogram. The last one is the longest that a call without a deadline may take."""

Context = aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


class MethodCalls:
    """The calls of one method since the start."""

    __slots__ = ("codes", "ok", "seconds", "within")

    def __init__(self) -> None:
        self.ok = 0
        self.codes: dict[str, int] = {}
        """How often each code but OK was answered."""
        self.within = [0] * (len(BOUNDS_SECONDS) + 1)
        """How many calls took no longer than each bound and longer than the one before; the last: longer than all."""
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        self.within[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.seconds += seconds

    def refused(self, code: str) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1


class Calls:
    """Counts the calls of one server. Streams are counted when they end, and their length tells nothing."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodCalls] = {}

    def unary(self, method: str, handle: Handler) -> Handler:
        counts, service = self._counts(method), service_of(method)

        async def counted(request: Any, context: Context) -> Any:
            in_service(service)  # every call runs in a task of its own, so nothing has to be put back
            began = perf_counter()
            try:
                answer = await handle(request, context)
            except BaseException:
                counts.took(perf_counter() - began)
                counts.refused(_code(context))
                raise
            counts.took(perf_counter() - began)
            counts.ok += 1
            return answer

        return counted

    def stream(self, method: str, handle: Handler) -> Handler:
        counts, service = self._counts(method), service_of(method)

        async def counted(request: Any, context: Context) -> AsyncIterator[Any]:
            in_service(service)
            try:
                async for answer in handle(request, context):
                    yield answer
            except BaseException:
                counts.refused(_code(context))
                raise
            counts.ok += 1

        return counted

    def _counts(self, method: str) -> MethodCalls:
        return self.methods.setdefault(method.removeprefix("/"), MethodCalls())


def service_of(method: str) -> str:
    """ "/okr.goals.v1.GoalsService/DraftObjective" is answered by goals."""
    parts = method.removeprefix("/").split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _code(context: Context) -> str:
    """What a call that did not end well was answered with. One that nobody waits for any more has no code yet."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK:
        return code.name
    return "CANCELLED"
