"""An event as a Kafka record and back: CloudEvents 1.0 in binary mode, every header readable text.

The value is the event's JSON exactly as the log keeps it (sealed text stays sealed), the key its organisation. All
else stands in headers, so that a stranger's consumer can route and deduplicate without opening a value.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

import msgspec

from okr_eventstore.codec import Codec
from okr_eventstore.model import RecordedEvent

Headers = Sequence[tuple[str, bytes]]

ENVELOPE = {"ce_specversion": b"1.0", "content-type": b"application/json"}
_METADATA = msgspec.json.Decoder(dict[str, str])
_IDS = tuple[UUID, UUID, UUID, UUID]
_TRACES = ("traceparent", "tracestate")
"""Metadata that has a header of its own name, known far beyond us."""


class RecordError(Exception):
    """A record that no relay of ours wrote, or that was damaged on its way."""


class Record(NamedTuple):
    """What a topic holds of one event."""

    key: bytes
    value: bytes
    headers: Headers


class Carried(Protocol):
    """A record as it comes back, ours or a consumer's own."""

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Headers: ...


class Place(NamedTuple):
    """Where a record's event stands in its service's log. Nothing else need be read to drop a duplicate."""

    shard: int
    epoch: int
    position: int


def record_of(event: RecordedEvent, epoch: int, service: str, data: bytes) -> Record:
    """The record of an event whose JSON is `data`: as stored, which may be older than the decoded event."""
    headers = {
        **ENVELOPE,
        "ce_id": str(event.event_id).encode(),
        "ce_source": f"/okr/{service}".encode(),
        "ce_type": event.type.encode(),
        "ce_subject": event.stream_id.encode(),
        "ce_time": text_of(event.occurred_at).encode(),
        "ce_schemaversion": b"%d" % event.schema_version,
        "ce_shard": b"%d" % event.shard,
        "ce_epoch": b"%d" % epoch,
        "ce_position": b"%d" % event.position,
        "ce_version": b"%d" % event.version,
        "ce_recordedat": text_of(event.recorded_at).encode(),
        "ce_organization": str(event.organization_id).encode(),
        "ce_commandid": str(event.command_id).encode(),
        "ce_correlationid": str(event.correlation_id).encode(),
        "ce_actor": event.actor.encode(),
    }
    if event.causation_id is not None:
        headers["ce_causationid"] = str(event.causation_id).encode()
    headers.update(metadata_headers(event.metadata))
    return Record(headers["ce_organization"], data, list(headers.items()))


def metadata_headers(metadata: Mapping[str, str]) -> Headers:
    """What travels with an event: a trace under its usual names, anything else together as JSON."""
    headers = [(name, metadata[name].encode()) for name in _TRACES if name in metadata]
    others = {name: value for name, value in metadata.items() if name not in _TRACES}
    if others:
        headers.append(("ce_metadata", msgspec.json.encode(others)))
    return headers


def event_of(record: Carried, codec: Codec) -> RecordedEvent:
    """The event a record was made of. Raises RecordError for a record that is not ours.

    What this release cannot decode says so in place of its data, as it does when it is read from the log.
    """
    found = opened(record.headers)
    return event_in(found, place_in(found), record.value, codec)


def place_of(headers: Headers) -> Place:
    """Where a record's event stands. Raises RecordError for a record that is not ours."""
    return place_in(opened(headers))


def opened(headers: Headers) -> Mapping[str, bytes]:
    """A record's headers by name, for those who look at its place first and at the rest only when it is new."""
    try:
        return dict(headers)
    except (TypeError, ValueError) as error:
        raise RecordError(f"no record of a relay: {error}; who else writes to this topic?") from error


def place_in(found: Mapping[str, bytes]) -> Place:
    """Where a record's event stands. Raises RecordError for a record that is not ours."""
    try:
        return _place(found)
    except (LookupError, ValueError, TypeError) as error:
        raise RecordError(f"no record of a relay: {_why(error)}; who else writes to this topic?") from error


def event_in(found: Mapping[str, bytes], place: Place, value: bytes | None, codec: Codec) -> RecordedEvent:
    """The event of an opened record. Raises RecordError for a record that is not ours."""
    try:
        causation = found.get("ce_causationid")
        metadata = _METADATA.decode(found["ce_metadata"]) if "ce_metadata" in found else {}
        for name in _TRACES:
            if name in found:
                metadata[name] = found[name].decode()
        type_ = found["ce_type"].decode()
        schema_version = int(found["ce_schemaversion"])
        # UUID() itself takes longer than all the rest of an event together.
        organization_id, event_id, command_id, correlation_id = msgspec.convert(
            (
                found["ce_organization"].decode(),
                found["ce_id"].decode(),
                found["ce_commandid"].decode(),
                found["ce_correlationid"].decode(),
            ),
            _IDS,
        )
        return RecordedEvent(
            place.shard,
            place.position,
            organization_id,
            found["ce_subject"].decode(),
            int(found["ce_version"]),
            event_id,
            type_,
            schema_version,
            _moment(found["ce_recordedat"]),
            _moment(found["ce_time"]),
            command_id,
            UUID(causation.decode()) if causation is not None else None,
            correlation_id,
            found["ce_actor"].decode(),
            codec.decode(type_, schema_version, value or b""),
            metadata,
        )
    except (LookupError, ValueError, AttributeError) as error:
        raise RecordError(f"no record of a relay: {_why(error)}; who else writes to this topic?") from error


def id_of(headers: Headers) -> UUID:
    """The id of a record's event. Raises RecordError for a record that is not ours."""
    try:
        return UUID(opened(headers)["ce_id"].decode())
    except (LookupError, ValueError) as error:
        raise RecordError(f"no record of a relay: {_why(error)}; who else writes to this topic?") from error


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _place(headers: Mapping[str, bytes]) -> Place:
    return Place(int(headers["ce_shard"]), int(headers["ce_epoch"]), int(headers["ce_position"]))


def _moment(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode())


def _why(error: Exception) -> str:
    return f"header {error} is missing" if isinstance(error, LookupError) else str(error)
