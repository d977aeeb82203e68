"""The keys to what people wrote: one for each author, kept wrapped, destroyed when the author is erased.

Master key (a file, outside the database) → organisation's key → author's key, each wrapped with AES-256-GCM
by the one before and bound to whose it is. Whoever has the database alone can read nothing, and what was
destroyed here is lost to whoever has everything.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from okr_chassis.sealing import KEY_BYTES, NONCE_BYTES
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_chassis.storage.data_directory import claim, keep_secret
from okr_eventstore.database import Connection, Database

FIRST_VERSION = 1
_PROOF = b"okr vault proof"


class VaultKeyError(StartupError):
    """The master key is missing, is none, or belongs to another database."""


class AuthorSecret(NamedTuple):
    """What is known of somebody's key. `secret` is None once it was destroyed."""

    version: int
    secret: bytes | None

    def __repr__(self) -> str:
        return f"AuthorSecret(version={self.version})"


def master_key(settings: Settings) -> bytes:
    """From the file that is named, else the data directory's own, made on first use. Raises VaultKeyError."""
    path = settings.vault_key_file
    if path is None:
        path = claim(settings.data_dir) / "vault.key"
        secret = keep_secret(path, lambda: os.urandom(KEY_BYTES))
    else:
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise VaultKeyError(
                f"{path} cannot be read ({error.strerror}); set OKR_VAULT_KEY_FILE to the file with the vault's key"
            ) from error
    if len(secret) != KEY_BYTES:
        raise VaultKeyError(
            f"{path} holds {len(secret)} bytes, a vault's key has {KEY_BYTES}; restore it, or make one for a new "
            f"database: head -c {KEY_BYTES} /dev/urandom > FILE"
        )
    return secret


class KeyStore:
    """The tables `organization_key` and `author_key`."""

    def __init__(self, database: Database, master: bytes) -> None:
        self._database = database
        self._master = AESGCM(master)

    async def prove(self) -> None:
        """See that the master key is the one that wrapped what lies here. Raises VaultKeyError."""
        fresh = _wrap(self._master, _PROOF, _PROOF)
        await self._database.execute("INSERT INTO vault_proof (wrapped) VALUES ($1) ON CONFLICT DO NOTHING", fresh)
        self._unwrap_by_master(await self._database.fetchval("SELECT wrapped FROM vault_proof"), _PROOF)

    async def keys(
        self, organization_id: UUID, person_ids: Sequence[UUID], make_for: UUID | None = None
    ) -> dict[UUID, AuthorSecret]:
        """The keys of these people; who has none is left out, unless it is `make_for`, who then gets one."""
        wanted = list({*person_ids, *([make_for] if make_for else [])})
        found = await self._read(organization_id, wanted)
        if make_for is not None and make_for not in found:
            await self._make(organization_id, make_for)
            found = await self._read(organization_id, wanted)
        return found

    async def holds(self, organization_id: UUID, person_id: UUID) -> bool:
        """Whether somebody has, or had, a key here."""
        found = await self._database.fetchval(
            "SELECT true FROM author_key WHERE organization_id = $1 AND person_id = $2", organization_id, person_id
        )
        return found is not None

    async def destroy(self, connection: Connection, organization_id: UUID, person_id: UUID) -> None:
        """Destroy a key for ever, so that none can be made again. Part of the caller's transaction."""
        await connection.execute(
            """INSERT INTO author_key AS k (organization_id, person_id, version, destroyed_at)
               VALUES ($1, $2, $3, now())
               ON CONFLICT (organization_id, person_id) DO UPDATE SET wrapped = NULL, destroyed_at = now()
                   WHERE k.wrapped IS NOT NULL""",
            organization_id,
            person_id,
            FIRST_VERSION,
        )

    async def _read(self, organization_id: UUID, person_ids: Sequence[UUID]) -> dict[UUID, AuthorSecret]:
        rows = await self._database.fetch(
            """SELECT k.person_id, k.version, k.wrapped, o.wrapped AS of_organization
                 FROM author_key k LEFT JOIN organization_key o USING (organization_id)
                WHERE k.organization_id = $1 AND k.person_id = ANY ($2::uuid[])""",
            organization_id,
            person_ids,
        )
        living = next((row["of_organization"] for row in rows if row["wrapped"] is not None), None)
        wrapper = None if living is None else AESGCM(self._unwrap_by_master(living, organization_id.bytes))
        found = {}
        for row in rows:
            person_id, version, wrapped = row["person_id"], row["version"], row["wrapped"]
            if wrapped is None:
                found[person_id] = AuthorSecret(version, None)
            elif wrapper is not None:
                secret = _unwrap(wrapper, wrapped, _owner(organization_id, person_id, version))
                found[person_id] = AuthorSecret(version, secret)
        return found

    async def _make(self, organization_id: UUID, person_id: UUID) -> None:
        """Whoever comes first makes the key; a row that is there already, living or destroyed, stays."""
        wrapper = AESGCM(await self._organization_key(organization_id))
        owner = _owner(organization_id, person_id, FIRST_VERSION)
        await self._database.execute(
            """INSERT INTO author_key (organization_id, person_id, version, wrapped) VALUES ($1, $2, $3, $4)
               ON CONFLICT DO NOTHING""",
            organization_id,
            person_id,
            FIRST_VERSION,
            _wrap(wrapper, os.urandom(KEY_BYTES), owner),
        )

    async def _organization_key(self, organization_id: UUID) -> bytes:
        question = "SELECT wrapped FROM organization_key WHERE organization_id = $1"
        wrapped = await self._database.fetchval(question, organization_id)
        if wrapped is None:
            await self._database.execute(
                "INSERT INTO organization_key (organization_id, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                organization_id,
                _wrap(self._master, os.urandom(KEY_BYTES), organization_id.bytes),
            )
            wrapped = await self._database.fetchval(question, organization_id)
        return self._unwrap_by_master(wrapped, organization_id.bytes)

    def _unwrap_by_master(self, wrapped: bytes, owner: bytes) -> bytes:
        return _unwrap(self._master, wrapped, owner)


def _owner(organization_id: UUID, person_id: UUID, version: int) -> bytes:
    return organization_id.bytes + person_id.bytes + version.to_bytes(4, "big")


def _wrap(wrapper: AESGCM, secret: bytes, owner: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + wrapper.encrypt(nonce, secret, owner)


def _unwrap(wrapper: AESGCM, wrapped: bytes, owner: bytes) -> bytes:
    try:
        return wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], owner)
    except InvalidTag:
        raise VaultKeyError(
            "the vault's key does not open the keys in this database: it is the key of another one. "
            "Restore vault.key in the data directory, or set OKR_VAULT_KEY_FILE to the right file"
        ) from None
