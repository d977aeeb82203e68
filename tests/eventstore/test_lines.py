"""A page read for a fold says of each event what the ordinary way of reading says."""

from collections.abc import AsyncIterator

import pytest
from msgspec import Struct

from okr_eventstore.codec import UnknownEvent, UnreadableEvent
from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent
from okr_eventstore.projection import ProjectedEvent
from tests.eventstore.garden import ORCHARD, SHARD, Garden, Tagged, planted, watered

FIELDS = (
    "shard", "position", "organization_id", "stream_id", "version", "type", "schema_version", "recorded_at",
    "occurred_at", "actor", "data",
)  # fmt: skip
"""All that ProjectedEvent has."""


class Fenced(Struct, frozen=True):
    """Of another release: this one has never heard of it."""

    with_what: str


@pytest.fixture
async def garden(database: Database) -> AsyncIterator[Garden]:
    garden = Garden(database, Fenced)
    await garden.log.start()
    yield garden
    await garden.log.close()


def said(event: ProjectedEvent | RecordedEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in FIELDS}


async def test_a_page_is_what_is_read_event_by_event(garden: Garden) -> None:
    for stream in ('a "quoted" one', "back\\slash", "ünïcödé, with a comma"):
        await garden.append(stream, planted(stream), watered("0.70", note='two\nlines and a "word"'))
        await garden.append(stream, watered(2), watered(3))
    source = garden.source()
    ordinary = await source.backfill(SHARD, 0, 12)
    page = await source.page(SHARD, 0, 12)
    assert [said(event) for event in page] == [said(event) for event in ordinary]
    assert [type(event.data) for event in page] == [type(event.data) for event in ordinary]
    assert [event.position for event in await source.page(SHARD, 4, 9)] == [5, 6, 7, 8, 9]


async def test_what_cannot_be_read_or_is_not_known_says_so_in_its_place(garden: Garden, database: Database) -> None:
    await garden.append("fern", planted(), watered(1), Fenced("stones"), watered(2))
    await database.execute(
        """INSERT INTO event (shard, position, organization_id, stream_id, version, event_id, type, schema_version,
                              recorded_at, occurred_at, command_id, correlation_id, actor, data)
           SELECT shard, position + number, organization_id, stream_id, version + number, gen_random_uuid(), type,
                  schema_version + newer, recorded_at, occurred_at, gen_random_uuid(), correlation_id, actor, said
             FROM event,
                  (VALUES (1, 0, '{"litres": "much"}'::json), (2, 7, '{"litres": "1"}')) AS wrong(number, newer, said)
            WHERE shard = $1 AND position = 4""",
        SHARD,
    )
    elsewhere = Garden(database).source()  # whose codec has never heard of fences
    ordinary = await elsewhere.backfill(SHARD, 0, 6)
    page = await elsewhere.page(SHARD, 0, 6)
    assert [said(event) for event in page] == [said(event) for event in ordinary]
    assert [type(event.data).__name__ for event in page][2:] == [
        UnknownEvent.__name__, "Watered", UnreadableEvent.__name__, UnreadableEvent.__name__,
    ]  # fmt: skip


async def test_events_of_several_kinds_come_in_the_order_of_their_positions(garden: Garden) -> None:
    for number in range(30):
        await garden.append("fern", watered(number) if number % 3 else Tagged("tall", ORCHARD))
    assert [event.position for event in await garden.source().page(SHARD, 0, 30)] == list(range(1, 31))
