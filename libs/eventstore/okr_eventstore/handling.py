"""The event that is being handled right here, for whoever writes a log line or asks a neighbour on its behalf."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from okr_eventstore.model import RecordedEvent

_handled: ContextVar[RecordedEvent | None] = ContextVar("handled_event", default=None)


def handled_event() -> RecordedEvent | None:
    """The event whose consequences the running code draws; None where there is none."""
    return _handled.get()


@contextmanager
def handling(event: RecordedEvent) -> Iterator[None]:
    token = _handled.set(event)
    try:
        yield
    finally:
        _handled.reset(token)
