"""What people write, sealed: it opens for whoever has the key, in its own place, and for nobody else."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from okr_chassis.codecs import codec_of
from okr_chassis.identity.auth import Caller, acting_for, calling
from okr_chassis.sealing import (
    AUTHORS_PER_CALL,
    KEYS_KEPT_SECONDS,
    AuthorKey,
    BrokenSealError,
    Found,
    Keyring,
    Place,
    Vault,
)
from okr_contracts.directory import PersonErased
from okr_contracts.errors import DomainError
from okr_contracts.registry import EVENTS
from okr_contracts.sealed import SealedText, sealed_fields
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, NewEvent
from okr_eventstore.postgres_source import PostgresSource
from tests.support.sealed import KeyRack, key_of

ACME, ANA, BEN, CHECK_IN = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
NOTE = Place(ACME, CHECK_IN, "note")
KEY = AuthorKey(1, bytes(range(32)))
WORDS = "Two pilots signed; Zoë is unwell 🌷"
VECTOR = "8cjUtd08kPnExIUY/ATSB8RIEdUhVU1y6lFGbMGNgCkSWtiYilsFe2HYFzh0ipHYt0LolZPwLHhi+ci0l/uLTMeY"


@pytest.fixture(autouse=True)
def ana() -> Iterator[Caller]:
    with calling(Caller(ACME, ANA, f"person:{ANA}")) as who:
        yield who


# --- one text --------------------------------------------------------------------------------------


def test_what_was_sealed_by_the_first_release_opens_for_ever() -> None:
    vector = SealedText(ANA, 1, VECTOR)
    assert KEY.seal(ANA, WORDS, NOTE) == vector
    assert KEY.open(vector, NOTE) == WORDS


@given(st.text(min_size=1, max_size=200))
def test_every_text_opens_again_and_is_nowhere_in_its_sealed_form(text: str) -> None:
    sealed = KEY.seal(ANA, text, NOTE)
    assert KEY.open(sealed, NOTE) == text
    assert KEY.seal(ANA, text, NOTE) == sealed
    if len(text.encode()) > 3:
        assert text.encode() not in b64decode(sealed.data)


OTHER_PLACES = {
    "another organisation": Place(UUID(int=9), CHECK_IN, "note"),
    "another check-in": Place(ACME, UUID(int=9), "note"),
    "another field": Place(ACME, CHECK_IN, "reason"),
    "a field that begins alike": Place(ACME, CHECK_IN, "not"),
}


@pytest.mark.parametrize("place", OTHER_PLACES.values(), ids=OTHER_PLACES.keys())
def test_a_text_opens_in_its_own_place_only(place: Place) -> None:
    sealed = KEY.seal(ANA, WORDS, NOTE)
    assert KEY.seal(ANA, WORDS, place).data != sealed.data
    with pytest.raises(BrokenSealError):
        KEY.open(sealed, place)


def test_a_text_opens_with_its_own_authors_own_key_only() -> None:
    sealed = KEY.seal(ANA, WORDS, NOTE)
    for key, wrong in (
        (KEY, replace(sealed, author_id=BEN)),
        (KEY, replace(sealed, key_version=2)),
        (AuthorKey(1, bytes(32)), sealed),
        (AuthorKey(2, bytes(range(32))), sealed),
        (AuthorKey(2, bytes(range(32))), replace(sealed, key_version=2)),
    ):
        with pytest.raises(BrokenSealError):
            key.open(wrong, NOTE)


def test_no_bit_of_a_sealed_text_can_be_changed() -> None:
    sealed = KEY.seal(ANA, "no", NOTE)
    data = b64decode(sealed.data)
    changed = [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)]
    cut = [data[:length] for length in range(len(data))]
    for forged in (*changed, *cut, data + b"\x00"):
        with pytest.raises(BrokenSealError):
            KEY.open(replace(sealed, data=b64encode(forged).decode()), NOTE)
    for text in ("", "*", "é", sealed.data[:-1], "\n" + sealed.data):
        with pytest.raises(BrokenSealError):
            KEY.open(replace(sealed, data=text), NOTE)


def test_a_key_does_not_show_itself() -> None:
    assert repr(bytes(range(32)))[2:-1] not in repr(KEY) + str(vars(KEY))


def test_every_event_with_free_text_says_what_it_is_about() -> None:
    for events in EVENTS.values():
        for event in events:
            sealed = {name for name, kind in event.__annotations__.items() if "SealedText" in str(kind)}
            assert sealed == sealed_fields(event).keys()
            assert set(sealed_fields(event).values()) <= event.__annotations__.keys()


# --- the texts of an answer ------------------------------------------------------------------------


class Slow(KeyRack):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def ask(self, person_ids: Sequence[UUID], *, make_own: bool) -> Found:
        found = await super().ask(person_ids, make_own=make_own)
        self.asked.set()
        await self.answer.wait()
        return found


class Watch:
    """A clock that only goes forward when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_asks_once_for_all_its_authors_and_the_next_one_not_at_all() -> None:
    rack = KeyRack()
    vault = Vault(rack, Keyring())
    authors = [uuid4() for _ in range(20)]
    texts = [(key_of(ACME, each).seal(each, f"by {each}", NOTE), CHECK_IN, "note") for each in authors * 2]
    assert await vault.open([*texts, (None, CHECK_IN, "note")]) == [*(f"by {each}" for each in authors * 2), ""]
    assert [sorted(question) for question in rack.questions] == [sorted(authors)]
    assert await vault.open(texts[:3]) == [f"by {each}" for each in authors[:3]]
    assert await vault.open([]) == []
    assert len(rack.questions) == 1


