"""The judge of consumers catches each way of getting it wrong, and says nothing where nothing is."""

from collections.abc import Iterable
from uuid import UUID

import pytest

from okr_eventstore.model import shard_of
from tests.chaos.history import Held, Stored
from tests.chaos.kafka.chronicle import NOTHING, Came, Heard, faults_of_hearing, faults_of_rows, linked
from tests.eventstore.garden import GARDEN, SHARD

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
