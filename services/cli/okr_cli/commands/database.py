"""`database`: a role and a schema for every service, where they run apart; and what follows a restore."""

from pathlib import Path
from typing import Annotated

import typer

from okr_chassis.storage.data_directory import claim
from okr_cli import words
from okr_cli.client import SERVICES
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session


def declare(app: typer.Typer) -> None:
    database = typer.Typer(no_args_is_help=True, help="PostgreSQL, for services in processes of their own.")
    command(database, "provision")(provision)
    command(database, "restored")(restored)
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
    # PostgreSQL's driver is imported here alone; the other commands start faster without it.
    from okr_chassis.storage.roles import keep_passwords, provision_roles, told_by_file, write_passfile

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


async def restored(
    session: Session,
    yes: Annotated[
        bool, typer.Option("--yes", help="It was restored from a backup, and nothing runs on it.", show_default=False)
    ] = False,
) -> None:
    """Begin a new epoch in a database that was restored from a backup, before any service starts on it.

    Positions given out by the database that was lost are refused from then on, and each service builds its read models
    anew when it starts. DATABASE_URL names the owner of the schemas.
    """
    from okr_chassis.storage.restored import begin_new_epoch

    dsn = session.settings.database_url
    if dsn is None:
        raise SetupError("DATABASE_URL must name the PostgreSQL that was restored")
    if not yes:
        raise SetupError("this is for a database that was just restored from a backup; say so with --yes")
    services = await begin_new_epoch(dsn, SERVICES)
    if session.output.as_json:
        session.output.document({"services": [each._asdict() for each in services]})
        return
    for each in services:
        events = words.plural(each.events, "event")
        session.output.say(f"{each.service}: {events}, epoch {each.epoch}; its read models are built anew at its start")