async def test_more_authors_than_a_question_takes_are_asked_for_in_several() -> None:
    rack = KeyRack()
    authors = [UUID(int=number) for number in range(1, AUTHORS_PER_CALL + 2)]
    seal = key_of(ACME, ANA).seal(ANA, "x", NOTE)
    await Vault(rack, Keyring()).open([(replace(seal, author_id=each), CHECK_IN, "note") for each in authors])
    assert sorted(map(len, rack.questions)) == [1, AUTHORS_PER_CALL]


async def test_many_commands_of_one_person_at_once_ask_for_their_key_once() -> None:
    rack = Slow()
    vault = Vault(rack, Keyring())
    writing = [asyncio.create_task(vault.seal(f"words {number}", CHECK_IN, "note")) for number in range(50)]
    await rack.asked.wait()
    writing[0].cancel()
    rack.answer.set()
    sealed = await asyncio.gather(*writing, return_exceptions=True)
    assert isinstance(sealed[0], asyncio.CancelledError)
    assert all(isinstance(each, SealedText) for each in sealed[1:])
    assert rack.questions == [[ANA]]


async def test_a_question_that_failed_is_asked_again() -> None:
    class Away(KeyRack):
        away = True

        async def ask(self, person_ids: Sequence[UUID], *, make_own: bool) -> Found:
            if self.away:
                raise StoreUnavailableError("directory is away")
            return await super().ask(person_ids, make_own=make_own)

    rack = Away()
    vault = Vault(rack, Keyring())
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await vault.seal(WORDS, CHECK_IN, "note")
    rack.away = False
    assert await vault.seal(WORDS, CHECK_IN, "note") is not None


async def test_a_key_is_asked_for_again_after_a_minute_and_not_before() -> None:
    rack, watch = KeyRack(), Watch()
    vault = Vault(rack, Keyring(watch))
    sealed = await vault.seal(WORDS, CHECK_IN, "note")
    watch.now += KEYS_KEPT_SECONDS - 1
    assert await vault.open([(sealed, CHECK_IN, "note")]) == [WORDS]
    assert len(rack.questions) == 1
    rack.erased.add(ANA)
    watch.now += 2
    assert await vault.open([(sealed, CHECK_IN, "note")]) == ["erased"]
    assert KEYS_KEPT_SECONDS <= 60


