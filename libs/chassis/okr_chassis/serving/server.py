"""The gRPC server: our services behind the gate, health and reflection in front of it."""

import errno
import socket
from collections.abc import Sequence
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as aio_health
from grpc_reflection.v1alpha import reflection

from okr_chassis.identity.auth import TokenVerifier
from okr_chassis.rpc.gate import LARGE_REQUEST_BYTES, Gate
from okr_chassis.service import AddToServer
from okr_chassis.startup import PortInUseError, StartupError
from okr_chassis.telemetry.calls import Calls

GRACE_SECONDS = 10.0
"""How long running calls may take to finish once the server stops."""

METADATA_BYTES = 64 * 1024
"""A token that is too large should be refused as one, not as headers that are."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.so_reuseport", 0),  # else a second server would quietly share our port
    ("grpc.max_receive_message_length", LARGE_REQUEST_BYTES + 64 * 1024),  # the gate refuses with a reason first
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.max_connection_age_ms", 30 * 60 * 1000),  # gRPC adds jitter; load spreads over replicas
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients ask every ten seconds, see channels.py
)


class RpcServer:
    """One server for all services of a process. It takes its port when it starts, since it could not give it
    back otherwise."""

    def __init__(self, verifier: TokenVerifier, *, reflects: bool, calls: Calls | None = None) -> None:
        self._gate = Gate(verifier, calls or Calls())
        self._server = aio.server(interceptors=[self._gate], options=_OPTIONS)
        self._health = aio_health.HealthServicer()
        self._reflects = reflects
        self._names: list[str] = []

    def add(self, servicers: Sequence[tuple[AddToServer, Any]]) -> None:
        for add, servicer in servicers:
            add(servicer, _Recorder(self._server, self._names))

    async def start(self, host: str, port: int) -> int:
        """Answer, on a free port for 0; says on which. Health, and what other services need to start, from here on;
        everything else once it is opened."""
        check_free(host, port)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._reflects:
            reflection.enable_server_reflection([*self._names, HEALTH, reflection.SERVICE_NAME], self._server)
        await self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            taken = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:
            raise PortInUseError(f"{host}:{port}") from None
        await self._server.start()
        return taken

    async def open(self) -> None:
        """Take calls. From here on health says so, for "" and each service."""
        self._gate.is_open = True
        await self._tell(health_pb2.HealthCheckResponse.SERVING)

    async def tell_ready(self, ready: bool) -> None:
        """What health answers from now on."""
        await self._tell(
            health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        )

    async def leave(self) -> None:
        """Say that calls should go elsewhere; those that come all the same are answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no new calls, let the running ones finish."""
        await self._server.stop(grace_seconds)

    async def _tell(self, status: int) -> None:
        for name in ("", *self._names):
            await self._health.set(name, status)


class _Recorder:
    """Hands handlers on to the server and remembers the services' full names, for health and reflection."""

    def __init__(self, server: aio.Server, names: list[str]) -> None:
        self._server = server
        self._names = names

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._names.extend(handler.service_name() for handler in handlers)
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same handlers once more, for a shortcut that only the synchronous server has."""


def check_free(host: str, port: int) -> None:
    """Raise StartupError when we cannot listen there. gRPC would only print to stderr why."""
    if port == 0:
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(f"{host}:{port}") from None
        raise StartupError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; set OKR_GRPC_HOST and OKR_GRPC_PORT"
        ) from error
