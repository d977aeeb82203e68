"""Batches of our own making are read by Kafka's clients as what was put in."""

from typing import Any

from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from okr_chassis.kafka.batches import RecordBatch, body_of
from okr_chassis.kafka.records import Record

records = st.builds(
    Record,
    key=st.binary(max_size=80),
    value=st.binary(max_size=9000),
    headers=st.lists(st.tuples(st.text(max_size=80), st.binary(max_size=300)), max_size=4),
)


def read(batch: RecordBatch) -> list[Any]:
    """The records of a batch, as aiokafka's consumer sees them."""
    stream = MemoryRecords(bytes(batch._build()))
    found = stream.next_batch()
    assert found is not None
    assert found.validate_crc()
    assert not stream.has_next()
    return list(found)


@given(st.lists(records, min_size=1, max_size=5))
def test_a_batch_is_read_as_what_was_put_in(put_in: list[Record]) -> None:
    batch = RecordBatch(10**9)
    assert batch.take([body_of(*record) for record in put_in]) == len(put_in)
    found = read(batch)
    assert [(each.key, each.value, list(each.headers)) for each in found] == [
        (record.key, record.value, list(record.headers)) for record in put_in
    ]
    assert [each.offset for each in found] == list(range(len(put_in)))
    assert batch.record_count() == len(batch) == len(put_in)


def test_thousands_of_records_keep_their_places() -> None:
    batch = RecordBatch(10**9)
    assert batch.take([body_of(b"k", b"%d" % number, []) for number in range(20_000)]) == 20_000
    assert [(each.offset, each.value) for each in read(batch)] == [(n, b"%d" % n) for n in range(20_000)]


def test_a_full_batch_takes_no_more_and_an_empty_one_takes_anything() -> None:
    batch = RecordBatch(100)
    assert batch.take([body_of(b"k", b"x" * 1000, []), body_of(b"k", b"", [])]) == 1
    assert batch.take([body_of(b"k", b"", [])]) == 0
    assert [each.value for each in read(batch)] == [b"x" * 1000]


@given(st.lists(records, min_size=1, max_size=20), st.integers(100, 20_000))
def test_no_batch_of_several_records_is_larger_than_its_limit(put_in: list[Record], limit_bytes: int) -> None:
    batch = RecordBatch(limit_bytes)
    taken = batch.take([body_of(*record) for record in put_in])
    assert taken == len(batch) == len(read(batch))
    assert taken == 1 or len(batch._build()) <= limit_bytes + 61  # the batch's own header


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = bytes((7 * number * number) % 251 for number in range(40))
    batch = RecordBatch(10**6)
    batch.take([body_of(b"", noise, [])])
    assert [each.value for each in read(batch)] == [noise]


def test_a_batch_that_is_sent_again_is_the_same_to_the_byte() -> None:
    batch = RecordBatch(10**6)
    batch.take([body_of(b"k", b"v", [])])
    batch._set_producer_state(7, 1, 42)
    first = bytes(batch._build())
    assert bytes(batch._build()) == first
    found = MemoryRecords(first).next_batch()
    assert found is not None
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (7, 1, 42)
