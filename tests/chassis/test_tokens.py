"""Tokens: the good are believed, everything else is nobody's, and no token breaks anything."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.identity.auth import (
    AuthenticationError,
    Caller,
    PublicKey,
    TokenVerifier,
    TrustedIssuer,
    acting_for,
    bearer,
    caller,
    public_keys,
)
from okr_chassis.identity.issuer import DevelopmentIssuer, InternalIssuer
from okr_chassis.startup import UnsafeSettingError
from tests.chassis.conftest import Site, refused

ORGANIZATION, PERSON = uuid4(), uuid4()
KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ISSUER = TrustedIssuer("https://id.example", "okr", {None: PublicKey("EdDSA", KEY.public_key())})


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    fine = {"iss": ISSUER.issuer, "aud": "okr", "sub": str(PERSON), "org": str(ORGANIZATION), "iat": now}
    found = {**fine, "exp": now + 600, **changes}
    return {name: value for name, value in found.items() if value is not ...}


def sign(body: dict[str, Any], key: Any = KEY, algorithm: str = "EdDSA", **header: Any) -> str:
    return jwt.encode(body, key, algorithm=algorithm, headers={"typ": "at+jwt", **header})


def raw(header: Any, body: Any, signature: bytes = b"x" * 64) -> str:
    """A token put together by hand, so that it may say what no library would write."""

    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(body)}.{part(signature)}"


def signed_raw(body: bytes) -> str:
    """Bytes of our own as the payload, rightly signed."""
    header = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"at+jwt"}').rstrip(b"=")
    message = header + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
    return (message + b"." + base64.urlsafe_b64encode(KEY.sign(message)).rstrip(b"=")).decode()


HEADER = {"alg": "EdDSA", "typ": "at+jwt"}
NOW = int(time.time())

FORGED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token at all": lambda: "hello",
    "two dots": lambda: "..",
    "four parts": lambda: sign(claims()) + ".x",
    "not base64": lambda: "%%%.%%%.%%%",
    "header is no JSON": lambda: raw(b"{", claims()),
    "header is a list": lambda: raw([1], claims()),
    "header is deep": lambda: raw(b"[" * 2000, claims()),
    "body is no JSON": lambda: signed_raw(b"{"),
    "body is a list": lambda: signed_raw(b"[1]"),
    "body is deep": lambda: signed_raw(b'{"a":' * 800),
    "body is not UTF-8": lambda: signed_raw(b"\xff\xfe"),
    "unsigned": lambda: jwt.encode(claims(), "", algorithm="none", headers={"typ": "at+jwt"}),
    "alg none by hand": lambda: raw({**HEADER, "alg": "none"}, claims(), b""),
    "alg NoNe": lambda: raw({**HEADER, "alg": "NoNe"}, claims(), b""),
    "alg is a number": lambda: raw({**HEADER, "alg": 7}, claims()),
    "alg missing": lambda: raw({"typ": "at+jwt"}, claims()),
    "HS256 with the public key as the secret": lambda: raw({**HEADER, "alg": "HS256"}, claims(), PEM),
    "signed by a stranger": lambda: sign(claims(), STRANGER),
    "signature cut off": lambda: sign(claims())[:-20],
    "signature of another token": lambda: (
        sign(claims()).rsplit(".", 1)[0] + "." + sign(claims(sub=str(uuid4()))).rsplit(".", 1)[1]
    ),
    "key brought along": lambda: sign(
        claims(), STRANGER, jwk=json.loads(OKPAlgorithm.to_jwk(STRANGER.public_key())), jku="https://evil.example"
    ),
    "unknown key id": lambda: sign(claims(), kid="other"),
    "key id is a number": lambda: raw({**HEADER, "kid": 7}, claims()),
    "critical header": lambda: sign(claims(), crit=["x"], x=1),
    "id token": lambda: sign(claims(), typ="id+jwt"),
    "no type": lambda: raw({"alg": "EdDSA"}, claims()),
    "type is a list": lambda: raw({**HEADER, "typ": ["at+jwt"]}, claims()),
    "expired": lambda: sign(claims(iat=NOW - 7200, exp=NOW - 3600)),
    "not yet": lambda: sign(claims(nbf=NOW + 3600)),
    "issued in the future": lambda: sign(claims(iat=NOW + 3600, exp=NOW + 7200)),
    "valid for two days": lambda: sign(claims(exp=NOW + 2 * 86400)),
    "valid for ever": lambda: sign(claims(exp=10**400)),
    "exp is infinite": lambda: signed_raw(json.dumps(claims(exp=float("inf"))).encode()),
    "exp is not a number": lambda: signed_raw(json.dumps(claims(exp=float("nan"))).encode()),
    "exp is text": lambda: signed_raw(json.dumps(claims(exp="soon")).encode()),
    "exp is true": lambda: signed_raw(json.dumps(claims(exp=True)).encode()),
    "iat is long ago": lambda: sign(claims(iat=-(10**300))),
    "iat is a list": lambda: signed_raw(json.dumps(claims(iat=[1])).encode()),
    "without exp": lambda: sign(claims(exp=...)),
    "without iat": lambda: sign(claims(iat=...)),
    "without sub": lambda: sign(claims(sub=...)),
    "without iss": lambda: sign(claims(iss=...)),
    "without aud": lambda: sign(claims(aud=...)),
    "without org": lambda: sign(claims(org=...)),
    "org is no UUID": lambda: sign(claims(org="mint")),
    "org is a list": lambda: sign(claims(org=[str(ORGANIZATION)])),
    "org in braces": lambda: sign(claims(org="{" + str(ORGANIZATION) + "}")),
    "sub is no UUID": lambda: sign(claims(sub="ana")),
    "sub is a number": lambda: signed_raw(json.dumps(claims(sub=7)).encode()),
    "calls itself a service": lambda: sign(claims(sub="service:goals")),
    "another audience": lambda: sign(claims(aud="crm")),
    "audience with a tail": lambda: sign(claims(aud="okr/")),
    "another issuer": lambda: sign(claims(iss="https://evil.example")),
    "issuer with a tail": lambda: sign(claims(iss=ISSUER.issuer + "/")),
    "issuer is a list": lambda: signed_raw(json.dumps(claims(iss=[ISSUER.issuer])).encode()),
    "the internal issuer's name": lambda: sign(claims(iss="okr-internal", sub="service:goals")),
    "oversize": lambda: sign(claims(padding="x" * 9000)),
}


@pytest.mark.parametrize("name", FORGED)
def test_no_forged_or_malformed_token_is_believed(name: str) -> None:
    verifier = TokenVerifier([ISSUER, InternalIssuer().trusted()])
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify(FORGED[name]())
    assert caught.value.reason.isupper()
    assert caught.value.message


async def test_every_forged_token_is_unauthenticated_at_the_door(site: Site) -> None:
    assert len(FORGED) >= 25
    for name, make in FORGED.items():
        token = make()
        if token.isascii() and token.isprintable():
            refusal = await refused(site.client(token=token).directory.GetPerson(pb.GetPersonRequest()))
            assert refusal.code == grpc.StatusCode.UNAUTHENTICATED, name
            assert refusal.reason.isupper(), name
    assert site.house.callers == []


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda body: signed_raw(body)))
def test_no_text_breaks_the_verifier(token: str) -> None:
    with pytest.raises(AuthenticationError):
        TokenVerifier([ISSUER]).verify(token)


def test_a_good_token_names_a_person_of_an_organisation() -> None:
    verifier = TokenVerifier([ISSUER])
    who = verifier.verify(sign(claims()))
    assert who == Caller(ORGANIZATION, PERSON, f"person:{PERSON}", operator=False)
    assert verifier.verify(sign(claims(scope="read operator"))).operator
    assert not verifier.verify(sign(claims(scope="cooperator operators"))).operator
    assert verifier.verify(sign(claims(aud=["crm", "okr"]), typ="JWT")) == who


def test_a_remembered_token_is_believed_no_longer_than_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, token = TokenVerifier([ISSUER]), sign(claims())
    who = verifier.verify(token)

    def expired(*args: object, **more: object) -> None:
        raise jwt.ExpiredSignatureError

    monkeypatch.setattr(jwt, "decode", expired)
    assert verifier.verify(token) == who
    later = time.time() + 600 + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify(token)
    assert caught.value.reason == "TOKEN_EXPIRED"


def test_the_metadata_must_hold_one_bearer_token() -> None:
    assert bearer(["Bearer abc"]) == bearer(["bearer  abc "]) == bearer([b"BEARER abc"]) == "abc"
    for wrong in ([], [""], ["Bearer"], ["Bearer "], ["Basic abc"], ["abc"], ["Bearer a", "Bearer b"], [b"\xff"]):
        with pytest.raises(AuthenticationError):
            bearer(wrong)


def test_services_speak_for_people_and_for_themselves_among_each_other_only() -> None:
    internal = InternalIssuer()
    verifier = TokenVerifier([ISSUER, internal.trusted()])
    person = Caller(ORGANIZATION, PERSON, f"person:{PERSON}", operator=True)
    assert verifier.verify(internal.issue("goals", person)) == person
    with acting_for(ORGANIZATION, "service:goals") as service:
        assert caller() == service
        assert verifier.verify(internal.issue("goals", caller())) == service
    with pytest.raises(RuntimeError):
        caller()
    with pytest.raises(AuthenticationError):
        verifier.verify(InternalIssuer().issue("goals", person))


def test_only_the_internal_issuer_says_which_service_brings_a_call() -> None:
    internal = InternalIssuer()
    verifier = TokenVerifier([ISSUER, internal.trusted()])
    person = Caller(ORGANIZATION, PERSON, f"person:{PERSON}")
    assert verifier.verify(internal.issue("goals", person)).service == "goals"
    with acting_for(ORGANIZATION, "service:goals"):
        assert verifier.verify(internal.issue("goals", caller())).service == "goals"
    for act in ({"sub": "service:goals"}, "service:goals", {"sub": 7}, None):
        assert verifier.verify(sign(claims(act=act))).service is None


def test_the_development_issuer_keeps_its_key_and_its_place(tmp_path: Path) -> None:
    first = DevelopmentIssuer(tmp_path / "data")
    token = first.issue(ORGANIZATION, PERSON, operator=True)
    again = DevelopmentIssuer(tmp_path / "data")
    who = TokenVerifier([again.trusted()]).verify(token)
    assert (who.organization_id, who.person_id, who.operator) == (ORGANIZATION, PERSON, True)
    key_file = tmp_path / "data" / "development-issuer.pem"
    assert key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_the_development_issuer_is_refused_in_production(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OKR_ENV", "production" if how == "environment" else "development")
    with pytest.raises(UnsafeSettingError, match="OKR_ISSUER"):
        DevelopmentIssuer(tmp_path / "data", env="production" if how == "argument" else None)


def test_an_issuers_keys_are_read_from_pem_and_from_jwks(tmp_path: Path) -> None:
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "one.pem").write_bytes(PEM)
    document = {
        "keys": [
            {**json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())), "kid": "r", "use": "sig"},
            {**json.loads(ECAlgorithm.to_jwk(ec_key.public_key())), "kid": "e"},
            {**json.loads(OKPAlgorithm.to_jwk(KEY.public_key())), "kid": "o", "alg": "EdDSA"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"},
            {**json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())), "kid": "enc", "use": "enc"},
        ]
    }
    (tmp_path / "jwks.json").write_text(json.dumps(document))
    keys = public_keys(tmp_path / "jwks.json")
    assert {kid: key.algorithm for kid, key in keys.items()} == {"r": "RS256", "e": "ES256", "o": "EdDSA"}
    verifier = TokenVerifier([TrustedIssuer(ISSUER.issuer, "okr", keys)])
    for kid, key, algorithm in (("r", rsa_key, "RS256"), ("e", ec_key, "ES256"), ("o", KEY, "EdDSA")):
        assert verifier.verify(sign(claims(), key, algorithm, kid=kid)).person_id == PERSON
    with pytest.raises(AuthenticationError):
        verifier.verify(sign(claims(), rsa_key, "RS256", kid="e"))
    with pytest.raises(AuthenticationError):
        verifier.verify(sign(claims(), rsa_key, "RS512", kid="r"))
    assert TokenVerifier([TrustedIssuer(ISSUER.issuer, "okr", public_keys(tmp_path / "one.pem"))]).verify(
        sign(claims())
    ).organization_id == UUID(str(ORGANIZATION))


def test_files_without_a_usable_key_are_named(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    documents = {
        "nothing.pem": b"",
        "text.pem": b"hello",
        "weak.pem": weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "empty.json": b'{"keys": []}',
        "broken.json": b'{"keys": [{}]}',
        "other.json": b"{}",
    }
    for name, content in documents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnsafeSettingError, match=name):
            public_keys(tmp_path / name)
    with pytest.raises(UnsafeSettingError, match="missing"):
        public_keys(tmp_path / "missing.pem")
