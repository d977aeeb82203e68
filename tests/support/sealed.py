"""Free text in tests: for rules, which never read it, and really sealed, for what opens it."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from okr_chassis.identity.auth import caller
from okr_chassis.sealing import AuthorKey, Found, Place
from okr_contracts.sealed import SealedText, sealed_fields

ANYBODY = UUID(int=77)


def sealed(text: str, author_id: UUID = ANYBODY) -> SealedText | None:
    """As rules see it: something that is equal where the text is, and None where there is none."""
    return SealedText(author_id, 1, b64encode(text.encode()).decode()) if text else None


class KeyRack:
    """Everybody has a key here, until they are erased. Counts how often it was asked."""

    def __init__(self) -> None:
        self.erased: set[UUID] = set()
        self.questions: list[list[UUID]] = []

    async def ask(self, person_ids: Sequence[UUID], *, make_own: bool) -> Found:
        self.questions.append(list(person_ids))
        organization_id = caller().organization_id
        return {each: None if each in self.erased else key_of(organization_id, each) for each in person_ids}


def key_of(organization_id: UUID, person_id: UUID, version: int = 1) -> AuthorKey:
    return AuthorKey(version, sha256(organization_id.bytes + person_id.bytes).digest())


def really_sealed(fact: Struct, organization_id: UUID, author_id: UUID) -> Struct:
    """The fact with all that `sealed` stood for in it sealed under the keys of a KeyRack."""
    changed = {}
    for field, subject in sealed_fields(type(fact)).items():
        text = getattr(fact, field)
        if text is not None:
            place = Place(organization_id, getattr(fact, subject), field)
            changed[field] = key_of(organization_id, author_id).seal(author_id, b64decode(text.data).decode(), place)
    return replace(fact, **changed)
