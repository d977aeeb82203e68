"""`up`: the whole platform in one process."""

import os
from typing import Annotated

import typer

from okr_chassis.settings import Settings
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session


def declare(app: typer.Typer) -> None:
    command(app, "up", serves=True)(up)


async def up(
    session: Session,
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Load three sample organisations into an empty log.")
    ] = True,
    kafka: Annotated[
        str | None,
        typer.Option(
            "--kafka",
            metavar="HOST:PORT",
            help="Services hear of each other over this Kafka. Also OKR_KAFKA; several brokers are parted by commas.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start the platform: PostgreSQL, all services, one gRPC port. Runs until Ctrl-C.

    OKR_DATA_DIR (default ./.data) holds everything; DATABASE_URL names a PostgreSQL of yours instead of the embedded
    one; OKR_GRPC_HOST and OKR_GRPC_PORT (default 127.0.0.1:7400) say where to listen.
    """
    try:
        # Only this command needs the services; the others start faster without them.
        from okr_chassis.telemetry import logs, tracing
        from okr_cli import up as embedded
    except ImportError as error:
        raise SetupError(
            f"the library {error.name or error!r} is missing; install the platform anew: pip install okr-platform",
            reason="LIBRARY_MISSING",
        ) from None
    logs.configure(session.settings.log_level if "OKR_LOG_LEVEL" in os.environ else "warning", service="platform")
    tracing.configure("platform")
    settings = session.settings if kafka is None else Settings.load(kafka=kafka)
    await embedded.run(settings, session.output, samples)
