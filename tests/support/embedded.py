"""The embedded platform as a person runs it: `okr up` in a process of its own, and `okr` beside it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

OKR = Path(sys.executable).with_name("okr")
PATIENCE_SECONDS = 90.0


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Installation:
    """A data directory and a port; the platform on them may be up or down."""

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.printed: list[str] = []
        """What the last start has said so far."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OKR_", "DATABASE_URL"))}
        return kept | {"OKR_DATA_DIR": str(self.data_dir), "OKR_GRPC_PORT": str(self.port), "COLUMNS": "160"}

    async def okr(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Answer:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            OKR, *arguments, env=self.environment | environment, cwd=cwd or self.data_dir.parent,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
        return Answer(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *options: str, command: Sequence[str] = ()) -> None:
        """`okr up`, or a command that comes to the same, waited for until it says that it serves."""
        process = await asyncio.create_subprocess_exec(
            *(command or (str(OKR), "up", "--json", *options)), env=self.environment, cwd=self.data_dir.parent,
            start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._process = process
        self.printed = []
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := (await process.stdout.readline()).decode():
                self.printed.append(line.rstrip("\n"))
                if line.startswith(('{"address"', "Ready at")):
                    return
            _, err = await process.communicate()
        raise AssertionError(f"the platform ended with {process.returncode}: {err.decode()}")

    async def stop(self) -> int:
        """Ctrl-C, which a terminal sends to the whole process group, and how it ended."""
        process, self._process = self._process, None
        assert process is not None
        os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.communicate()
        return process.returncode or 0

    async def kill(self, *, postgres: bool) -> None:
        """kill -9 of the platform, and of its PostgreSQL with all its children if asked for."""
        process, self._process = self._process, None
        assert process is not None
        victims = [process.pid, *(self.postgres_processes() if postgres else [])]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()

    def postgres_processes(self) -> list[int]:
        """Those who work in our cluster's directory, and so are ours."""
        cluster = self.data_dir / "postgres"
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "cwd").readlink() == cluster:
                    found.append(int(entry.name))
        return found


@asynccontextmanager
async def installation(data_dir: Path) -> AsyncIterator[Installation]:
    """Whatever is left running when the test ends is stopped."""
    built = Installation(data_dir)
    try:
        yield built
    finally:
        if built._process is not None:
            await built.stop()
        for pid in built.postgres_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
