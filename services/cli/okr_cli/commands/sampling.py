"""`samples`: organisations to look at, for a platform whose services run apart."""

import os

import typer

from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session
from okr_cli.story import stories


def declare(app: typer.Typer) -> None:
    command(app, "samples", serves=True)(samples)


async def samples(session: Session) -> None:
    """Load three sample organisations with eight weeks of history into an empty log, before any service runs.

    `okr up` does the same by itself. DATABASE_URL names the PostgreSQL and somebody who may make schemas in it; give
    `okr database provision` afterwards. A log that holds anything stays as it is.
    """
    # The services are imported here alone; the other commands start faster without them.
    from okr_chassis.telemetry import logs
    from okr_cli import up

    settings = session.settings
    if settings.database_url is None:
        raise SetupError("DATABASE_URL is not set; name the PostgreSQL whose log is to be filled")
    if settings.production:
        raise SetupError("OKR_ENV=production takes no sample organisations")
    logs.configure(settings.log_level if "OKR_LOG_LEVEL" in os.environ else "warning")
    await up.tell(settings, settings.database_url, stories(), session.output)
    if session.output.as_json:
        session.output.document({"done": True})
