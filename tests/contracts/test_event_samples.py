"""A sample of every event type and version ever released is read as today's event, for ever.

Samples are added and never edited: a change of theirs is a change of what lies in people's logs.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS, UPCASTERS
from okr_eventstore.codec import Codec

SAMPLES = sorted((Path(__file__).parents[1] / "fixtures" / "events").glob("*/*.json"))


def codec_of(service: str) -> Codec:
    return Codec(EVENTS[service], SCHEMA_VERSIONS, UPCASTERS)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_released_event_is_read_as_todays(path: Path) -> None:
    codec = codec_of(path.parent.name)
    name, _, version = path.stem.rpartition(".v")

    event = codec.decode(name, int(version), path.read_bytes())

    assert type(event).__name__ == name
    if int(version) == SCHEMA_VERSIONS[name]:
        kept = json.loads(path.read_text())
        written = json.loads(codec.encode(event)[2])
        assert _as_kept(written, kept) == kept  # fields added since have their defaults


def _as_kept(written: Any, kept: Any) -> Any:
    """What is written today, without the fields that were added since."""
    if isinstance(kept, dict) and isinstance(written, dict):
        return {field: _as_kept(written.get(field), value) for field, value in kept.items()}
    if isinstance(kept, list) and isinstance(written, list) and len(kept) == len(written):
        return [_as_kept(each, value) for each, value in zip(written, kept, strict=True)]
    return written


def test_every_event_type_and_version_has_its_sample() -> None:
    expected = {
        f"{service}/{event.__name__}.v{version}"
        for service, events in EVENTS.items()
        for event in events
        for version in range(1, SCHEMA_VERSIONS[event.__name__] + 1)
    }
    assert {f"{path.parent.name}/{path.stem}" for path in SAMPLES} == expected


def test_event_types_are_unique_over_all_services() -> None:
    names = [event.__name__ for events in EVENTS.values() for event in events]
    assert len(names) == len(set(names))


def test_every_older_version_leads_up_to_todays() -> None:
    missing = [
        (name, version)
        for name, today in SCHEMA_VERSIONS.items()
        for version in range(1, today)
        if (name, version) not in UPCASTERS
    ]
    assert missing == []
