"""The other side of the gRPC figures, in a process of its own: a bare echo, and checkins behind the platform's gate.

Started by rpc.py; tells its two addresses on stdout and serves until stdin ends.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio

import okr_checkins.__main__ as checkins
from okr_chassis.memory import settle_memory
from okr_chassis.platform import Platform
from okr_chassis.service import Host, Service
from okr_chassis.settings import Settings

ECHO = "/bench.Echo/Echo"


class Commands:
    """The checkins service without its consumers, which would run beside the calls in the same process."""

    NAME = checkins.NAME
    MIGRATIONS: Path | None = checkins.MIGRATIONS

    @staticmethod
    def build(host: Host) -> Service:
        service = checkins.build(host)
        service.subscriptions = []
        return service


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method != ECHO:
            return None

        async def echo(request: bytes, _: Any) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(echo)


async def serve(data_dir: Path) -> None:
    settings = Settings.load(data_dir=data_dir, grpc_port=0)
    assert settings.database_url is not None, "rpc.py says where PostgreSQL is"
    echo = aio.server()
    echo.add_generic_rpc_handlers((_Echo(),))
    port = echo.add_insecure_port("127.0.0.1:0")
    await echo.start()
    async with Platform(settings, settings.database_url, [Commands()]) as platform:
        print(json.dumps({"echo": f"127.0.0.1:{port}", "platform": platform.address}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await echo.stop(1)


if __name__ == "__main__":
    settle_memory()
    uvloop.run(serve(Path(sys.argv[1])))
