"""Events as the log stores them, as encoded records: read in pages over many shards, and never decoded."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from okr_chassis.kafka.batches import count, header, header_name, length_of
from okr_chassis.kafka.records import ENVELOPE, metadata_headers
from okr_chassis.telemetry import trail
from okr_eventstore.database import Database

_METADATA = msgspec.json.Decoder(dict[str, str])

_FIXED = (
    ("ce_id", "e.event_id", 36),
    ("ce_time", "{occurred_at}", 27),
    ("ce_recordedat", "{recorded_at}", 27),
    ("ce_organization", "e.organization_id", 36),
    ("ce_commandid", "e.command_id", 36),
    ("ce_correlationid", "e.correlation_id", 36),
)
"""Headers whose values have the same length in every event, and what makes them. PostgreSQL puts them together as they
stand in a record: a column less costs both sides more than the text takes to write. The organisation's and the
correlation's places in it are read from here."""


def _fixed() -> tuple[str, slice, slice]:
    """The SQL of it, where in it the organisation stands, and where the correlation."""
    moment = """to_char(e.{}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    parts, places, at = [], {}, 0
    for name, made_of, length in _FIXED:
        before = header_name(name) + length_of(bytes(length))
        assert before.isascii(), "lengths below 64 are characters too"
        letters = "".join(rf"\x{letter:02x}" for letter in before)
        parts += [f"E'{letters}'", made_of]
        at += len(before) + length
        places[name] = slice(at - length, at)
    text = ", ".join(parts)
    for name in ("occurred_at", "recorded_at"):
        text = text.replace(f"{{{name}}}", moment.format(name))
    return f"convert_to(concat({text}), 'UTF8')", places["ce_organization"], places["ce_correlationid"]


_FIXED_SQL, _ORGANIZATION, _CORRELATION_ID = _fixed()

# Behind `limit_bytes` of data nothing is sent over, but for the first event of a shard, whatever its size: else it
# would never be.
_PAGE = f"""
    SELECT w.shard, s.epoch, s.head, e.position, e.version, e.type, e.schema_version, e.value, e.metadata,
           {_FIXED_SQL} AS fixed, e.stream_id, e.actor, e.causation_id::text
      FROM unnest($1::smallint[], $2::bigint[]) WITH ORDINALITY AS w(shard, after, nth)
      JOIN shard s ON s.shard = w.shard
      CROSS JOIN LATERAL (
          SELECT p.*, sum(octet_length(p.value)) OVER (ORDER BY p.position ROWS UNBOUNDED PRECEDING)
                      - octet_length(p.value) AS bytes_before
            FROM (SELECT *, convert_to(data::text, 'UTF8') AS value
                    FROM event WHERE shard = w.shard AND position > w.after ORDER BY position LIMIT $3) p) e
     WHERE e.bytes_before < $4
     ORDER BY w.nth, e.position
"""

_UNKNOWN = """
    SELECT n.shard, n.position
      FROM unnest($1::smallint[], $2::bigint[], $3::uuid[]) AS n(shard, position, event_id)
      LEFT JOIN event e ON e.shard = n.shard AND e.position = n.position
     WHERE e.event_id IS DISTINCT FROM n.event_id ORDER BY n.shard LIMIT 1
"""

_SUBJECT = header_name("ce_subject")
_POSITION = header_name("ce_position")
_VERSION = header_name("ce_version")
_ID_LENGTH = length_of(bytes(36))
_ALWAYS = 17
"""How many headers every record has."""


class Page(NamedTuple):
    """What follows a position of one shard."""

    shard: int
    after: int
    head: int
    """Where the shard ended when it was read."""
    bodies: list[bytes]
    """The records of `after` + 1, `after` + 2, …: all of them but for their places in a batch."""
    steps: list[trail.Step]
    """The same events for whoever follows them; none while nobody does."""


async def read_pages(
    database: Database, service: str, after: Mapping[int, int], *, limit: int, limit_bytes: int
) -> list[Page]:
    """What follows these positions, shard by shard in the given order, up to so much of each shard."""
    rows = await database.fetch(_PAGE, list(after), list(after.values()), limit, limit_bytes)
    pages: list[Page] = []
    bodies: list[bytes] = []
    steps: list[trail.Step] = []
    followed = trail.wanted()
    current = -1
    for (
        shard, epoch, head, position, version, type_, schema_version, value, metadata, fixed, stream_id, actor,
        causation_id,
    ) in rows:  # fmt: skip
        if shard != current:
            current = shard
            bodies, steps = [], []
            pages.append(Page(shard, after[shard], head, bodies, steps))
            of_the_shard = _of_the_shard(service, shard, epoch)
        headers, more = _ALWAYS, b""
        if causation_id is not None:
            headers += 1
            more = header("ce_causationid", causation_id.encode())
        if metadata is not None:
            for name, content in metadata_headers(_METADATA.decode(metadata)):
                headers += 1
                more += header(name, content)
        if followed:
            traceparent = _METADATA.decode(metadata).get("traceparent") if metadata is not None else None
            correlation_id = fixed[_CORRELATION_ID].decode()
            steps.append(trail.Step(service, type_, shard, position, correlation_id, traceparent))
        stream, place, number = stream_id.encode(), b"%d" % position, b"%d" % version
        bodies.append(b"".join((
            _ID_LENGTH, fixed[_ORGANIZATION], length_of(value), value, count(headers),
            of_the_shard, _of_the_type(type_, schema_version), fixed,
            _SUBJECT, length_of(stream), stream,
            _POSITION, length_of(place), place,
            _VERSION, length_of(number), number,
            _of_the_actor(actor), more,
        )))  # fmt: skip
    return pages


async def find_unknown(database: Database, events: Mapping[int, tuple[int, UUID]]) -> tuple[int, int] | None:
    """The shard and position of an event that this log has not, or has another in its place; None if it knows all."""
    positions, ids = [position for position, _ in events.values()], [event_id for _, event_id in events.values()]
    row = await database.fetchrow(_UNKNOWN, list(events), positions, ids)
    return (row["shard"], row["position"]) if row is not None else None


@lru_cache(maxsize=4096)
def _of_the_shard(service: str, shard: int, epoch: int) -> bytes:
    return b"".join((
        *(header(name, content) for name, content in ENVELOPE.items()),
        header("ce_source", f"/okr/{service}".encode()),
        header("ce_shard", b"%d" % shard),
        header("ce_epoch", b"%d" % epoch),
    ))  # fmt: skip


@lru_cache(maxsize=4096)
def _of_the_type(type_: str, schema_version: int) -> bytes:
    return header("ce_type", type_.encode()) + header("ce_schemaversion", b"%d" % schema_version)


@lru_cache(maxsize=4096)
def _of_the_actor(actor: str) -> bytes:
    return header("ce_actor", actor.encode())
