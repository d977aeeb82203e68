"""What the platform writes about itself: lines for people on a terminal, JSON elsewhere, quiet while all is well."""

import logging
import sys
import time
from collections.abc import Callable

import structlog

from okr_chassis.telemetry.correlation import running_correlation_id
from okr_chassis.telemetry.running import alone_in_process, running_service
from okr_chassis.telemetry.tracing import tracing

_LIBRARIES = ("grpc", "asyncio", "asyncpg", "aiokafka", "faststream", "opentelemetry")
_TRYING = ("aiokafka", "faststream")
"""Libraries that try again by themselves and complain each time, hundreds of times a second while a broker is away."""
REPEATED_SECONDS = 60.0
"""How often each part of such a library is heard meanwhile."""
_WHERE_NOT_WHAT = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Tracebacks say where it went wrong. What the variables held there may be a key, or what somebody wrote."""


def _with_origin(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Say which service wrote a line, and in which call or about which event; in which trace, where there are any."""
    service, identifier, on = running_service(), running_correlation_id(), tracing()
    if service:
        event.setdefault("service", service)
    if identifier is not None:
        event.setdefault("correlation_id", str(identifier))
    if on is not None and (trace_id := on.trace_id()) is not None:
        event.setdefault("trace_id", trace_id)
    return event


class Patience(logging.Filter):
    """Hears each part of a library that tries again by itself once a minute, and takes none of it for an error.

    What Kafka's absence means is told by the relay and the consumers. Nothing is left out at level debug.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._heard_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _TRYING or logging.getLogger().level <= logging.DEBUG:
            return True
        if "GroupCoordinatorNotAvailableError" in record.getMessage():
            return False  # the usual answer of a broker that has just been started
        now = self._monotonic()
        if now - self._heard_at.get(record.name, -REPEATED_SECONDS) < REPEATED_SECONDS:
            return False
        self._heard_at[record.name] = now
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def configure(level: str = "info", *, terminal: bool | None = None, service: str = "") -> None:
    """Send structlog and the standard library's log through one pipe to stderr.

    `service` stands in the lines of a process as a whole; what belongs to one of its services says so itself.
    """
    alone_in_process(service)
    pretty = sys.stderr.isatty() if terminal is None else terminal
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_origin,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.ExceptionRenderer(_WHERE_NOT_WHAT), structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    handler.addFilter(Patience())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
