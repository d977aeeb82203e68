"""What ties everything one call caused together: an id in every event, log line and refusal."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID, uuid4

HEADER = "x-correlation-id"

_running: ContextVar[UUID | None] = ContextVar("correlation_id", default=None)


def running_correlation_id() -> UUID | None:
    """The id of the running call; None where no call runs."""
    return _running.get()


def correlation_id() -> UUID:
    """The id of the running call; a new one where no call runs."""
    return _running.get() or uuid4()


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
