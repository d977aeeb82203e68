"""The judge of consumers catches each way of getting it wrong, and says nothing where nothing is."""

import random
from collections.abc import Iterable
from uuid import UUID

import pytest

from okr_chassis.kafka.records import event_of
from okr_chassis.kafka.relay import Relay
from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent, shard_of
from tests.chaos.history import Held, Stored, read
from tests.chaos.kafka.chronicle import NOTHING, Came, Heard, faults_of_hearing, faults_of_rows, linked
from tests.chaos.kafka.hostile import hostile, swapped
from tests.chaos.writers import SAYS
from tests.eventstore.garden import GARDEN, SHARD, Garden, Watered, watered
from tests.support.kafka import Topics
from tests.support.relays import carried, organizations, relaying

EVENTS = [
    Stored(SHARD, position, (GARDEN, "fern"), position, UUID(int=position), f"says {position}")
    for position in range(1, 6)
]
LOG = Held(EVENTS, {shard_of(GARDEN): 5})


def applied(events: Iterable[Stored]) -> dict[int, Came]:
    """What a consumer that is handed exactly these makes of them."""
    found: dict[int, Came] = {}
    for event in events:
        count, reached, jumps, chain = found.get(event.shard, Came(0, 0, 0, NOTHING))
        found[event.shard] = Came(
            count + 1,
            event.position,
            jumps + (event.position != reached + 1),
            linked(chain, event.position, event.stream[1], event.version, event.says),
        )
    return found


def listened(events: Iterable[Stored]) -> list[Heard]:
    return [Heard(event.shard, event.position, event.says) for event in events]


FORGED = EVENTS[2]._replace(says="says otherwise")
WRONGS = {
    "lost": (EVENTS[:2] + EVENTS[3:], "1 events were not applied", "never heard: [3]"),
    "the end lost": (EVENTS[:4], "1 events were not applied", "never heard: [5]"),
    "everything lost": ([], "the rows say None", "never heard: [1, 2, 3, 4, 5]"),
    "doubled": ([*EVENTS[:3], *EVENTS[2:]], "1 events were applied twice", "is not what was said"),
    "swapped": ([EVENTS[0], EVENTS[2], EVENTS[1], *EVENTS[3:]], "out of order", "out of order"),
    "forged": ([*EVENTS[:2], FORGED, *EVENTS[3:]], "other events were applied", "is not what was said"),
    "another's": ([*EVENTS, FORGED._replace(shard=SHARD + 1)], "the log holds None", "is not what was said"),
}


def test_a_consumer_that_did_everything_once_and_in_order_is_left_in_peace() -> None:
    assert faults_of_rows(applied(EVENTS), LOG) == []
    assert faults_of_hearing(listened(EVENTS), LOG) == []


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_consumer_that_got_it_wrong_is_caught(wrong: str) -> None:
    events, told_of_rows, told_of_hearing = WRONGS[wrong]
    assert any(told_of_rows in fault for fault in faults_of_rows(applied(events), LOG))
    assert any(told_of_hearing in fault for fault in faults_of_hearing(listened(events), LOG))


async def test_a_consumer_that_takes_the_topic_as_it_comes_is_caught(database: Database, topics: Topics) -> None:
    """As consumers are that believe in Kafka's offsets alone: what comes again, they do again."""
    await topics.provision("garden")
    garden = Garden(database)
    await garden.log.start()
    relay = Relay("garden", database, topics.servers, partitions=8, owner="test", prefix=topics.prefix, log=garden.log)
    async with relaying(relay), hostile(topics) as producer:
        for organization_id in organizations(8):
            await garden.append("fern", watered(1, "a"), watered(2, "b"), organization_id=organization_id)
        await carried(relay)
        log = await read(database.dsn, database.schema, SAYS)
        relayed = [stored(event_of(record, garden.codec)) for record in await producer.records()]
        assert faults_of_rows(applied(relayed), log) == []

        await producer.write(swapped((await producer.records())[::3], random.Random(1)))
        taken = [stored(event_of(record, garden.codec)) for record in await producer.records()]
        assert any("applied twice" in fault for fault in faults_of_rows(applied(taken), log))
    await garden.log.close()


def stored(event: RecordedEvent) -> Stored:
    assert isinstance(event.data, Watered)
    stream = (event.organization_id, event.stream_id)
    return Stored(event.shard, event.position, stream, event.version, event.command_id, event.data.note)
