"""Events as the log stores them, as encoded records: read in pages over many shards, and never decoded."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from okr_chassis import trail
from okr_chassis.kafka.batches import count, header, header_name, length_of
from okr_chassis.kafka.records import ENVELOPE, metadata_headers
from okr_eventstore.database import Database

_METADATA = msgspec.json.Decoder(dict[str, str])

# Nearly all values as text, which is how headers want them. Behind `limit_bytes` of data nothing is sent over, but for
# the first event of a shard, whatever its size: else it would never be.
_PAGE = """
    SELECT w.shard, s.epoch, s.head, e.position, e.version, e.type, e.schema_version, e.value, e.metadata,
           convert_to(e.organization_id::text, 'UTF8') AS organization_id,
           convert_to(e.event_id::text, 'UTF8') AS event_id,
           convert_to(e.stream_id, 'UTF8') AS stream_id,
           convert_to(to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') AS occurred_at,
           convert_to(to_char(e.recorded_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') AS recorded_at,
           convert_to(e.command_id::text, 'UTF8') AS command_id,
           convert_to(e.causation_id::text, 'UTF8') AS causation_id,
           convert_to(e.correlation_id::text, 'UTF8') AS correlation_id,
           convert_to(e.actor, 'UTF8') AS actor
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

_ID = header_name("ce_id")
_SUBJECT = header_name("ce_subject")
_TIME = header_name("ce_time")
_POSITION = header_name("ce_position")
_VERSION = header_name("ce_version")
_RECORDED_AT = header_name("ce_recordedat")
_ORGANIZATION = header_name("ce_organization")
_COMMAND_ID = header_name("ce_commandid")
_CORRELATION_ID = header_name("ce_correlationid")
_ACTOR = header_name("ce_actor")
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
        shard, epoch, head, position, version, type_, schema_version, value, metadata, organization_id, event_id,
        stream_id, occurred_at, recorded_at, command_id, causation_id, correlation_id, actor,
    ) in rows:  # fmt: skip
        if shard != current:
            current = shard
            bodies, steps = [], []
            pages.append(Page(shard, after[shard], head, bodies, steps))
            of_the_shard = _of_the_shard(service, shard, epoch)
        headers, more = _ALWAYS, b""
        if causation_id is not None:
            headers += 1
            more = header("ce_causationid", causation_id)
        if metadata is not None:
            for name, content in metadata_headers(_METADATA.decode(metadata)):
                headers += 1
                more += header(name, content)
        if followed:
            traceparent = _METADATA.decode(metadata).get("traceparent") if metadata is not None else None
            steps.append(trail.Step(service, type_, shard, position, correlation_id.decode(), traceparent))
        place, number = b"%d" % position, b"%d" % version
        bodies.append(b"".join((
            length_of(organization_id), organization_id, length_of(value), value, count(headers),
            of_the_shard, _of_the_type(type_, schema_version),
            _ID, length_of(event_id), event_id,
            _SUBJECT, length_of(stream_id), stream_id,
            _TIME, length_of(occurred_at), occurred_at,
            _POSITION, length_of(place), place,
            _VERSION, length_of(number), number,
            _RECORDED_AT, length_of(recorded_at), recorded_at,
            _ORGANIZATION, length_of(organization_id), organization_id,
            _COMMAND_ID, length_of(command_id), command_id,
            _CORRELATION_ID, length_of(correlation_id), correlation_id,
            _ACTOR, length_of(actor), actor,
            more,
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
