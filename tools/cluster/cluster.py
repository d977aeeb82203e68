"""All services, each in one or more processes of its own, over one PostgreSQL and one Kafka."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from okr_chassis.identity.issuer import keep_internal_key
from okr_chassis.startup import StartupError
from okr_cli.client import SERVICES
from tools.cluster.child import Child, Line

HOST = "127.0.0.1"
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_ROOT = Path(__file__).parents[2]


class Place(NamedTuple):
    """One copy of one service, and where it is."""

    service: str
    copy: int
    port: int
    metrics_port: int

    @property
    def name(self) -> str:
        """Stays over a restart, so that the copy goes on where it was at once."""
        return f"{self.service}-{self.copy}"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


def places(copies: int, first_port: int | None) -> list[Place]:
    """Where every copy is: with `first_port` services one after the other, copies ten further on, metrics a hundred."""
    found = []
    for copy in range(1, copies + 1):
        for index, service in enumerate(SERVICES):
            if first_port is None:
                found.append(Place(service, copy, free_port(), free_port()))
            else:
                port = first_port + index + 10 * (copy - 1)
                found.append(Place(service, copy, port, port + 100))
    return found


class Cluster:
    """Starts every process, and takes them down together.

    `urls` are the services' own PostgreSQL roles; `settings` more variables for all of them.
    """

    def __init__(
        self,
        data_dir: Path,
        urls: Mapping[str, str],
        bootstrap: str,
        at: Sequence[Place],
        *,
        settings: Mapping[str, str] | None = None,
        line: Line = lambda name, text: None,
    ) -> None:
        self.data_dir = data_dir
        self.at = list(at)
        self._urls = urls
        self._bootstrap = bootstrap
        self._settings = dict(settings or {})
        self._line = line
        self.children: dict[str, Child] = {}

    @property
    def peers(self) -> dict[str, str]:
        """Service → where all of its copies are."""
        return {
            service: ",".join(place.address for place in self.at if place.service == service) for service in SERVICES
        }

    @property
    def environment(self) -> dict[str, str]:
        """What the `okr` command needs to reach them."""
        return _others() | {"OKR_DATA_DIR": str(self.data_dir), "OKR_PEERS": json.dumps(self.peers)}

    async def __aenter__(self) -> "Cluster":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """All at once, in no order: they wait for each other. Raises StartupError when one of them gives up."""
        await asyncio.to_thread(keep_internal_key, self.data_dir / "internal.pem")
        await asyncio.gather(*(self.start_one(place) for place in self.at))

    async def start_one(self, place: Place) -> None:
        """One copy, until it takes calls."""
        child = self.children[place.name] = Child(
            place.name,
            [sys.executable, "-m", f"okr_{place.service}"],
            self._environment_of(place),
            _ROOT,
            self._line,
        )
        await child.start()
        await self._ready(place, child)

    async def stop(self) -> None:
        """Each finishes what it is at; those that a service asks something go on until it has its answer."""
        await asyncio.gather(*(child.stop() for child in self.children.values() if child.runs))

    async def keep(self) -> None:
        """Start again whatever ends by itself, until cancelled. Raises StartupError when it does not come back."""
        async with asyncio.TaskGroup() as group:
            for place in self.at:
                group.create_task(self._keep(place), name=f"keep {place.name}")

    async def _keep(self, place: Place) -> None:
        while True:
            code = await self.children[place.name].ended()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._line(place.name, f"has ended by itself ({how}) and is started again")
            await self.start_one(place)
            self._line(place.name, "takes calls again")

    def _environment_of(self, place: Place) -> dict[str, str]:
        return {
            **self.environment,
            "DATABASE_URL": self._urls[place.service],
            "OKR_INTERNAL_KEY_FILE": str(self.data_dir / "internal.pem"),
            "OKR_KAFKA": self._bootstrap,
            "OKR_GRPC_HOST": HOST,
            "OKR_GRPC_PORT": str(place.port),
            "OKR_METRICS_PORT": str(place.metrics_port),
            "OKR_INSTANCE": place.name,
            "PYTHONUNBUFFERED": "1",
            **self._settings,
        }

    async def _ready(self, place: Place, child: Child) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        async with aio.insecure_channel(place.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
            while True:
                try:
                    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass  # it does not listen yet
                if not child.runs:
                    raise StartupError(f"{place.name} ended: {' '.join(child.lines[-3:])}")
                if asyncio.get_running_loop().time() > deadline:
                    raise StartupError(f"{place.name} is not ready after {READY_SECONDS:.0f} s: {child.lines[-3:]}")
                await asyncio.sleep(_LOOK_SECONDS)


def _others() -> dict[str, str]:
    """Our environment without what belongs to the platform, which would else be meant for every service."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OKR_", "DATABASE_URL"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
