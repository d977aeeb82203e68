"""One partition's records on disk, shard by shard, so that a rebuild may fold one shard after the other.

A partition holds its shards interleaved; a rebuild holds the rows of one shard at a time. In between stands this: the
partition is read once, each shard's records are written away in pieces, and nothing is decoded until it is folded.
"""

import marshal
import os
from bisect import bisect_left
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import NamedTuple

from okr_chassis.kafka.records import Headers

PIECE_RECORDS = 500
"""Records of a shard that are written away together."""
WAITING_BYTES = 16 * 1024 * 1024
"""Of all shards together, before they are written away however few they are."""

OPENED_PIECES = 4
"""One for each of the shards that are folded at the same time, and a few to spare."""


class Kept(NamedTuple):
    """A record as it came, with the position it stands for."""

    position: int
    value: bytes
    headers: Headers


class _Piece(NamedTuple):
    last: int
    """The position of its last record."""
    start: int
    size: int


class Spool:
    """A file without a name: whatever happens, nothing is left of it."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        """The last position of each shard that has one."""
        self._file = TemporaryFile(prefix="okr-rebuild-")  # noqa: SIM115  # closed by close()
        self._end = 0
        self._pieces: dict[int, list[_Piece]] = {}
        self._waiting: dict[int, list[tuple[int, bytes, Headers]]] = {}
        self._waiting_bytes = 0
        self._opened: dict[int, tuple[int, list[tuple[int, bytes, Headers]]]] = {}

    def close(self) -> None:
        self._file.close()

    def add(self, shard: int, position: int, value: bytes, headers: Headers) -> None:
        """Keep a record. What repeats or goes back is dropped."""
        if position <= self.last.get(shard, 0):
            return
        self.last[shard] = position
        waiting = self._waiting.setdefault(shard, [])
        waiting.append((position, value, headers))
        self._waiting_bytes += len(value)
        if len(waiting) >= PIECE_RECORDS:
            self._put_away(shard)
        elif self._waiting_bytes >= WAITING_BYTES:
            self.put_away()

    def put_away(self) -> None:
        """Write what is still in memory."""
        for shard in list(self._waiting):
            self._put_away(shard)

    def read(self, shard: int, after: int, up_to: int) -> Iterator[Kept]:
        """The shard's records `after` < position ≤ `up_to`, in order."""
        pieces = self._pieces.get(shard, [])
        for index in range(bisect_left(pieces, after + 1, key=lambda piece: piece.last), len(pieces)):
            for position, value, headers in self._open(shard, index):
                if position > up_to:
                    return
                if position > after:
                    yield Kept(position, value, headers)

    def _put_away(self, shard: int) -> None:
        records = self._waiting.pop(shard)
        data = marshal.dumps(records)
        os.pwrite(self._file.fileno(), data, self._end)
        self._pieces.setdefault(shard, []).append(_Piece(records[-1][0], self._end, len(data)))
        self._end += len(data)
        self._waiting_bytes -= sum(len(value) for _, value, _ in records)

    def _open(self, shard: int, index: int) -> list[tuple[int, bytes, Headers]]:
        """A piece's records. Those opened last are kept: pages end in the middle of pieces."""
        opened = self._opened.get(shard)
        if opened is None or opened[0] != index:
            piece = self._pieces[shard][index]
            # The file is our own, has no name, and was written by this very process: safe to load.
            opened = index, marshal.loads(os.pread(self._file.fileno(), piece.size, piece.start))
            self._opened.pop(shard, None)
            self._opened[shard] = opened
            if len(self._opened) > OPENED_PIECES:
                del self._opened[next(iter(self._opened))]
        return opened[1]
