"""`database provision`: a role and a schema for every service, where they run apart."""

from pathlib import Path
from typing import Annotated

import typer

from okr_chassis.data_directory import claim
from okr_chassis.roles import keep_passwords, provision_roles, told_by_file, write_passfile
from okr_cli.client import SERVICES
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session


def declare(app: typer.Typer) -> None:
    database = typer.Typer(no_args_is_help=True, help="PostgreSQL, for services in processes of their own.")
    command(database, "provision")(provision)
    app.add_typer(database, name="database")


async def provision(
    session: Session,
    passfile: Annotated[
        Path | None,
        typer.Option(
            "--passfile", metavar="PATH", help="Write the passwords there instead of printing them.", show_default=False
        ),
    ] = None,
) -> None:
    """Give every service a role and a schema of its own, and print the DATABASE_URL of each.

    DATABASE_URL names somebody who may make roles. Passwords are made once and kept in OKR_DATA_DIR/roles. What the
    schemas hold already is handed over to the services; giving the command again changes nothing.
    """
    dsn = session.settings.database_url
    if dsn is None:
        raise SetupError("DATABASE_URL must name a PostgreSQL and somebody in it who may make roles")
    passwords = keep_passwords(claim(session.settings.data_dir) / "roles", SERVICES)
    urls = await provision_roles(dsn, passwords)
    if passfile is not None:
        write_passfile(passfile, passwords)
        urls = {service: told_by_file(url, passfile.resolve()) for service, url in urls.items()}
    if session.output.as_json:
        session.output.document({"services": urls})
        return
    for service, url in urls.items():
        session.output.say(f"{service}: DATABASE_URL={url}")
