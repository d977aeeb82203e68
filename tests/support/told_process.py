"""The other end of a process that a test starts, talks with in lines, and treats badly."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import IO, Any

from tests.support.waiting import PATIENCE_SECONDS


def say(**news: Any) -> None:
    """Tell the test, from within the process."""
    print(json.dumps(news), flush=True)


class ToldProcess:
    """A module of ours at work elsewhere on this machine, started with its settings as JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @staticmethod
    async def start(
        module: str, settings: Mapping[str, Any], complaints: IO[bytes] | None = None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, json.dumps(settings),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
        )  # fmt: skip

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    def stop(self) -> None:
        """SIGSTOP: it does not know that time goes by."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def leave(self) -> None:
        """Let it end in an orderly way, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._process.wait()

    async def tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())
        await self._process.stdin.drain()

    async def heard(self) -> dict[str, Any]:
        """The next line it says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        heard: dict[str, Any] = json.loads(line)
        return heard
