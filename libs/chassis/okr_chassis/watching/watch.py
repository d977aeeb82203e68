"""What an operator sees of a process: metrics, health, and the side door where both are asked for."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from okr_chassis.service import Running
from okr_chassis.serving.server import RpcServer
from okr_chassis.tasks import Tasks
from okr_chassis.telemetry.calls import Calls
from okr_chassis.telemetry.loop_lag import LoopLag
from okr_chassis.watching.health import Check, Health
from okr_chassis.watching.metrics import CONTENT_TYPE, Metrics
from okr_chassis.watching.probes import Answer, Page, SideDoor

if TYPE_CHECKING:
    from okr_chassis.kafka.relay import Relay


class Watching:
    """Open before anything else, so that a start that takes long is seen to take long; closed after all else."""

    def __init__(self, services: Mapping[str, Running]) -> None:
        self.calls = Calls()
        self.health = Health(services)
        self._loop_lag = LoopLag()
        self.metrics = Metrics(services, self.calls, self._loop_lag)
        self.pages: dict[str, Page] = {
            "/metrics": self._metrics_page,
            "/livez": self.health.live_page,
            "/readyz": self.health.ready_page,
            "/health/live": self.health.live_page,
            "/health/ready": self.health.ready_page,
        }
        self._door = SideDoor(self.pages)
        self.address: str | None = None
        """Where the side door is: host:port; None where nobody asked for one."""

    async def open(self, host: str, port: int | None) -> None:
        """Raises StartupError when the port cannot be had. Without a port there is health over gRPC alone."""
        if port is not None:
            taken = await self._door.open(host, port)
            self.address = f"[{host}]:{taken}" if ":" in host else f"{host}:{taken}"

    def carried_by(self, relays: Mapping[str, "Relay"]) -> None:
        """The relays of this process, which may still come and go."""
        self.metrics.relays = relays

        def checks() -> Iterable[Check]:
            for name, relay in relays.items():
                why = relay.reason.code if relay.reason is not None else ""
                told = f"waits: {why}; `okr status` tells more" if why else "carries events to Kafka"
                yield Check(f"relay {name}", not why, told, counts=False)

        self.health.extra.append(checks)

    def started(self, server: RpcServer, tasks: Tasks) -> None:
        """Everything is up."""
        self.health.started()
        tasks.keep(self._loop_lag.watch(), "event loop lag")
        tasks.keep(self.health.watch(server.tell_ready), "health")

    async def close(self) -> None:
        await self._door.close()

    async def _metrics_page(self) -> Answer:
        verdict = await self.health.ready()
        return Answer(200, CONTENT_TYPE, await self.metrics.page(ready=verdict.good))
