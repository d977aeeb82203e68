"""A page of a shard as lines of text, one an event: PostgreSQL joins them, msgspec decodes them in one go.

A row of many columns costs the driver more than decoding the event in it. A fold needs only some of the columns, so
these travel inside one text for each kind of event, and come out as events with nothing done for each in Python.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from msgspec import Raw, Struct, defstruct
from msgspec.json import Decoder
from msgspec.structs import replace

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.projection import ProjectedEvent

_PAGE = r"""
    SELECT type, schema_version,
           string_agg(concat('[', shard, ',', position, ',"', organization_id, '",', to_json(stream_id), ',', version,
                             ',', to_json(recorded_at), ',', to_json(occurred_at), ',', to_json(actor),
                             ',', data, ']'), E'\n') AS lines
      FROM event WHERE shard = $1 AND position > $2 AND position <= $3 GROUP BY 1, 2
"""


class _Line(Struct, frozen=True, array_like=True):
    """What a line holds, in its order; the rest is the same for all lines of a kind."""

    shard: int
    position: int
    organization_id: UUID
    stream_id: str
    version: int
    recorded_at: datetime
    occurred_at: datetime
    actor: str
    data: Any
    type: str
    schema_version: int


class Lines:
    """Reads pages of one log as its codec understands them."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec
        self._decoders: dict[tuple[str, int], Decoder[_Line] | None] = {}

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        """The events `after` < position ≤ `up_to`, in order."""
        events: list[_Line] = []
        for type_, schema_version, lines in await self._database.fetch(_PAGE, shard, after, up_to):
            events += self._decode(type_, schema_version, lines)
        events.sort(key=attrgetter("position"))
        return events

    def _decode(self, type_: str, schema_version: int, lines: str) -> list[_Line]:
        decoder = self._decoder(type_, schema_version)
        if decoder is not None:
            with contextlib.suppress(ValueError):  # one of them cannot be read; below each speaks for itself
                return decoder.decode_lines(lines)
        found = _decoder_of(type_, schema_version, Raw).decode_lines(lines)
        return [replace(line, data=self._codec.decode(type_, schema_version, bytes(line.data))) for line in found]

    def _decoder(self, type_: str, schema_version: int) -> "Decoder[_Line] | None":
        """None where events of this kind have to be led up to today's, or are not known."""
        kind = type_, schema_version
        if kind not in self._decoders:
            event = self._codec.current(*kind)
            self._decoders[kind] = None if event is None else _decoder_of(*kind, event)
        return self._decoders[kind]


def _decoder_of(type_: str, schema_version: int, data: type) -> "Decoder[_Line]":
    line = defstruct(
        type_,
        [("data", data), ("type", str, type_), ("schema_version", int, schema_version)],
        bases=(_Line,),
        frozen=True,
        array_like=True,
    )
    return Decoder(line)
