"""A platform of one's own, for histories that are recorded at their own moments."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from okr_chassis.clock import ManualClock
from okr_chassis.platform import Platform
from okr_chassis.settings import Settings
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_cli.output import Output
from okr_cli.up import SERVICES


@asynccontextmanager
async def privately(settings: Settings, output: Output) -> AsyncIterator[tuple[Platform, ManualClock]]:
    """All services on the data of these settings, at an address nobody knows, by a clock that stands until it is set.

    A data directory that a running platform holds is refused by its PostgreSQL's lock.
    """

    def say(step: str) -> None:
        output.note(f"· {step}")

    clock = ManualClock(datetime.now(UTC))
    async with AsyncExitStack() as stack:
        if settings.database_url is None:
            postgres = await stack.enter_async_context(EmbeddedPostgres(settings.data_dir, starting=say))
            dsn = postgres.dsn
        else:
            dsn = settings.database_url
        private = settings.model_copy(update={"grpc_host": "127.0.0.1", "peers": {}, "kafka": (), "metrics_port": None})
        yield await stack.enter_async_context(Platform(private, dsn, SERVICES, clock=clock, port=0)), clock
