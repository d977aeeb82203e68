"""A small TCP proxy in this process, to make networks fail as networks do."""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Carries bytes between whoever connects to `port` and an upstream server, until it is told to fail.

    async with Proxy("127.0.0.1", 5432) as proxy:
        proxy.latency_seconds = 0.05      # every chunk, both ways, from now on
        proxy.cut()                       # every open connection ends at once
    """

    def __init__(self, host: str, port: int) -> None:
        self.latency_seconds = 0.0
        """How long each chunk is held back."""
        self.slow_close_seconds = 0.0
        """How long the end of one side is kept from the other."""
        self._refusals = 0
        self.connections = 0
        """How many there have been."""
        self._host = host
        self._port = port
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy listens inside its context"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open_links(self) -> int:
        return len(self._links)

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.end()
        await self._server.wait_closed()

    # --- faults ----------------------------------------------------------------------------------

    def cut(self) -> None:
        """End every open connection, in an orderly way as seen from both sides, whatever was on its way."""
        for link in list(self._links):
            link.end()

    def reset(self) -> None:
        """Tear every open connection down with a reset."""
        for link in list(self._links):
            link.reset()

    def cut_after(self, upstream_bytes: int) -> None:
        """Let this many more bytes of each open connection through to the server, then end it: in mid-sentence."""
        for link in self._links:
            link.upstream_budget = upstream_bytes

    def lose_answers(self) -> None:
        """Let requests through, keep the next answer back and end the connection: the outcome is in doubt."""
        for link in self._links:
            link.loses_answers = True

    def swallow(self) -> None:
        """Make every open connection half-open: it takes bytes, and nothing ever comes of them."""
        for link in self._links:
            link.swallows = True

    def refuse(self, connections: int) -> None:
        """Close as many new connections as soon as they are made."""
        self._refusals = connections

    def heal(self) -> None:
        """Be a good network again. What is half-open stays so: nobody repairs such a connection."""
        self.latency_seconds = self.slow_close_seconds = 0.0
        self._refusals = 0

    # --- carrying --------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusals > 0:
            self._refusals -= 1
            writer.close()
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), (upstream_reader, upstream_writer))
        self._links.add(link)
        try:
            await link.carry()
        finally:
            self._links.discard(link)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection and its continuation to the server."""

    def __init__(self, proxy: Proxy, client: Side, upstream: Side) -> None:
        self.upstream_budget: int | None = None
        self.loses_answers = False
        self.swallows = False
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        self._ended = asyncio.Event()

    async def carry(self) -> None:
        there = asyncio.create_task(self._pump(self._client[0], self._upstream[1], upstream=True))
        back = asyncio.create_task(self._pump(self._upstream[0], self._client[1], upstream=False))
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait((there, back, ended), return_when=asyncio.FIRST_COMPLETED)
        if not self._ended.is_set():
            await self._pause(self._proxy.slow_close_seconds)
        self.end()
        for task in (there, back, ended):
            task.cancel()
        await asyncio.gather(there, back, ended, return_exceptions=True)

    def end(self) -> None:
        self._ended.set()
        for _, writer in (self._client, self._upstream):
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    def reset(self) -> None:
        self._ended.set()
        for _, writer in (self._client, self._upstream):
            ours = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                # To close without lingering is to send a reset.
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upstream: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._pause(self._proxy.latency_seconds)
                if self.swallows:
                    continue
                if not upstream and self.loses_answers:
                    return
                if upstream and self.upstream_budget is not None:
                    chunk = chunk[: self.upstream_budget]
                    self.upstream_budget -= len(chunk)
                writer.write(chunk)
                await writer.drain()
                if upstream and self.upstream_budget == 0:
                    return
        if self.swallows:
            await self._ended.wait()  # nor does anybody hear that the other side has gone

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()