async def test_the_same_words_about_the_same_thing_are_the_same_and_nothing_stays_nothing() -> None:
    vault = Vault(KeyRack(), Keyring())
    assert await vault.seal(WORDS, CHECK_IN, "note") == await vault.seal(WORDS, CHECK_IN, "note")
    assert await vault.seal(WORDS, CHECK_IN, "note") != await vault.seal(WORDS, CHECK_IN, "reason")
    assert await vault.seal("", CHECK_IN, "note") is None
    assert await vault.seal(None, CHECK_IN, "note") is None


async def test_whoever_was_erased_writes_nothing_more_and_a_service_never_did() -> None:
    rack = KeyRack()
    rack.erased.add(ANA)
    vault = Vault(rack, Keyring())
    with pytest.raises(DomainError) as refused:
        await vault.seal(WORDS, CHECK_IN, "note")
    assert refused.value.reason == "PERSON_ERASED"
    assert WORDS not in refused.value.message
    with acting_for(ACME, "service:goals"), pytest.raises(DomainError) as refused:
        await vault.seal(WORDS, CHECK_IN, "note")
    assert refused.value.reason == "AUTHOR_MISSING"


async def test_an_erasure_counts_at_once_also_against_an_answer_that_is_under_way() -> None:
    rack, keyring = Slow(), Keyring()
    vault = Vault(rack, keyring)
    sealed = key_of(ACME, ANA).seal(ANA, WORDS, NOTE)
    reading = asyncio.create_task(vault.open([(sealed, CHECK_IN, "note")]))
    await rack.asked.wait()
    vault.erase(ACME, ANA)
    rack.answer.set()
    assert await reading == ["erased"]
    assert await vault.open([(sealed, CHECK_IN, "note")]) == ["erased"]
    keyring.drop()
    assert await vault.open([(sealed, CHECK_IN, "note")]) == ["erased"], "the erased stay so"


async def test_a_text_that_does_not_open_spoils_no_answer_and_is_told_to_those_who_run_the_platform(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault = Vault(KeyRack(), Keyring())
    fine = await vault.seal(WORDS, CHECK_IN, "note")
    assert await vault.open([(fine, CHECK_IN, "reason"), (fine, CHECK_IN, "note")]) == ["unreadable", WORDS]
    assert str(CHECK_IN) in caplog.text
    assert WORDS not in caplog.text


async def test_the_same_person_has_another_key_in_another_organisation() -> None:
    vault = Vault(KeyRack(), Keyring())
    here = await vault.seal(WORDS, CHECK_IN, "note")
    with calling(Caller(UUID(int=9), ANA, f"person:{ANA}")):
        assert await vault.seal(WORDS, CHECK_IN, "note") != here
        assert await vault.open([(here, CHECK_IN, "note")]) == ["unreadable"]


async def test_every_process_hears_of_an_erasure_by_itself(database: Database) -> None:
    log = EventLog("directory", database, codec_of("directory"))
    await log.start()
    keyring = Keyring()
    # Without the log itself, as in a process that directory does not run in.
    hearing = asyncio.create_task(keyring.hear(PostgresSource("directory", database, codec_of("directory"))))
    try:
        async with asyncio.timeout(30):
            for person_id in (ANA, BEN):
                keyring.keep(ACME, {person_id: key_of(ACME, person_id)})
                while keyring.find(ACME, [person_id]) != {person_id: None}:
                    await erased(log, person_id)
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        await log.close()


async def erased(log: EventLog, person_id: UUID) -> None:
    """Somebody is erased; said in a new stream each time, for a listener who may have come too late."""
    command_id = uuid4()
    context = CommandContext(ACME, command_id, command_id.bytes, "person:operator", command_id)
    await log.append(f"person-{command_id}", 0, [NewEvent(PersonErased(person_id))], context)
