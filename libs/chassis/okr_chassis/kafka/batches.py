"""Record batches in Kafka's own format (magic 2), put together from records that are encoded already.

aiokafka builds batches too, from lists of headers; for a relay, whose records have twenty each, making those lists
costs more than all the rest. So a record is encoded straight from its row, and this is handed to `send_batch` in place
of aiokafka's builder. What it makes is read back by aiokafka's own reader in the tests.
"""

import struct
import time
from collections.abc import Iterable, Sequence

from aiokafka.codec import zstd_encode
from aiokafka.record.util import calc_crc32c

_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset, both times, producer, sequence, count."""
_AFTER_LENGTH = 12
_CRC_AT = 17
_CHECKED_FROM = 21
_ZSTD = 4
_ZSTD_LEVEL = 1
"""Takes half the time of the usual 3, and packs our headers, which repeat each other, no worse."""


def _zigzag(number: int) -> bytes:
    """A length as Kafka writes it: doubled, seven bits a byte, the lowest first."""
    number <<= 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT = [_zigzag(number) for number in range(4096)]


def _zigzag_of(number: int) -> bytes:
    return _SHORT[number] if number < 4096 else _zigzag(number)


def length_of(content: bytes) -> bytes:
    """What stands before some bytes in a record: how many there are."""
    size = len(content)
    return _SHORT[size] if size < 4096 else _zigzag(size)


def count(number: int) -> bytes:
    return _SHORT[number]


def header(name: str, value: bytes) -> bytes:
    return header_name(name) + length_of(value) + value


def header_name(name: str) -> bytes:
    """A header as far as its value's length."""
    encoded = name.encode()
    return length_of(encoded) + encoded


def body_of(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Everything of a record that does not depend on its place in a batch."""
    encoded = [header(name, content) for name, content in headers]
    return b"".join((length_of(key), key, length_of(value), value, count(len(encoded)), *encoded))


class RecordBatch:
    """Records on their way to one partition; the part of aiokafka's batch builder that its producer uses."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._records: list[bytes] = []
        self._size = 0
        self._producer = (-1, -1, 0)
        self._built: bytearray | None = None

    def __len__(self) -> int:
        return len(self._records)

    def take(self, bodies: Sequence[bytes]) -> int:
        """Take records along, in order, as many as fit; an empty batch takes any first one. Returns how many."""
        records, size, limit_bytes = self._records, self._size, self._limit_bytes
        before = len(records)
        for body in bodies:
            place = _zigzag_of(len(records))
            length = 2 + len(place) + len(body)
            if size + length > limit_bytes and records:
                break
            # No attributes, and the time of the whole batch.
            records.append(b"%b\0\0%b%b" % (_zigzag_of(length), place, body))
            size += length + 3
        self._size = size
        return len(records) - before

    # --- as aiokafka's producer calls it -----------------------------------------------------------

    def record_count(self) -> int:
        return len(self._records)

    def closed(self) -> bool:
        """Nothing is ever added after it was handed over."""
        return True

    def close(self) -> None: ...

    def size(self) -> int:
        return self._size

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        """The same bytes however often they are sent: the broker knows a batch again by its sequence numbers."""
        if self._built is None:
            records = b"".join(self._records)
            packed = zstd_encode(records, _ZSTD_LEVEL)
            smaller = len(packed) < len(records)
            content = packed if smaller else records
            built = bytearray(_HEADER.size) + content
            now = int(time.time() * 1000)
            _HEADER.pack_into(
                built, 0, 0, len(built) - _AFTER_LENGTH, -1, 2, 0, _ZSTD if smaller else 0, len(self._records) - 1,
                now, now, *self._producer, len(self._records),
            )  # fmt: skip
            struct.pack_into(">I", built, _CRC_AT, calc_crc32c(memoryview(built)[_CHECKED_FROM:]))
            self._built = built
        return self._built
