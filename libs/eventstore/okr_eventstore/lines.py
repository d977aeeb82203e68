"""A page of a shard as one text, a line an event: PostgreSQL joins them, msgspec decodes them all in one go.

A row of many columns costs the driver more than decoding the event in it. A fold needs only some of the columns, so
these travel as lines of text, each behind its kind, and come out as events with nothing done for each in Python.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, Union
from uuid import UUID

from msgspec import Raw, Struct, defstruct
from msgspec.json import Decoder

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.projection import ProjectedEvent

_PAGE = r"""
    SELECT string_agg(concat('["', type, ' ', schema_version, '",', shard, ',', position, ',"', organization_id, '",',
                             to_json(stream_id), ',', version, ',', to_json(recorded_at), ',', to_json(occurred_at),
                             ',', to_json(actor), ',', data, ']'), E'\n')
      FROM event WHERE shard = $1 AND position > $2 AND position <= $3
"""


class _Line(Struct, frozen=True, array_like=True):
    """What a line holds behind its kind, in this order. Type and version are those of its kind."""

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
        self._decoder = LineDecoder(codec)

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        """The events `after` < position ≤ `up_to`, in order."""
        text = await self._database.fetchval(_PAGE, shard, after, up_to)
        return self._decoder.decode(text) if text is not None else []


class LineDecoder:
    """Makes events of lines, whoever wrote them."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def decode(self, text: str) -> list[ProjectedEvent]:
        """The events of at least one line, in the order of their positions."""
        decoder = self._decoder
        try:
            events = decoder.decode_lines(text)
        except ValueError:  # at least one of them is of no kind that we know, or damaged: each speaks for itself
            events = [self._decode(line) for line in text.split("\n")]
        return sorted(events, key=attrgetter("position"))

    @cached_property
    def _decoder(self) -> "Decoder[_Line]":
        """Knows every kind of event that is written today, and decodes to its own type of line."""
        lines = [
            defstruct(
                type_,
                [("data", event), ("type", str, type_), ("schema_version", int, version)],
                bases=(_Line,),
                frozen=True,
                array_like=True,
                tag_field="kind",
                tag=f"{type_} {version}",
            )
            for (type_, version), event in self._codec.current.items()
        ]
        return Decoder(Union[tuple(lines)])  # noqa: UP007 - there is no other way to say it of a list

    def _decode(self, line: str) -> _Line:
        decoder = self._decoder
        with contextlib.suppress(ValueError):
            return decoder.decode(line)
        kind, shard, position, organization_id, stream_id, of_stream, recorded_at, occurred_at, actor, data = (
            _UNREAD.decode(line)
        )
        name, _, version = kind.rpartition(" ")
        event = self._codec.decode(name, int(version), bytes(data))
        envelope = (shard, position, organization_id, stream_id, of_stream, recorded_at, occurred_at, actor)
        return _Line(*envelope, event, name, int(version))


_UNREAD = Decoder(tuple[str, int, int, UUID, str, int, datetime, datetime, str, Raw])
"""A line of any kind, its event as it stands."""
