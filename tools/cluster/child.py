"""One process among many: started, listened to, and stopped the way a supervisor would."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 30.0
"""How long an orderly end may take before it becomes a kill."""
KEPT_LINES = 200

Line = Callable[[str, str], None]
"""Told the name of the process and a line it wrote."""


class Child:
    """A process whose every line is passed on. It has a group of its own: a Ctrl-C of the terminal does not reach it,
    so that whoever started it decides on the order in which things end."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], directory: Path, line: Line
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        """What it wrote last."""
        self._command = command
        self._environment = dict(environment)
        self._directory = directory
        self._line = line
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._directory,
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._listening = asyncio.create_task(self._listen(self._process), name=f"listen to {self.name}")

    async def ended(self) -> int:
        """Wait for its end; how it ended."""
        assert self._process is not None and self._listening is not None, "it was started"
        await asyncio.wait([self._listening])  # who waits may stop waiting; the listening goes on
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, and insist when it does not."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.ended()
        except TimeoutError:
            self._line(self.name, f"does not end within {STOP_SECONDS:.0f} s and is killed")
            return await self.kill()

    async def kill(self) -> int:
        """As a machine would that dies."""
        self._signal(signal.SIGKILL)
        return await self.ended()

    def _signal(self, which: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(which)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "it was asked for"
        while line := await process.stdout.readline():
            text = line.decode("utf-8", "replace").rstrip("\n")
            self.lines = [*self.lines[-KEPT_LINES:], text]
            self._line(self.name, text)
