"""One partition's events on disk, shard by shard, so that a rebuild may fold one shard after the other.

A partition holds its shards interleaved; a rebuild holds the rows of one shard at a time. In between stands this: the
partition is read once, each shard's events are written away as lines of text (okr_eventstore.lines), and nothing is
decoded until it is folded.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import NamedTuple

PIECE_LINES = 500
"""Lines of a shard that are written away together."""
WAITING_BYTES = 16 * 1024 * 1024
"""Of all shards together, before they are written away however few they are."""


class _Piece(NamedTuple):
    positions: Sequence[int]
    """Of its lines, in order."""
    start: int
    size: int


class _Waiting(NamedTuple):
    positions: list[int]
    lines: list[bytes]


class Spool:
    """A file without a name: whatever happens, nothing is left of it."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        """The last position of each shard that has one."""
        self._file = TemporaryFile(prefix="okr-rebuild-")  # noqa: SIM115  # closed by close()
        self._end = 0
        self._pieces: dict[int, list[_Piece]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._waiting_bytes = 0

    def close(self) -> None:
        self._file.close()

    def add(self, shard: int, position: int, line: bytes) -> None:
        """Keep an event's line. What repeats or goes back is dropped."""
        if position <= self.last.get(shard, 0):
            return
        self.last[shard] = position
        waiting = self._waiting.get(shard)
        if waiting is None:
            waiting = self._waiting[shard] = _Waiting([], [])
        waiting.positions.append(position)
        waiting.lines.append(line)
        self._waiting_bytes += len(line)
        if len(waiting.lines) >= PIECE_LINES:
            self._put_away(shard)
        elif self._waiting_bytes >= WAITING_BYTES:
            self.put_away()

    def put_away(self) -> None:
        """Write what is still in memory."""
        for shard in list(self._waiting):
            self._put_away(shard)

    def read(self, shard: int, after: int, up_to: int) -> Iterator[bytes]:
        """The lines of a shard's events `after` < position ≤ `up_to`, in order, many to a text."""
        pieces = self._pieces.get(shard, [])
        for index in range(bisect_right(pieces, after, key=lambda piece: piece.positions[-1]), len(pieces)):
            positions, start, size = pieces[index]
            if positions[0] > up_to:
                return
            text = os.pread(self._file.fileno(), size, start)
            if after < positions[0] and positions[-1] <= up_to:
                yield text
            else:
                begin, end = bisect_right(positions, after), bisect_right(positions, up_to)
                if begin < end:
                    yield b"\n".join(text.split(b"\n")[begin:end])

    def _put_away(self, shard: int) -> None:
        positions, lines = self._waiting.pop(shard)
        text = b"\n".join(lines)
        os.pwrite(self._file.fileno(), text, self._end)
        first, last = positions[0], positions[-1]
        whole = last - first + 1 == len(positions)
        kept = range(first, last + 1) if whole else array("q", positions)
        self._pieces.setdefault(shard, []).append(_Piece(kept, self._end, len(text)))
        self._end += len(text)
        self._waiting_bytes -= sum(map(len, lines))
