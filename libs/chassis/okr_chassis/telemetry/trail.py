"""The trail of a command: at each of its steps a span while traces are on, and a line at log level debug.

call → append → publish → receive → apply. Where neither is wanted nothing is put in between: whoever
puts calls, logs and consumers together asks here once. Lines and spans name types, positions and
codes; what people wrote, tokens and names stand in none of them.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from grpc import aio

from okr_chassis.telemetry import tracing
from okr_chassis.telemetry.correlation import correlated, running_correlation_id
from okr_chassis.telemetry.running import running_service
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, Done, NewEvent, ShardBatch
from okr_eventstore.runner import Runner, Witness, unseen
from okr_eventstore.source import EventSource

log = logging.getLogger(__name__)

Context = aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


def wanted() -> bool:
    return tracing.tracing() is not None or log.isEnabledFor(logging.DEBUG)


# --- calls ---------------------------------------------------------------------------------------


def unary(method: str, handle: Handler) -> Handler:
    """`handle`, or where somebody wants to know, `handle` with a trail."""
    if not wanted():
        return handle

    async def followed(request: Any, context: Context) -> Any:
        with _call(method, context):
            return await handle(request, context)

    return followed


def stream(method: str, handle: Handler) -> Handler:
    if not wanted():
        return handle

    async def followed(request: Any, context: Context) -> AsyncIterator[Any]:
        with _call(method, context):
            async for answer in handle(request, context):
                yield answer

    return followed


@contextmanager
def _call(method: str, context: Context) -> Iterator[None]:
    name = method.removeprefix("/")
    began = time.perf_counter()
    outcome = "done"
    with _span(name, "SERVER", _brought(context), {"rpc.system": "grpc", "rpc.method": name}):
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            log.debug("%s: %s in %.1f ms", name, outcome, (time.perf_counter() - began) * 1000)


def _brought(context: Context) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == tracing.HEADER and isinstance(value, str):
            return value
    return None


def _span(name: str, kind: str, traceparent: str | None, attributes: tracing.Attributes) -> AbstractContextManager[Any]:
    on = tracing.tracing()
    if on is None:
        return nullcontext()
    identifier = running_correlation_id()
    return on.around(
        name,
        kind,
        traceparent,
        {**attributes, "okr.service": running_service(), "okr.correlation_id": str(identifier or "")},
    )


# --- the log -------------------------------------------------------------------------------------


def event_log() -> type[EventLog]:
    """What an event log is made of in this process."""
    return FollowedLog if wanted() else EventLog


class FollowedLog(EventLog):
    """A log whose events carry the trace they were recorded in."""

    async def append(
        self,
        stream_id: str,
        expected_version: int,
        events: Sequence[NewEvent],
        context: CommandContext,
        reply: bytes | None = None,
    ) -> Done:
        with _span(f"append {self.service}", "INTERNAL", None, {"okr.events": len(events)}):
            on = tracing.tracing()
            traceparent = on.traceparent() if on is not None else None
            if traceparent is not None:
                metadata = {**context.metadata, tracing.HEADER: traceparent}
                context = msgspec.structs.replace(context, metadata=metadata)
            done = await super().append(stream_id, expected_version, events, context, reply)
            for event in events:
                log.debug("appended %s up to %s", type(event.data).__name__, done.position)
            return done


# --- the bus -------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One event where it has got to."""

    source: str
    type: str
    shard: int
    position: int
    correlation_id: str
    traceparent: str | None


def published(steps: Iterable[Step], began_ns: int) -> None:
    """Kafka has acknowledged these events; sending them began at `began_ns` (time.time_ns)."""
    for step in steps:
        _tell(f"relay {step.source}", "PRODUCER", "published", step, began_ns)


def over_bus(source: EventSource, consumer: str) -> EventSource:
    """A consumer's source, or where somebody wants to know, the source with a trail."""
    return _FollowedSource(source, consumer) if wanted() else source


class _FollowedSource:
    """Tells of what has come; all else is the source's own."""

    def __init__(self, source: EventSource, consumer: str) -> None:
        self.service = source.service
        self.start = source.start
        self.close = source.close
        self.assignments = source.assignments
        self.seek = source.seek
        self.commit = source.commit
        self.heads = source.heads
        self.backfill = source.backfill
        self._source = source
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        """What a source counts, or is asked beyond the port."""
        return getattr(self._source, name)

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        batches = await self._source.fetch(timeout_seconds)
        began_ns = time.time_ns()
        for step in _steps(self.service, batches):
            _tell(f"receive {self._consumer}", "CONSUMER", "received", step, began_ns)
        return batches


# --- consumers -----------------------------------------------------------------------------------


def witness() -> Witness:
    """What is there while a consumer of this process applies events."""
    return _applying if wanted() else unseen


@contextmanager
def _applying(runner: Runner, batches: Sequence[ShardBatch]) -> Iterator[None]:
    """A batch that fails leaves no trail."""
    began_ns = time.time_ns()
    yield
    verb = "react" if runner.subscription.react is not None else "project"
    for step in _steps(runner.subscription.to, batches):
        _tell(f"{verb} {runner.name}", "INTERNAL", "applied", step, began_ns)


def _steps(source: str, batches: Iterable[ShardBatch]) -> Iterator[Step]:
    for batch in batches:
        for event in batch.events:
            yield Step(
                source,
                event.type,
                event.shard,
                event.position,
                str(event.correlation_id),
                event.metadata.get(tracing.HEADER),
            )


def _tell(name: str, kind: str, verb: str, step: Step, began_ns: int) -> None:
    on = tracing.tracing()
    if on is not None and step.traceparent is not None:
        attributes: dict[str, str | int] = {
            "okr.service": running_service(),
            "okr.source": step.source,
            "okr.event_type": step.type,
            "okr.shard": step.shard,
            "okr.position": step.position,
            "okr.correlation_id": step.correlation_id,
        }
        on.tell(name, kind, step.traceparent, attributes, began_ns, time.time_ns())
    if log.isEnabledFor(logging.DEBUG):
        with correlated(UUID(step.correlation_id)):
            log.debug("%s: %s %s of %s:%s:%s", name, verb, step.type, step.source, step.shard, step.position)
