"""Events travel as records that say everything about them, and come back as the very same events."""

from datetime import UTC, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from okr_chassis.kafka.batches import RecordBatch
from okr_chassis.kafka.records import Place, Record, RecordError, event_of, place_of, record_of
from okr_chassis.kafka.stored import read_pages
from okr_eventstore.codec import UnknownEvent
from okr_eventstore.database import Database
from okr_eventstore.log import read_page
from okr_eventstore.model import SHARDS, RecordedEvent
from tests.chassis.kafka.test_batches import read
from tests.eventstore.garden import MOMENT, Garden, Planted, Tagged, Watered, codec

CODEC = codec()

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
moments = st.datetimes(timezones=st.just(UTC))
positions = st.integers(1, 2**63 - 1)
facts = st.one_of(
    st.builds(Planted, name=words, planted_on=st.dates()),
    st.builds(Watered, litres=st.decimals(allow_nan=False, allow_infinity=False), note=words),
    st.builds(Tagged, tag=words, by=st.uuids()),
)
events = st.builds(
    lambda fact, **fields: RecordedEvent(type=type(fact).__name__, schema_version=1, data=fact, **fields),
    fact=facts,
    shard=st.integers(0, SHARDS - 1),
    position=positions,
    organization_id=st.uuids(),
    stream_id=words,
    version=positions,
    event_id=st.uuids(),
    recorded_at=moments,
    occurred_at=moments,
    command_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    correlation_id=st.uuids(),
    actor=words,
    metadata=st.dictionaries(words | st.sampled_from(["traceparent", "tracestate"]), words, max_size=3),
)
WATERED = RecordedEvent(
    shard=7, position=42, organization_id=UUID(int=1), stream_id="plant-1", version=3, event_id=UUID(int=2),
    type="Watered", schema_version=1, recorded_at=MOMENT, occurred_at=MOMENT - timedelta(days=1),
    command_id=UUID(int=3), causation_id=None, correlation_id=UUID(int=4), actor="person:ana",
    data=Watered(litres=Decimal(2), note="a sip"), metadata={"traceparent": "00-1-2-01"},
)  # fmt: skip


def carried(event: RecordedEvent, epoch: int = 1) -> Record:
    return record_of(event, epoch, "garden", CODEC.encode(event.data)[2].encode())


@given(event=events, epoch=st.integers(1, 2**31 - 1))
def test_an_event_comes_back_from_its_record_exactly_as_it_was(event: RecordedEvent, epoch: int) -> None:
    record = carried(event, epoch)
    assert event_of(record, CODEC) == event
    assert place_of(record.headers) == Place(event.shard, epoch, event.position)
    assert record.key == str(event.organization_id).encode()


@given(event=events)
def test_every_header_of_a_record_is_text_that_anybody_can_read(event: RecordedEvent) -> None:
    headers = {name: value.decode("utf-8") for name, value in carried(event).headers}
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_source"] == "/okr/garden"
    assert headers["ce_type"] == event.type
    assert headers["ce_subject"] == event.stream_id
    assert headers["content-type"] == "application/json"
    attributes = [name.removeprefix("ce_") for name in headers if name.startswith("ce_")]
    assert all(name.isascii() and name.isalnum() and name.islower() for name in attributes)


def test_a_record_says_when_its_fact_was_true_in_words_of_rfc_3339() -> None:
    assert dict(carried(WATERED).headers)["ce_time"] == b"2026-04-30T06:30:00.123456Z"


def test_a_value_is_the_stored_text_whatever_this_release_would_write() -> None:
    stored = b'{"litres": "2.0", "note": "a sip", "added_later": true}'
    assert record_of(WATERED, 1, "garden", stored).value == stored


def test_an_event_of_a_type_nobody_here_knows_still_comes_back() -> None:
    record = carried(WATERED)
    headers = [(name, b"Repotted" if name == "ce_type" else value) for name, value in record.headers]
    event = event_of(Record(record.key, record.value, headers), CODEC)
    assert event == replace(WATERED, type="Repotted", data=UnknownEvent("Repotted"))


@pytest.mark.parametrize("missing", ["ce_shard", "ce_epoch", "ce_position", "ce_id", "ce_type", "ce_recordedat"])
def test_a_record_of_a_stranger_is_told_apart(missing: str) -> None:
    headers = [(name, value) for name, value in carried(WATERED).headers if name != missing]
    with pytest.raises(RecordError, match=missing):
        event_of(Record(b"", b"{}", headers), CODEC)


def test_a_damaged_header_is_no_event() -> None:
    headers = [(name, b"soon" if name == "ce_position" else value) for name, value in carried(WATERED).headers]
    with pytest.raises(RecordError, match="soon"):
        event_of(Record(b"", b"{}", headers), CODEC)
    with pytest.raises(RecordError, match="soon"):
        place_of(headers)


async def test_what_the_relay_reads_from_the_log_are_the_records_of_its_events(database: Database) -> None:
    garden = Garden(database)
    await garden.log.start()
    try:
        for number in range(3):
            await garden.append(
                "plant-é", Planted("Rose\n\t\u2603", MOMENT.date()), Watered(Decimal(number), 'tä\\gl"ich')
            )
        shard = (await garden.append("plant-2", Tagged("old", UUID(int=9)))).shard
    finally:
        await garden.log.close()
    (page,) = await read_pages(database, "garden", {shard: 1}, limit=5, limit_bytes=10**6)
    assert (page.shard, page.after, page.head) == (shard, 1, 7)
    events = await read_page(database, garden.codec, shard, 1, 5)
    batch = RecordBatch(10**6)
    assert batch.take(page.bodies) == len(events) == 5
    for record, event in zip(read(batch), events, strict=True):
        assert event_of(record, garden.codec) == event
        assert dict(record.headers) == dict(carried(event).headers)
        assert (record.key, record.value) == carried(event)[:2]


async def test_a_page_is_bounded_in_bytes_and_holds_one_event_of_each_shard_at_least(database: Database) -> None:
    garden = Garden(database)
    await garden.log.start()
    try:
        for _ in range(4):
            shard = (await garden.append("plant", Watered(Decimal(1), "x" * 1000))).shard
    finally:
        await garden.log.close()

    async def bodies(**limits: int) -> int:
        (page,) = await read_pages(database, "garden", {shard: 0}, **limits)
        return len(page.bodies)

    assert await bodies(limit=10, limit_bytes=1) == 1
    assert await bodies(limit=10, limit_bytes=2500) == 3
    assert await bodies(limit=2, limit_bytes=10**6) == 2
