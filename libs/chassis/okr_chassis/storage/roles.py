"""A role and a schema for every service in one PostgreSQL, so that none can reach another's tables."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from okr_chassis.startup import StartupError
from okr_chassis.storage.data_directory import keep_secret, write_secret
from okr_eventstore.database import Connection, is_lost

PASSWORD_BYTES = 24
_LOCK = 0x6F6B7273  # "okrs": one at a time, since roles belong to the whole server

_OWNED = """
    SELECT CASE c.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, format('%I.%I', n.nspname, c.relname)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'S', 'c') AND pg_get_userbyid(c.relowner) <> $2
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                          AND d.deptype IN ('a', 'i'))
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = $1 AND pg_get_userbyid(p.proowner) <> $2
"""


def role_of(service: str) -> str:
    return f"okr_{service}"


async def provision_roles(dsn: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Give each service its role, with this password, and its schema; answers their DATABASE_URLs.

    Any number of times, by somebody who may make roles. What a schema holds already, because all services shared one
    role until now, is handed over to the service; nothing else is changed. Raises StartupError.
    """
    try:
        connection = await asyncpg.connect(dsn)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                for service, password in passwords.items():
                    await _provision(connection, service, password)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, OSError) as error:
        hint = "see DATABASE_URL" if is_lost(error) else "DATABASE_URL must name somebody who may make roles"
        raise StartupError(f"the roles of the services cannot be made: {error}; {hint}") from error
    return {service: _as(dsn, role_of(service), password) for service, password in passwords.items()}


def keep_passwords(directory: Path, services: Sequence[str]) -> dict[str, str]:
    """A password for each service's role, made on first use and kept in a file that only its owner reads."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return {
        service: keep_secret(
            directory / f"{role_of(service)}.password", lambda: secrets.token_urlsafe(PASSWORD_BYTES).encode()
        ).decode()
        for service in services
    }


def write_passfile(path: Path, passwords: Mapping[str, str]) -> None:
    """The passwords in PostgreSQL's own form, for DATABASE_URLs that end in `?passfile=PATH` and tell no secret."""
    for service, password in passwords.items():
        # They can be escaped, but not every client reads that right; ours does not.
        if any(mark in password for mark in ":\\\n"):
            raise StartupError(
                f"the password of {role_of(service)} cannot stand in a file: it has a colon or a backslash"
            )
    lines = [f"*:*:*:{role_of(service)}:{password}\n" for service, password in passwords.items()]
    write_secret(path, "".join(lines).encode())


def told_by_file(url: str, passfile: Path) -> str:
    """A DATABASE_URL whose password lies in a file."""
    parts = urlsplit(url)
    query = f"{parts.query}&" if parts.query else ""
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        parts._replace(netloc=f"{parts.username}@{where}", query=f"{query}passfile={quote(str(passfile))}")
    )


async def _provision(connection: Connection, service: str, password: str) -> None:
    role = role_of(service)
    # Names and a password cannot be parameters of such statements, so PostgreSQL itself quotes them.
    quoted = await connection.fetchrow(
        "SELECT quote_ident($1), quote_ident($2), quote_ident(current_database()), quote_literal($3)",
        *(role, service, password),
    )
    assert quoted is not None, "a SELECT without FROM has one row"
    name, schema, database, secret = quoted
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
        await connection.execute(f"CREATE ROLE {name} LOGIN")
    await connection.execute(f"ALTER ROLE {name} PASSWORD {secret}")
    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {name}")
    await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for kind, what in await connection.fetch(_OWNED, service, role):
        await connection.execute(f"ALTER {kind} {what} OWNER TO {name}")
    await connection.execute(f"ALTER SCHEMA {schema} OWNER TO {name}")


def _as(dsn: str, role: str, password: str) -> str:
    parts = urlsplit(dsn)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{where}"))
