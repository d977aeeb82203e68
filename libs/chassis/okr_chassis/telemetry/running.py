"""On whose behalf the code at hand runs: which service it belongs to. Log lines and spans ask."""

from collections.abc import Awaitable
from contextvars import ContextVar

_service: ContextVar[str] = ContextVar("service", default="")
_process = ""


def running_service() -> str:
    """The service at work here; where a process has one only, that one; empty where nobody said."""
    return _service.get() or _process


def in_service(name: str) -> None:
    """From here on, in this task and those it starts, `name` is at work."""
    _service.set(name)


async def for_service(name: str, work: Awaitable[None]) -> None:
    """Work that a task does for a service."""
    in_service(name)
    await work


def alone_in_process(name: str) -> None:
    """Whose the lines of this process are where nothing else is said; empty for nobody's."""
    global _process
    _process = name
