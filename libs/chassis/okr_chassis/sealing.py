"""Free text that people write: sealed before a rule sees it, opened where an answer is given.

A text is sealed with AES-256-GCM under a key of its author's own. Directory keeps the keys and gives
them to services; once a person is erased theirs exists no more, and what they wrote is shown as
"erased" everywhere, in the log's own tail and after every rebuild too.

The nonce is made from the text itself and a secret of the author (a synthetic IV), so that the same
words about the same thing are the same sealed text: a rule can tell a repetition from a change
without reading either. Nobody without the key can tell more than that.
"""

import asyncio
import base64
import binascii
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import asyncpg
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from okr.directory.v1 import vault_pb2
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.peers import Peers
from okr_contracts.directory import PersonErased
from okr_contracts.errors import DomainError
from okr_contracts.sealed import ERASED, SealedText
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.source import EventSource

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
"""What is shown where a text and its key do not fit, which only damage or a tampering hand brings about."""

KEY_BYTES = 32
NONCE_BYTES = 12
KEYS_KEPT_SECONDS = 60.0
"""How long a process goes on with a key it was given; directory's word of an erasure ends it at once."""
KEYS_KEPT = 10_000
AUTHORS_PER_CALL = 1_000
HEAR_SECONDS = 5.0
HEAR_AGAIN_SECONDS = 1.0

_stored = msgspec.json.Decoder(SealedText | None)


class BrokenSealError(Exception):
    """The text was not sealed with this key about this thing, or it was changed since."""


class Place(NamedTuple):
    """What a text is about, to which it is bound: moved to another place it does not open."""

    organization_id: UUID
    subject_id: UUID
    field: str


class AuthorKey:
    """One version of an author's key. It never shows its bytes."""

    def __init__(self, version: int, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"an author's key has {KEY_BYTES} bytes, this one has {len(secret)}")
        self.version = version
        derived = HKDF(SHA256(), 2 * KEY_BYTES, salt=None, info=b"okr free text").derive(secret)
        self._cipher = AESGCM(derived[:KEY_BYTES])
        self._nonces = HMAC(derived[KEY_BYTES:], SHA256())

    def seal(self, author_id: UUID, text: str, place: Place) -> SealedText:
        plain, bound = text.encode(), self._bound(author_id, place)
        digest = self._nonces.copy()
        digest.update(len(bound).to_bytes(8, "big") + bound + plain)
        nonce = digest.finalize()[:NONCE_BYTES]
        sealed = nonce + self._cipher.encrypt(nonce, plain, bound)
        return SealedText(author_id, self.version, base64.b64encode(sealed).decode())

    def open(self, sealed: SealedText, place: Place) -> str:
        """Raises BrokenSealError."""
        if sealed.key_version != self.version:
            raise BrokenSealError(f"sealed with version {sealed.key_version} of the key, this is {self.version}")
        try:
            data = base64.b64decode(sealed.data, validate=True)
            bound = self._bound(sealed.author_id, place)
            return self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise BrokenSealError("the text does not open with its author's key in this place") from None

    def _bound(self, author_id: UUID, place: Place) -> bytes:
        """The associated data: every part but the last has a fixed length, so no two places look alike."""
        parts = (place.organization_id.bytes, author_id.bytes, self.version.to_bytes(4, "big"), place.subject_id.bytes)
        return b"okr.text.1" + b"".join(parts) + place.field.encode()


Found = Mapping[UUID, AuthorKey | None]
"""Keys by author; None for somebody who was erased. Who has no key is not in it."""


class Keys(Protocol):
    """Where keys of the caller's organisation come from."""

    async def ask(self, person_ids: Sequence[UUID], *, make_own: bool) -> Found:
        """The keys of at most AUTHORS_PER_CALL people; `make_own` makes the caller's where there is none."""


class DirectoryKeys:
    """Asks directory, in the name of the service."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def ask(self, person_ids: Sequence[UUID], *, make_own: bool) -> Found:
        request = vault_pb2.GetAuthorKeysRequest(person_ids=map(str, person_ids), make_own=make_own)
        answer = await self._peers.vault.GetAuthorKeys(request)
        return {
            UUID(each.person_id): None if each.erased else AuthorKey(each.version, each.key) for each in answer.keys
        }


class Keyring:
    """The keys a process has at hand, for all its services: few, briefly, and never those of the erased.

    Somebody who was erased stays so, whatever an answer says that was already under way.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kept: OrderedDict[tuple[UUID, UUID], tuple[AuthorKey | None, float]] = OrderedDict()

    def find(self, organization_id: UUID, person_ids: Iterable[UUID]) -> dict[UUID, AuthorKey | None]:
        now = self._monotonic()
        found = {}
        for person_id in person_ids:
            kept = self._kept.get((organization_id, person_id))
            if kept is not None and (kept[0] is None or kept[1] > now):
                found[person_id] = kept[0]
        return found

    def keep(self, organization_id: UUID, found: Found) -> None:
        until = self._monotonic() + KEYS_KEPT_SECONDS
        for person_id, key in found.items():
            place = (organization_id, person_id)
            known = self._kept.get(place)
            if known is None or known[0] is not None:
                self._kept[place] = (key, until)
                self._kept.move_to_end(place)
        while len(self._kept) > KEYS_KEPT:
            self._kept.popitem(last=False)

    def erase(self, organization_id: UUID, person_id: UUID) -> None:
        """The person was erased: their key is dropped now, and not taken again."""
        self.keep(organization_id, {person_id: None})

    def drop(self) -> None:
        """Let go of every key; the next use asks again."""
        self._kept = OrderedDict((place, kept) for place, kept in self._kept.items() if kept[0] is None)

    async def hear(self, source: EventSource) -> None:
        """Listen for erasures on directory's log, until cancelled.

        From its head on, and not from a checkpoint: every process has keys, so each must hear for itself.
        When word may have been missed, all keys are let go.
        """
        try:
            while True:
                try:
                    await source.start()
                    await self._hear(source)
                except (StoreUnavailableError, asyncpg.PostgresError):
                    self.drop()
                    await source.close()
                    await asyncio.sleep(HEAR_AGAIN_SECONDS)
        finally:
            await source.close()

    async def _hear(self, source: EventSource) -> None:
        heads = await source.heads()
        for shard in await source.assignments():
            await source.seek(shard, heads[shard].position if shard in heads else 0)
        self.drop()
        while True:
            for batch in await source.fetch(HEAR_SECONDS):
                for event in batch.events:
                    if isinstance(event.data, PersonErased):
                        self.erase(event.organization_id, event.data.person_id)


