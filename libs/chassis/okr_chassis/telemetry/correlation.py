"""What ties everything one call caused together: an id in every event, log line and refusal."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID, uuid4

from okr_eventstore.handling import handled_event

HEADER = "x-correlation-id"

_running: ContextVar[UUID | None] = ContextVar("correlation_id", default=None)


def running_correlation_id() -> UUID | None:
    """The id of the event that is handled here, or of the running call; None where there is neither."""
    event = handled_event()
    return event.correlation_id if event is not None else _running.get()


def correlation_id() -> UUID:
    """The id of the event or the call at hand; a new one where there is none."""
    return running_correlation_id() or uuid4()


def accepted(text: str | None) -> UUID:
    """The id a caller brought, when it is one; else a new one. Never a reason to refuse a call."""
    if text is not None and len(text) == 36:
        try:
            return UUID(text)
        except ValueError:
            pass
    return uuid4()


@contextmanager
def correlated(identifier: UUID) -> Iterator[None]:
    """Everything inside belongs to this id; a log line asks for it when there is one to write."""
    token = _running.set(identifier)
    try:
        yield
    finally:
        _running.reset(token)
