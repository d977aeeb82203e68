"""Who calls: read from a signed token, and from nowhere else.

AuthError
├── AuthenticationError    no token, or none we believe    → UNAUTHENTICATED
└── PermissionDeniedError  known, but not allowed to       → PERMISSION_DENIED
"""

import json
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from okr_chassis.startup import UnsafeSettingError

ALGORITHMS = ("EdDSA", "ES256", "RS256")
TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})
"""PyJWT does not look at `typ`: an id token would pass for an access token."""
LEEWAY_SECONDS = 60
LIFETIME_SECONDS = 24 * 60 * 60
TOKEN_BYTES = 8 * 1024
CACHED_TOKENS = 4096
SMALLEST_RSA_BITS = 2048
OPERATOR_SCOPE = "operator"
SERVICE_PREFIX = "service:"
PERSON_PREFIX = "person:"


class AuthError(Exception):
    """Root of what a caller is refused for before the request is looked at."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class AuthenticationError(AuthError):
    """We do not know who calls."""


class PermissionDeniedError(AuthError):
    """We know who calls, and the answer is no."""


@dataclass(frozen=True)
class Caller:
    """On whose behalf the running call acts. `person_id` is None while a service acts on its own.

    `service` is which of our services brings the call, None when it comes from outside: the call acts for
    the same person either way.
    """

    organization_id: UUID
    person_id: UUID | None
    actor: str
    operator: bool = False
    service: str | None = field(default=None, compare=False)


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def caller() -> Caller:
    """Who calls. Only for code that runs inside a call, or inside `acting_for`."""
    found = _caller.get()
    if found is None:
        raise RuntimeError("nobody is calling: use acting_for(...) where a service acts on its own")
    return found


def require_operator() -> Caller:
    """The caller, who may do what only those may who run the platform. Raises PermissionDeniedError."""
    who = caller()
    if not who.operator:
        raise PermissionDeniedError("OPERATOR_SCOPE_REQUIRED", "only operators may call this: the token lacks scope")
    return who


def require_service() -> Caller:
    """The caller, which is one of our own services. Raises PermissionDeniedError."""
    who = caller()
    if who.service is None:
        raise PermissionDeniedError("SERVICES_ONLY", "only the platform's own services may call this")
    return who


@contextmanager
def calling(who: Caller) -> Iterator[Caller]:
    """Everything inside acts on behalf of `who`."""
    token = _caller.set(who)
    try:
        yield who
    finally:
        _caller.reset(token)


def acting_for(organization_id: UUID, actor: str) -> AbstractContextManager[Caller]:
    """A service acts on its own in an organisation, as reactions to events do: `actor` is `service:NAME`."""
    return calling(Caller(organization_id, None, actor))


class PublicKey(NamedTuple):
    """A key that checks signatures, and the one algorithm it is for."""

    algorithm: str
    key: Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


@dataclass(frozen=True)
class TrustedIssuer:
    """One party whose tokens are believed: who it says it is, whom it speaks to, with which keys.

    `keys` is key id → public key; None as id serves tokens that name no key. Only an internal
    issuer may speak for services, because any other would let its users call themselves one.
    """

    issuer: str
    audience: str
    keys: Mapping[str | None, PublicKey]
    internal: bool = False


class TokenVerifier:
    """Believes a token or says why not. Always on the system's clock, whatever clock the business runs on."""

    def __init__(self, trusted: Sequence[TrustedIssuer]) -> None:
        self._trusted = {each.issuer: each for each in trusted}
        self._believed: OrderedDict[str, tuple[Caller, float]] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """Who the token names. Raises AuthenticationError; verified tokens are remembered until they expire."""
        known = self._believed.get(token)
        if known is not None:
            who, expires_at = known
            if time.time() < expires_at + LEEWAY_SECONDS:
                return who
            del self._believed[token]
        who, expires_at = self._verified(token)
        self._believed[token] = who, expires_at
        if len(self._believed) > CACHED_TOKENS:
            self._believed.popitem(last=False)
        return who

    def _verified(self, token: str) -> tuple[Caller, float]:
        if len(token) > TOKEN_BYTES:
            raise AuthenticationError("TOKEN_TOO_LARGE", f"the token is larger than {TOKEN_BYTES} bytes")
        try:
            header, trusted = self._origin(token)
            key = self._key(trusted, header)
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[key.algorithm],
                audience=trusted.audience,
                issuer=trusted.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub", "iss", "aud"]},
            )
            return _who(claims, trusted), _expiry(claims)
        except AuthenticationError:
            raise
        except jwt.ExpiredSignatureError:
            raise AuthenticationError("TOKEN_EXPIRED", "the token has expired; sign in again") from None
        except jwt.InvalidAudienceError:
            raise AuthenticationError("TOKEN_AUDIENCE_WRONG", "the token is meant for somebody else") from None
        except jwt.ImmatureSignatureError:
            raise AuthenticationError("TOKEN_NOT_YET_VALID", "the token is dated after now") from None
        except jwt.MissingRequiredClaimError as error:
            raise AuthenticationError("TOKEN_CLAIM_MISSING", f"the token lacks the claim {error.claim!r}") from None
        except jwt.InvalidSignatureError:
            raise AuthenticationError("TOKEN_SIGNATURE_WRONG", "the token was not signed by its issuer") from None
        except Exception as error:
            # Whatever a hostile token makes the parsers raise (RecursionError on deep JSON, OverflowError on
            # huge numbers …), the answer is the same: it is no token we believe.
            raise AuthenticationError("TOKEN_MALFORMED", "this is not a token we can read") from error

    def _origin(self, token: str) -> tuple[dict[str, Any], TrustedIssuer]:
        """Which issuer the token claims to come from. Nothing of it is believed before the signature is checked."""
        header = jwt.get_unverified_header(token)
        kind = header.get("typ", "")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise AuthenticationError("TOKEN_TYPE_WRONG", "the token is no access token; expected typ at+jwt or JWT")
        claims = jwt.decode(token, options={"verify_signature": False})
        issuer = claims.get("iss")
        trusted = self._trusted.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise AuthenticationError("TOKEN_ISSUER_UNKNOWN", "the token comes from an issuer we do not trust")
        return header, trusted

    def _key(self, trusted: TrustedIssuer, header: Mapping[str, Any]) -> PublicKey:
        """The issuer's own key. Keys a token brings along (jku, x5u, jwk) are never looked at."""
        kid = header.get("kid")
        key = trusted.keys.get(kid) if kid is None or isinstance(kid, str) else None
        if key is None and kid is None and len(trusted.keys) == 1:
            key = next(iter(trusted.keys.values()))
        if key is None:
            raise AuthenticationError("TOKEN_KEY_UNKNOWN", "the token names a key its issuer does not have")
        if header.get("alg") != key.algorithm:
            raise AuthenticationError("TOKEN_ALGORITHM_WRONG", f"the token is not signed by {key.algorithm}")
        return key


