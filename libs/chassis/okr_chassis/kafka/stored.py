"""Events as the log stores them, as records: read in pages over many shards, and never decoded."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from okr_chassis.kafka.records import Record, metadata_headers
from okr_eventstore.database import Database

_METADATA = msgspec.json.Decoder(dict[str, str])

# All values as text, which is how headers want them. Behind `limit_bytes` of data nothing is sent over, but for the
# first event of a shard, whatever its size: else it would never be.
_PAGE = """
    SELECT w.shard, e.position, s.head, e.value, e.metadata,
           convert_to(e.organization_id::text, 'UTF8') AS organization_id,
           convert_to(e.event_id::text, 'UTF8') AS event_id,
           convert_to(e.type, 'UTF8') AS type,
           convert_to(e.stream_id, 'UTF8') AS stream_id,
           convert_to(to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') AS occurred_at,
           convert_to(e.schema_version::text, 'UTF8') AS schema_version,
           convert_to(w.shard::text, 'UTF8') AS shard_text,
           convert_to(s.epoch::text, 'UTF8') AS epoch,
           convert_to(e.position::text, 'UTF8') AS position_text,
           convert_to(e.version::text, 'UTF8') AS version,
           convert_to(to_char(e.recorded_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') AS recorded_at,
           convert_to(e.command_id::text, 'UTF8') AS command_id,
           convert_to(e.causation_id::text, 'UTF8') AS causation_id,
           convert_to(e.correlation_id::text, 'UTF8') AS correlation_id,
           convert_to(e.actor, 'UTF8') AS actor
      FROM unnest($1::smallint[], $2::bigint[]) AS w(shard, after)
      JOIN shard s ON s.shard = w.shard
      CROSS JOIN LATERAL (
          SELECT p.*, sum(octet_length(p.value)) OVER (ORDER BY p.position) - octet_length(p.value) AS bytes_before
            FROM (SELECT *, convert_to(data::text, 'UTF8') AS value
                    FROM event WHERE shard = w.shard AND position > w.after ORDER BY position LIMIT $3) p) e
     WHERE e.bytes_before < $4
     ORDER BY array_position($1::smallint[], w.shard), e.position
"""


class Stored(NamedTuple):
    """An event on its way out."""

    shard: int
    position: int
    head: int
    """Where its shard ended when it was read."""
    record: Record


async def read_stored(
    database: Database, service: str, shards: Sequence[int], after: Sequence[int], *, limit: int, limit_bytes: int
) -> list[Stored]:
    """What follows these positions, shard by shard in the given order, up to so much of each shard."""
    source = f"/okr/{service}".encode()
    rows = await database.fetch(_PAGE, shards, after, limit, limit_bytes)
    events = []
    for (
        shard,
        position,
        head,
        value,
        metadata,
        organization_id,
        event_id,
        type_,
        stream_id,
        occurred_at,
        schema_version,
        shard_text,
        epoch,
        position_text,
        version,
        recorded_at,
        command_id,
        causation_id,
        correlation_id,
        actor,
    ) in rows:
        headers = [
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/json"),
            ("ce_id", event_id),
            ("ce_source", source),
            ("ce_type", type_),
            ("ce_subject", stream_id),
            ("ce_time", occurred_at),
            ("ce_schemaversion", schema_version),
            ("ce_shard", shard_text),
            ("ce_epoch", epoch),
            ("ce_position", position_text),
            ("ce_version", version),
            ("ce_recordedat", recorded_at),
            ("ce_organization", organization_id),
            ("ce_commandid", command_id),
            ("ce_correlationid", correlation_id),
            ("ce_actor", actor),
        ]
        if causation_id is not None:
            headers.append(("ce_causationid", causation_id))
        if metadata is not None:
            headers += metadata_headers(_METADATA.decode(metadata))
        events.append(Stored(shard, position, head, Record(organization_id, value, headers)))
    return events
