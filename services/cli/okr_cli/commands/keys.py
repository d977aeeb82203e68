"""`keys`: what services in processes of their own must share before the first of them starts."""

import os
from pathlib import Path
from typing import NamedTuple

import typer

from okr_chassis.identity.issuer import keep_internal_key
from okr_chassis.sealing import KEY_BYTES
from okr_chassis.storage.data_directory import claim, keep_secret
from okr_cli.command import command
from okr_cli.session import Session


class Key(NamedTuple):
    path: Path
    purpose: str
    made: bool


def declare(app: typer.Typer) -> None:
    command(app, "keys")(keys)


async def keys(session: Session) -> None:
    """Make the keys that services in processes of their own share, where they are missing.

    OKR_INTERNAL_KEY_FILE (internal.pem in OKR_DATA_DIR) is the key by which services know each other, and every service
    needs it. OKR_VAULT_KEY_FILE (vault.key in OKR_DATA_DIR) is the key to what people wrote; only directory needs it.
    """
    settings = session.settings
    home = claim(settings.data_dir)
    internal = settings.internal_key_file or home / "internal.pem"
    vault = settings.vault_key_file or home / "vault.key"
    found = [
        Key(internal, "by which services know each other", not internal.exists()),
        Key(vault, "to what people wrote; keep a copy apart from the database", not vault.exists()),
    ]
    keep_internal_key(internal)
    keep_secret(vault, lambda: os.urandom(KEY_BYTES))
    if session.output.as_json:
        session.output.document(
            {"keys": [{"path": str(each.path), "purpose": each.purpose, "made": each.made} for each in found]}
        )
        return
    for each in found:
        session.output.say(f"{each.path} {'made now' if each.made else 'was there'}: the key {each.purpose}")
