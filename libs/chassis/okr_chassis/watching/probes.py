"""The HTTP side door: three pages for probes and scrapers, and nothing else.

A few lines over asyncio instead of a web server: no request has a body, no answer is large, and the loop
that answers is the very one that is asked after.
"""

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from okr_chassis.startup import StartupError

REQUEST_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
"""How long somebody may take to say what they want, and we to answer."""
CONNECTIONS = 32
"""More at a time than any number of scrapers needs; further ones are closed at once."""

_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


Page = Callable[[], Awaitable[Answer]]


class SideDoor:
    """Answers GET and HEAD for a few paths until closed."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; answers on which port, for 0 a free one. Raises StartupError."""
        try:
            self._server = await asyncio.start_server(self._serve, host or None, port, limit=REQUEST_BYTES)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "the port is in use" if taken else error.strerror or str(error)
            raise StartupError(f"cannot serve metrics on {host}:{port}: {why}; set OKR_METRICS_PORT") from error
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio serves each connection in a task"
        self._open.add(task)
        try:
            if len(self._open) <= CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._converse(reader, writer)
        except (TimeoutError, OSError, ValueError, EOFError):
            pass  # who asks like this needs no answer: too slowly, too much, or gone
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode("latin-1").split()
        while (await reader.readline()).strip():
            pass  # headers: nothing in them would change an answer
        answer = await self._answer(words)
        phrase = _PHRASES.get(answer.status, "")
        head = (
            f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + (b"" if words[:1] == ["HEAD"] else answer.body))
        await writer.drain()

    async def _answer(self, words: list[str]) -> Answer:
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _text(400, "this is HTTP/1.1: GET /metrics HTTP/1.1")
        method, path = words[0], words[1].partition("?")[0]
        page = self._pages.get(path)
        if page is None:
            return _text(404, f"no page {path[:100]!r}; there are {', '.join(sorted(self._pages))}")
        if method not in ("GET", "HEAD"):
            return _text(405, f"{method[:20]} is not for here; GET is")
        return await page()


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())