class Vault:
    """Seals and opens free text in the caller's organisation, asking for all keys of an answer at once."""

    def __init__(self, keys: Keys, keyring: Keyring) -> None:
        self._keys = keys
        self._keyring = keyring
        self._asking: dict[tuple[UUID, UUID], asyncio.Task[Found]] = {}

    async def seal(self, text: str | None, subject_id: UUID, field: str) -> SealedText | None:
        """The caller's words about something; None where there are none. Raises DomainError for the erased."""
        if not text:
            return None
        who = caller()
        author_id = who.person_id
        if author_id is None:
            raise DomainError("AUTHOR_MISSING", f"{who.actor} is no person, and only people write free text")
        found = await self._own(who.organization_id, author_id)
        if author_id not in found:
            raise DomainError(
                "AUTHOR_KEY_MISSING", f"the key of person {author_id} is damaged; restore it from a backup"
            )
        key = found[author_id]
        if key is None:
            raise DomainError("PERSON_ERASED", f"person {author_id} was erased and can write nothing any more")
        return key.seal(author_id, text, Place(who.organization_id, subject_id, field))

    async def open(self, texts: Sequence[tuple[SealedText | None, UUID | None, str]]) -> list[str]:
        """Texts with the ids and the fields they are about, in the clear and in the same order.

        None is empty; an erased author's is "erased"; one that does not open is "unreadable", and logged.
        """
        keys = await self._found({sealed.author_id for sealed, _, _ in texts if sealed is not None}, make_own=False)
        return [self._opened(keys, *text) for text in texts]

    def erase(self, organization_id: UUID, person_id: UUID) -> None:
        """This process need not hear of an erasure that it carried out itself."""
        self._keyring.erase(organization_id, person_id)

    def _opened(self, keys: Found, sealed: SealedText | None, subject_id: UUID | None, field: str) -> str:
        if sealed is None:
            return ""
        organization_id, author_id = caller().organization_id, sealed.author_id
        if author_id in keys and keys[author_id] is None:
            return ERASED
        key = keys.get(author_id)
        fault = "its author has no key"
        if key is not None and subject_id is not None:
            try:
                return key.open(sealed, Place(organization_id, subject_id, field))
            except BrokenSealError as error:
                fault = str(error)
        log.error("the %s of %s in organization %s is unreadable: %s", field, subject_id, organization_id, fault)
        return UNREADABLE

    async def _own(self, organization_id: UUID, author_id: UUID) -> Found:
        """The caller's own key: asked for once, however many of their commands come together."""
        found = self._keyring.find(organization_id, [author_id])
        if found:
            return found
        place = (organization_id, author_id)
        asking = self._asking.get(place)
        if asking is None:
            asking = self._asking[place] = asyncio.create_task(self._found([author_id], make_own=True))
            asking.add_done_callback(lambda task: self._asked(place, task))
        return await asyncio.shield(asking)  # a caller who goes away must not take the answer from the others

    def _asked(self, place: tuple[UUID, UUID], task: asyncio.Task[Found]) -> None:
        del self._asking[place]
        if not task.cancelled():
            task.exception()  # marks it as seen: those who waited may all have gone

    async def _found(self, person_ids: Iterable[UUID], *, make_own: bool) -> Found:
        """The keys at hand, and in one question those that are not."""
        organization_id, wanted = caller().organization_id, list(person_ids)
        found = self._keyring.find(organization_id, wanted)
        missing = [person_id for person_id in wanted if person_id not in found]
        for start in range(0, len(missing), AUTHORS_PER_CALL):
            answer = await self._keys.ask(missing[start : start + AUTHORS_PER_CALL], make_own=make_own)
            self._keyring.keep(organization_id, answer)
            # What was heard while the answer was under way counts for more than the answer.
            found |= {**answer, **self._keyring.find(organization_id, answer)}
        return found


def stored(column: str | None) -> SealedText | None:
    """A sealed text from its column of a read model, which holds JSON."""
    return None if column is None else _stored.decode(column)
