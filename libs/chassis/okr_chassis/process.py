"""One service per process: `python -m okr_goals`, configured by its environment alone."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import uvloop

from okr_chassis.memory import settle_memory
from okr_chassis.platform import Platform
from okr_chassis.service import Build
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_chassis.stopping import until_asked
from okr_chassis.telemetry import logs, tracing
from okr_contracts.registry import EVENTS

log = logging.getLogger(__name__)


class _Part(NamedTuple):
    """A service module, given by its parts."""

    NAME: str
    MIGRATIONS: Path | None
    build: Build


def run(name: str, build: Build, migrations: Path | None = None) -> None:
    """Run one service in a process of its own, as `python -m okr_goals` does, until told to stop.

    DATABASE_URL says where PostgreSQL is, OKR_PEERS__NAME where the other services are,
    OKR_INTERNAL_KEY_FILE holds the key they share, OKR_GRPC_PORT is our own port.
    """
    try:
        settings = Settings.load()
        logs.configure(settings.log_level, service=name)
        tracing.configure(name)
        settle_memory()
        uvloop.run(_run(settings, _Part(name, migrations, build)))
    except StartupError as error:
        sys.exit(f"{name}: {error}")
    except asyncio.CancelledError:
        sys.exit(0)  # asked to stop before it was up


async def _run(settings: Settings, part: _Part) -> None:
    dsn = settings.database_url
    if dsn is None:
        raise StartupError("a service in a process of its own needs DATABASE_URL; `okr up` brings a PostgreSQL along")
    if settings.peers and settings.internal_key_file is None:
        raise StartupError("services that call each other share a key; set OKR_INTERNAL_KEY_FILE")

    unknown = sorted(EVENTS.keys() - settings.peers.keys() - {part.NAME}) if settings.kafka else []
    if unknown:
        variables = ", ".join(f"OKR_PEERS__{name.upper()}" for name in unknown)
        raise StartupError(f"where are the other services? Set {variables} to host:port")

    async def serve(asked: asyncio.Event, serves: asyncio.Event) -> None:
        async with Platform(settings, dsn, [part], among_others=True) as platform:
            log.info("%s serves on %s", part.NAME, platform.address)
            serves.set()
            await asked.wait()
            log.info("%s stops", part.NAME)

    await until_asked(serve)
