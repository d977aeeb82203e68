"""The document of the internal topics says what really travels."""

from pathlib import Path
from typing import Any

from okr_chassis.kafka import asyncapi
from okr_chassis.kafka.records import record_of
from okr_contracts.registry import EVENTS
from tests.eventstore.garden import SHARD, Garden, watered

ROOT = Path(__file__).parents[2]
DOCUMENT = asyncapi.document()


def test_the_committed_document_is_what_the_code_generates() -> None:
    committed = (ROOT / "docs" / "reference" / "asyncapi.json").read_text()
    assert committed == asyncapi.text(), "python -m okr_chassis.kafka.asyncapi > docs/reference/asyncapi.json"


def test_every_event_of_every_service_is_a_message_of_its_topic() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    told = {channel["address"]: sorted(channel["messages"]) for channel in DOCUMENT["channels"].values()}
    assert told == {
        f"okr.{service}.v1": sorted(event.__name__ for event in events) for service, events in EVENTS.items()
    }


def test_every_reference_leads_somewhere() -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            return [part["$ref"]] if "$ref" in part else [each for value in part.values() for each in references(value)]
        return [each for value in part for each in references(value)] if isinstance(part, list) else []

    found = references(DOCUMENT)
    assert len(found) > 100
    for reference in found:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


async def test_records_have_the_headers_that_are_told_of(garden: Garden) -> None:
    await garden.append("fern", watered(1))
    (event,) = await garden.log.read_shard(SHARD)
    headers = dict(record_of(event, 1, "garden", b"{}").headers)
    assert headers.keys() == asyncapi.HEADERS.keys()
