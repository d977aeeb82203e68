"""The internal topics as an AsyncAPI 3 document: channels as FastStream subscribes to them, messages as our registry
knows them, event by event.

    python -m okr_chassis.kafka.asyncapi > docs/reference/asyncapi.json
"""

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from faststream.specification import AsyncAPI
from msgspec import Struct

from okr_chassis.kafka.subscriber import Records, broker_of, subscribe
from okr_chassis.kafka.topics import topic_of
from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS

TITLE = "OKR platform: internal events"
VERSION = "1"
"""Of the records' shape, as in the topics' names."""
DESCRIPTION = """\
One topic a service. A record is one event of its log: the value is the event's JSON as it is stored, in which free text
is sealed; everything else stands in headers, after CloudEvents 1.0 in binary mode. The key is the organisation.

Inside a shard records come in the order of `ce_position`, which has no hole; a record may come again, and after a
repetition what follows it comes again as well. Whoever keeps each shard's last position sees each event once.

These topics are the platform's own. What is promised to others is the public feed."""

_UUID = {"type": "string", "format": "uuid"}
_MOMENT = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, to the microsecond"}
_NUMBER = {"type": "string", "pattern": "^[0-9]+$"}

HEADERS: Mapping[str, Mapping[str, Any]] = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "content-type": {"type": "string", "const": "application/json"},
    "ce_id": {**_UUID, "description": "the event's own id"},
    "ce_source": {"type": "string", "description": "whose event it is: /okr/<service>"},
    "ce_type": {"type": "string", "description": "which of the messages this is"},
    "ce_subject": {"type": "string", "description": "the stream: one aggregate"},
    "ce_time": {**_MOMENT, "description": "when it was true: RFC 3339, UTC, to the microsecond"},
    "ce_schemaversion": {**_NUMBER, "description": "the version of the payload's schema"},
    "ce_shard": {**_NUMBER, "description": "one of 256 totally ordered logs; an organisation lies in one for ever"},
    "ce_epoch": {**_NUMBER, "description": "grows when the log is restored from a backup"},
    "ce_position": {**_NUMBER, "description": "place in the shard: 1, 2, 3 … without a hole"},
    "ce_version": {**_NUMBER, "description": "place in the stream: 1, 2, 3 … without a hole"},
    "ce_recordedat": {**_MOMENT, "description": "when we knew: RFC 3339, UTC, to the microsecond"},
    "ce_organization": {**_UUID, "description": "the organisation, which is the key as well"},
    "ce_commandid": {**_UUID, "description": "the command that made it"},
    "ce_correlationid": {**_UUID, "description": "what it belongs to as seen by whoever asked"},
    "ce_actor": {"type": "string", "description": "who asked: an opaque id"},
}
"""Headers of every record."""
SOMETIMES: Mapping[str, Mapping[str, Any]] = {
    "ce_causationid": {**_UUID, "description": "the event that led to the command, where one did"},
    "ce_metadata": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "what else came along",
    },
    "traceparent": {"type": "string", "description": "W3C Trace Context"},
    "tracestate": {"type": "string", "description": "W3C Trace Context"},
}


def document() -> dict[str, Any]:
    """The document, the same for the same code."""
    found = _channels()
    schemas = _schemas(event for events in EVENTS.values() for event in events)
    messages: dict[str, Any] = {}
    for service, events in EVENTS.items():
        channel, operation = found["channels"][service], found["operations"][service]
        channel["messages"] = {}
        operation["messages"] = []
        for event in events:
            name = event.__name__
            messages[name] = _message(event)
            channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
            operation["messages"].append({"$ref": f"#/channels/{service}/messages/{name}"})
    # FastStream keeps its subscribers in a set; the document should not change its order for that.
    for part in ("channels", "operations"):
        found[part] = {service: found[part][service] for service in EVENTS}
    return found | {"components": {"messages": messages, "schemas": schemas}}


def _channels() -> dict[str, Any]:
    """What FastStream knows: which topics are read, and how."""
    broker = broker_of(["localhost:9092"])
    for service in EVENTS:
        subscriber = subscribe(
            broker,
            topic_of(service),
            group="okr.<service>.<subscription>",
            instance="<process>",
            title=service,
            description=f"What the {service} service has recorded.",
        )
        subscriber(_heard)
    specification = AsyncAPI(broker, title=TITLE, version=VERSION, description=DESCRIPTION, schema_version="3.0.0")
    found: dict[str, Any] = json.loads(specification.to_specification().to_json())
    return found


async def _heard(records: Records) -> None:
    """Stands for the consumers, which are the services' own."""


def _schemas(events: Iterable[type[Struct]]) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(list(events), ref_template="#/components/schemas/{name}")
    headers = {
        "title": "RecordHeaders",
        "type": "object",
        "properties": {**HEADERS, **SOMETIMES},
        "required": list(HEADERS),
    }
    return {"RecordHeaders": headers, **dict(sorted(schemas.items()))}


def _message(event: type[Struct]) -> dict[str, Any]:
    name = event.__name__
    message = {
        "name": name,
        "title": f"{name}, version {SCHEMA_VERSIONS[name]}",
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/RecordHeaders"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "bindings": {"kafka": {"key": dict(_UUID), "bindingVersion": "0.4.0"}},
    }
    told = inspect.cleandoc(event.__dict__.get("__doc__") or "")
    return message | ({"summary": told.partition("\n\n")[0].replace("\n", " ")} if told else {})


def text() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
