"""The containers of docker-compose.yml as processes: the same commands, settings, order and health checks.

What differs is only what containers are for: every process has ports of its own on the loopback instead of a host
name of its own, and the volumes are directories.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tests.deploy.compose import environment
from tests.deploy.recipe import PROJECT, read_recipe
from tools.kafka.broker import free_port

IMAGE = read_recipe(PROJECT / "deploy" / "Dockerfile")[-1]
PATIENCE_SECONDS = 240.0
GIVEN = frozenset({"postgres", "kafka"})
"""What tests have already, without a container."""


class Composition:
    """Containers that run as processes. `hosts` says where those are that run already, as host:port."""

    def __init__(
        self,
        containers: Mapping[str, dict[str, Any]],
        home: Path,
        hosts: Mapping[str, str],
        profiles: Collection[str] = (),
    ) -> None:
        self.containers = containers
        self.home = home
        self._profiles = set(profiles)
        self._hosts = dict(hosts)
        self._doors = {name: (free_port(), free_port()) for name in containers if name not in GIVEN}
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}

    async def up(self, name: str) -> None:
        """A container and, before it, whatever it waits for, until that is as it must be."""
        if name not in self._hosts:
            if name not in self._starting:
                self._starting[name] = asyncio.create_task(self._up(name))
            await self._starting[name]

    async def _up(self, name: str) -> None:
        needed = {
            each: how["condition"]
            for each, how in self.containers[name].get("depends_on", {}).items()
            if how.get("required", True) or self._profiles & set(self.containers[each]["profiles"])
        }
        await asyncio.gather(*(self._as_needed(each, condition) for each, condition in needed.items()))
        self._running[name] = await self._start(name, self.containers[name]["command"])

    async def _as_needed(self, name: str, condition: str) -> None:
        await self.up(name)
        if name in self._hosts:
            return
        match condition:
            case "service_healthy":
                await self.healthy(name)
            case "service_completed_successfully":
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await self._running[name].wait() == 0, f"{name}: {self.told(name)}"
            case _:
                raise AssertionError(f"{condition} is not understood here")

    async def healthy(self, name: str) -> None:
        """Wait until the image's own health check is content with a container."""
        process = self._running[name]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await (await self._start(name, IMAGE.health_check, asyncio.subprocess.DEVNULL)).wait() != 0:
                assert process.returncode is None, f"{name} ended with {process.returncode}: {self.told(name)}"

    async def run(self, name: str, *command: str) -> tuple[int, str]:
        """A container to its end, with the command it has or another one: how it ended and what it said."""
        container = self.containers[name]
        words = [*container.get("entrypoint", []), *(command or container["command"])]
        process = await self._start(name, words, asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE_SECONDS):
            told, _ = await process.communicate()
        return process.returncode or 0, told.decode()

    async def stop(self) -> dict[str, int]:
        """Ask all to leave, as `docker compose down` does: how each ended."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return {name: await process.wait() for name, process in self._running.items()}
        finally:
            await self.kill()

    async def kill(self) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def told(self, name: str) -> str:
        """What a container has said so far."""
        return (self.home / f"{name}.log").read_text()

    def settings(self, name: str) -> dict[str, str]:
        """A container's variables, with our places for its hosts and directories."""
        grpc, metrics = self._doors[name]
        found = IMAGE.environment | environment(self.containers[name])
        placed = {key: self._placed(value) for key, value in found.items() if key != "PATH"}
        ours = {"OKR_GRPC_HOST": "127.0.0.1", "OKR_GRPC_PORT": str(grpc), "OKR_METRICS_PORT": str(metrics)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return placed | ours | {"PATH": path, "COLUMNS": "160"}

    def _placed(self, text: str) -> str:
        for name, address in self._hosts.items():
            text = re.sub(rf"\b{name}:\d+", address, text)
        for name, (grpc, _) in self._doors.items():
            text = re.sub(rf"^{name}:\d+$", f"127.0.0.1:{grpc}", text)
        return text.replace("/var/lib/", f"{self.home}/")

    async def _start(self, name: str, words: list[str], output: int | None = None) -> asyncio.subprocess.Process:
        (self.home / "okr").mkdir(exist_ok=True)
        (self.home / "okr-vault").mkdir(exist_ok=True)
        with (self.home / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(self._placed(word) for word in words), env=self.settings(name), cwd=self.home / "okr",
                stdin=asyncio.subprocess.DEVNULL, stdout=output or log, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