def _expiry(claims: Mapping[str, Any]) -> float:
    """When it ends. PyJWT takes any number: one far in the future would never end."""
    exp, iat = claims["exp"], claims["iat"]
    for moment in (exp, iat):
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not math.isfinite(moment):
            raise AuthenticationError("TOKEN_MALFORMED", "exp and iat must be numbers of seconds")
    if exp - iat > LIFETIME_SECONDS:
        raise AuthenticationError("TOKEN_LIFETIME_TOO_LONG", "the token is valid for more than 24 hours")
    return float(exp)


def _who(claims: Mapping[str, Any], trusted: TrustedIssuer) -> Caller:
    organization_id = _uuid(claims.get("org"))
    if organization_id is None:
        raise AuthenticationError("TOKEN_ORGANIZATION_MISSING", "the token names no organisation (claim org, a UUID)")
    scope = claims.get("scope", "")
    operator = isinstance(scope, str) and OPERATOR_SCOPE in scope.split(" ")
    subject = claims.get("sub")
    service = _service(claims) if trusted.internal else None
    if isinstance(subject, str) and subject.startswith(SERVICE_PREFIX) and trusted.internal:
        return Caller(organization_id, None, subject, operator, service)
    person_id = _uuid(subject)
    if person_id is None:
        raise AuthenticationError("TOKEN_SUBJECT_WRONG", "the token names no person (claim sub, a UUID)")
    return Caller(organization_id, person_id, f"{PERSON_PREFIX}{person_id}", operator, service)


def _service(claims: Mapping[str, Any]) -> str | None:
    """Which service brings a token of the internal issuer (RFC 8693: the acting party)."""
    acting = claims.get("act")
    name = acting.get("sub") if isinstance(acting, dict) else None
    return name.removeprefix(SERVICE_PREFIX) if isinstance(name, str) and name.startswith(SERVICE_PREFIX) else None


def _uuid(value: object) -> UUID | None:
    """A UUID in its usual text form; the other spellings Python knows would let one id have several texts."""
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        found = UUID(value)
    except ValueError:
        return None
    return found if str(found) == value.lower() else None


def bearer(values: Sequence[str | bytes]) -> str:
    """The token in a call's `authorization` metadata. Raises AuthenticationError."""
    if not values:
        raise AuthenticationError("TOKEN_MISSING", "the call carries no token; send metadata authorization: Bearer …")
    if len(values) > 1:
        raise AuthenticationError("TOKEN_AMBIGUOUS", "the call carries more than one token")
    text = values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else values[0]
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError("TOKEN_MISSING", "the authorization metadata is not of the form: Bearer TOKEN")
    return token.strip()


def public_keys(path: Path) -> dict[str | None, PublicKey]:
    """The keys in a PEM or JWKS file. Raises UnsafeSettingError when there is none we could use."""
    try:
        document = path.read_text()
        if document.lstrip().startswith("{"):
            entries = [jwt.PyJWK.from_dict(entry) for entry in json.loads(document)["keys"] if _signs(entry)]
            found = {entry.key_id: _public_key(entry.key) for entry in entries}
        else:
            found = {None: _public_key(load_pem_public_key(document.encode()))}
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
        raise UnsafeSettingError(f"{path} holds no public key we can use ({error}); set OKR_ISSUER_KEYS") from error
    if not found:
        raise UnsafeSettingError(f"{path} holds no key for signatures; set OKR_ISSUER_KEYS to one that does")
    return found


def _signs(entry: Mapping[str, Any]) -> bool:
    return entry.get("use", "sig") == "sig" and entry.get("alg", "EdDSA") in ALGORITHMS


def _public_key(key: object) -> PublicKey:
    match key:
        case Ed25519PublicKey():
            return PublicKey("EdDSA", key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return PublicKey("ES256", key)
        case RSAPublicKey() if key.key_size >= SMALLEST_RSA_BITS:
            return PublicKey("RS256", key)
        case _:
            raise ValueError("expected Ed25519, P-256, or RSA of at least 2048 bits")
