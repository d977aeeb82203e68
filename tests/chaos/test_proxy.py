"""The proxy fails as it is told to; else the chaos runs would prove less than they say."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy


class Echo:
    """A server that answers every line with the same line, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard = b""
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1024):
                self.heard += chunk
                writer.write(chunk)
        except OSError:
            pass
        finally:
            self.hung_up.set()
            writer.close()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


async def call(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that is through to the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    return reader, writer


async def answers_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_latency_holds_everything_back_and_loses_nothing(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await call(proxy)
    proxy.latency_seconds = 0.05
    started = asyncio.get_running_loop().time()
    writer.write(b"slowly\n")

    assert await reader.readline() == b"slowly\n"
    assert asyncio.get_running_loop().time() - started >= 0.1, "there and back"
    writer.close()


async def test_a_cut_ends_both_sides(proxy: Proxy, echo: Echo) -> None:
    reader, _ = await call(proxy)
    proxy.cut()

    assert await reader.read() == b""
    await echo.hung_up.wait()


async def test_a_reset_is_seen_as_one(proxy: Proxy, echo: Echo) -> None:
    reader, _ = await call(proxy)
    proxy.reset()

    with pytest.raises(ConnectionResetError):
        await reader.read()
    await echo.hung_up.wait()


async def test_a_connection_is_cut_in_mid_sentence(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await call(proxy)
    proxy.cut_after(3)
    writer.write(b"whole sentence\n")

    await reader.read()
    await echo.hung_up.wait()
    assert echo.heard == b"hello\nwho"


async def test_a_lost_answer_leaves_the_request_done(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await call(proxy)
    proxy.lose_answers()
    writer.write(b"done?\n")

    assert await reader.read() == b""
    assert echo.heard.endswith(b"done?\n")


async def test_a_half_open_connection_takes_everything_and_says_nothing(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await call(proxy)
    proxy.swallow()
    writer.write(b"anybody?\n")

    assert await answers_nothing(reader)
    assert echo.heard == b"hello\n"
    fresh_reader, fresh_writer = await call(proxy)  # a new connection is a new chance
    fresh_writer.close()
    writer.close()
    assert await fresh_reader.read() == b""


async def test_a_slow_close_keeps_the_end_from_the_other_side(proxy: Proxy, echo: Echo) -> None:
    _, writer = await call(proxy)
    proxy.slow_close_seconds = 0.1
    started = asyncio.get_running_loop().time()
    writer.close()
    await echo.hung_up.wait()

    assert asyncio.get_running_loop().time() - started >= 0.1


async def test_a_refusing_network_closes_what_is_new_and_then_lets_through(proxy: Proxy, echo: Echo) -> None:
    proxy.refuse(2)
    for _ in range(2):
        reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await reader.read() == b""

    _, writer = await call(proxy)
    writer.close()
