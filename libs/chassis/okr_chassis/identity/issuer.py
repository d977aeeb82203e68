"""Tokens we make ourselves: for people while developing, and between our own services always."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from okr_chassis.identity.auth import OPERATOR_SCOPE, SERVICE_PREFIX, Caller, PublicKey, TrustedIssuer, public_keys
from okr_chassis.settings import Settings
from okr_chassis.startup import UnsafeSettingError
from okr_chassis.storage.data_directory import claim, keep_secret

DEVELOPMENT_ISSUER = "okr-development"
INTERNAL_ISSUER = "okr-internal"
INTERNAL_LIFETIME_SECONDS = 60
_RENEW_AFTER_SECONDS = 20
"""An internal token is used again while it is young: signing costs more than many calls."""
_KEPT_TOKENS = 1024


class DevelopmentIssuer:
    """Lets people in without an identity provider. Its key pair lies in the data directory, made once.

    Refused in production: whoever can read the data directory could be anybody.
    """

    def __init__(self, data_dir: Path, *, audience: str = "okr", env: str | None = None) -> None:
        if "production" in (env, os.environ.get("OKR_ENV")):
            raise UnsafeSettingError(
                "the development issuer does not run in production; set OKR_ISSUER and OKR_ISSUER_KEYS to those of "
                "your identity provider"
            )
        self._audience = audience
        self._key = _private_key(keep_secret(claim(data_dir) / "development-issuer.pem", _new_key), data_dir)

    def issue(
        self,
        organization_id: UUID,
        person_id: UUID,
        operator: bool = False,
        lifetime: timedelta = timedelta(hours=12),
    ) -> str:
        """A token for a person of an organisation, valid from now on."""
        now = int(time.time())
        claims = {
            "iss": DEVELOPMENT_ISSUER,
            "aud": self._audience,
            "sub": str(person_id),
            "org": str(organization_id),
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": str(uuid4()),
        }
        if operator:
            claims["scope"] = OPERATOR_SCOPE
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"typ": "at+jwt"})

    def trusted(self) -> TrustedIssuer:
        return TrustedIssuer(DEVELOPMENT_ISSUER, self._audience, {None: PublicKey("EdDSA", self._key.public_key())})


class InternalIssuer:
    """Names the calling service, and the person it acts for, to our other services; each token lives a minute."""

    def __init__(self, key_file: Path | None = None, *, audience: str = "okr") -> None:
        self._audience = audience
        self._key = _read_key(key_file) if key_file is not None else Ed25519PrivateKey.generate()
        self._kept: dict[tuple[str, Caller], tuple[str, float]] = {}

    def issue(self, service: str, who: Caller) -> str:
        """A token by which `service` calls on behalf of `who`."""
        now = time.time()
        kept = self._kept.get((service, who))
        if kept is not None and now - kept[1] < _RENEW_AFTER_SECONDS:
            return kept[0]
        claims = {
            "iss": INTERNAL_ISSUER,
            "aud": self._audience,
            "sub": str(who.person_id) if who.person_id else who.actor,
            "org": str(who.organization_id),
            "act": {"sub": f"{SERVICE_PREFIX}{service}"},
            "iat": int(now),
            "exp": int(now) + INTERNAL_LIFETIME_SECONDS,
        }
        if who.operator:
            claims["scope"] = OPERATOR_SCOPE
        token = jwt.encode(claims, self._key, algorithm="EdDSA", headers={"typ": "at+jwt"})
        if len(self._kept) >= _KEPT_TOKENS:
            self._kept.clear()
        self._kept[service, who] = token, now
        return token

    def trusted(self) -> TrustedIssuer:
        keys: dict[str | None, PublicKey] = {None: PublicKey("EdDSA", self._key.public_key())}
        return TrustedIssuer(INTERNAL_ISSUER, self._audience, keys, internal=True)


def development_issuer(settings: Settings) -> DevelopmentIssuer | None:
    """Lets people in while developing; None in production."""
    if settings.production:
        return None
    return DevelopmentIssuer(settings.data_dir, audience=settings.audience, env=settings.env)


def people_issuers(settings: Settings, development: DevelopmentIssuer | None) -> Iterator[TrustedIssuer]:
    """Whose tokens people may bring. Raises UnsafeSettingError where nobody's would count."""
    if settings.issuer is not None:
        if settings.issuer_keys is None:
            raise UnsafeSettingError(f"OKR_ISSUER is {settings.issuer}; set OKR_ISSUER_KEYS to its public keys")
        yield TrustedIssuer(settings.issuer, settings.audience, public_keys(settings.issuer_keys))
    elif settings.production:
        raise UnsafeSettingError("OKR_ENV=production needs OKR_ISSUER and OKR_ISSUER_KEYS: whose tokens count?")
    if development is not None:
        yield development.trusted()


def keep_internal_key(path: Path) -> None:
    """Make the key that services in processes of their own share, unless it is there."""
    _private_key(keep_secret(path, _new_key), path)


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private_key(pem: bytes, where: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise UnsafeSettingError(f"the key in {where} cannot be read ({error}); restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UnsafeSettingError(f"the key in {where} is not an Ed25519 private key; make one with openssl genpkey")
    return key


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        return _private_key(path.read_bytes(), path)
    except OSError as error:
        raise UnsafeSettingError(
            f"{path} cannot be read ({error.strerror}); set OKR_INTERNAL_KEY_FILE to an Ed25519 private key"
        ) from error
