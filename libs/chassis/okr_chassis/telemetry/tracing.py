"""Traces by OpenTelemetry: off unless OTEL_EXPORTER_OTLP_ENDPOINT says who collects them.

While they are off nothing of OpenTelemetry is even imported, and an event's metadata stay empty. While
they are on, a command's trace goes where the command goes: in by the caller's `traceparent`, into the
metadata of its events, with them over the bus, and on to whatever they cause. Sampling, names and
exporters are set by OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME …).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from okr_eventstore.handling import handled_event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

HEADER = "traceparent"
"""W3C trace context, in metadata of calls and of events."""
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Attributes = Mapping[str, str | int]

_tracing: "Tracing | None" = None


def tracing() -> "Tracing | None":
    """None while traces are off. Asked where something is put together, so that nobody pays for what is not there."""
    return _tracing


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in _COLLECTORS)


def configure(service: str) -> None:
    """Switch traces on where the environment asks for them. `service` is what they call this process.

    What was not sent yet is sent when the process ends.
    """
    if not wanted():
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or f"okr-{service}",
            "service.version": version("okr-platform"),
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Send spans there from now on; None switches traces off. For what is put together afterwards."""
    global _tracing
    _tracing = None if provider is None else Tracing(provider)


class Tracing:
    """The few things we do with spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._tracer = provider.get_tracer("okr")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def around(self, name: str, kind: str, traceparent: str | None, attributes: Attributes) -> Iterator[Any]:
        """A span around what is done inside, which becomes the parent of all that this causes.

        It belongs to the trace of `traceparent`, else to the running one, else to that of the event at hand.
        """
        with self._tracer.start_as_current_span(
            name, self._parent(traceparent), self._kind(kind), dict(attributes), record_exception=False
        ) as span:
            yield span

    def tell(
        self, name: str, kind: str, traceparent: str, attributes: Attributes, began_ns: int, ended_ns: int
    ) -> None:
        """A span that is over already; only where the trace of `traceparent` is recorded."""
        if sampled(traceparent):
            span = self._tracer.start_span(
                name, self._parent(traceparent), self._kind(kind), dict(attributes), start_time=began_ns
            )
            span.end(ended_ns)

    def traceparent(self) -> str | None:
        """What the next one needs to go on with this trace; None where there is none, or nobody records it."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._parent(None))
        found = carrier.get(HEADER)
        return found if found is not None and sampled(found) else None

    def trace_id(self) -> str | None:
        """Of the running trace, for log lines."""
        found = self._trace.get_current_span(self._parent(None)).get_span_context()
        return self._trace.format_trace_id(found.trace_id) if found.is_valid else None

    def _parent(self, traceparent: str | None) -> "Context | None":
        if traceparent is None:
            event = handled_event()
            if event is None or self._trace.get_current_span().get_span_context().is_valid:
                return None
            traceparent = event.metadata.get(HEADER)
        return self._propagator.extract({HEADER: traceparent}) if traceparent else None

    def _kind(self, name: str) -> Any:
        return self._trace.SpanKind[name]


def sampled(traceparent: str) -> bool:
    """Whether somebody records the trace: the last two digits hold the flags, of which the lowest says so."""
    try:
        return bool(int(traceparent[-2:], 16) & 1)
    except ValueError:
        return False
