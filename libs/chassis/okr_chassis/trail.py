"""The trail of a command: at each of its steps a span while traces are on, and a line at log level debug.

call → append → publish → receive → apply. Where neither is wanted nothing is put in between: whoever
puts calls, logs and consumers together asks here once. Lines and spans name types, positions and
codes; what people wrote, tokens and names stand in none of them.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec
from grpc import aio

from okr_chassis import tracing
from okr_chassis.correlation import running_correlation_id
from okr_chassis.running import running_service
from okr_eventstore.handling import handling
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, Done, NewEvent, RecordedEvent, ShardBatch
from okr_eventstore.runner import Runner, Witness, unseen

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


def published(service: str, events: Iterable[RecordedEvent], began_ns: int) -> None:
    """Kafka has acknowledged these events; sending them began at `began_ns` (time.time_ns)."""
    _told("relay", service, "PRODUCER", "published", events, began_ns)


def received(service: str, consumer: str, events: Iterable[RecordedEvent], began_ns: int) -> None:
    """These events of `service` have come over the bus for a consumer."""
    _told(f"receive {consumer}", service, "CONSUMER", "received", events, began_ns)


def witness() -> Witness:
    """What is there while a consumer of this process applies events."""
    return applying if wanted() else unseen


@contextmanager
def applying(runner: Runner, batches: Sequence[ShardBatch]) -> Iterator[None]:
    """A consumer applies events; see okr_eventstore.runner.Witness. A batch that fails leaves no trail."""
    began_ns = time.time_ns()
    yield
    step = "react" if runner.subscription.react is not None else "project"
    events = (event for batch in batches for event in batch.events)
    _told(f"{step} {runner.name}", runner.subscription.to, "INTERNAL", "applied", events, began_ns)


def _told(step: str, source: str, kind: str, verb: str, events: Iterable[RecordedEvent], began_ns: int) -> None:
    ended_ns = time.time_ns()
    on, lines = tracing.tracing(), log.isEnabledFor(logging.DEBUG)
    for event in events:
        traceparent = event.metadata.get(tracing.HEADER)
        if on is not None and traceparent is not None:
            attributes: dict[str, str | int] = {
                "okr.service": running_service(),
                "okr.source": source,
                "okr.event_type": event.type,
                "okr.shard": event.shard,
                "okr.position": event.position,
                "okr.correlation_id": str(event.correlation_id),
            }
            on.tell(f"{step} {source}" if step == "relay" else step, kind, traceparent, attributes, began_ns, ended_ns)
        if lines:
            with handling(event):
                log.debug("%s: %s %s of %s:%s:%s", step, verb, event.type, source, event.shard, event.position)
