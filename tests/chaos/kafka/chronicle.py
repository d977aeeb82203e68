"""What consumers do here, and every way in which it can be wrong.

The fold keeps, beside the garden's rows, how each organisation's events came: how many, how often not one after the
other, and a chain over all they say. The reaction keeps what it heard, once each. Both are compared with what the
log's tables hold, by a judge that knows neither Kafka nor the engine.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows
from tests.chaos.history import Held
from tests.eventstore import garden
from tests.eventstore.garden import GardenRow, PlantRow, Watered, WateringRow

REACTION = "garden.hearing"
NOTHING = ""


class OrderRow(Row, frozen=True):
    """An organisation here has a shard for itself, so this is how its shard came."""

    __table__ = "came_in_order"
    __key__ = ("organization_id",)
    __history__: ClassVar[bool] = False

    organization_id: UUID
    shard: int = 0
    events: int = 0
    reached: int = 0
    jumps: int = 0
    """How often an event was not the one after the last."""
    chain: str = NOTHING


def project(rows: Rows, event: ProjectedEvent) -> None:
    garden.project(rows, event)
    before = rows.get(OrderRow, event.organization_id)
    said = event.data.note if isinstance(event.data, Watered) else ""
    rows.put(
        replace(
            before,
            shard=event.shard,
            events=before.events + 1,
            reached=event.position,
            jumps=before.jumps + (event.position != before.reached + 1),
            chain=linked(before.chain, event.position, event.stream_id, event.version, said),
        )
    )


chronicle = Projection("chronicle", "garden", (PlantRow, WateringRow, GardenRow, OrderRow), project)


def linked(chain: str, position: int, stream_id: str, version: int, says: str) -> str:
    text = f"{chain} {position} {stream_id} {version} {says}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- what a reaction does ----------------------------------------------------------------------------

HEARD = """CREATE TABLE heard (
    seq bigserial, shard int, position bigint, says text NOT NULL, PRIMARY KEY (shard, position)
)"""


async def hear(database: Database, events: Sequence[RecordedEvent]) -> None:
    """As a command whose id is derived from its event: the second time it does nothing."""
    await database.execute(
        """INSERT INTO heard (shard, position, says)
           SELECT * FROM unnest($1::int[], $2::bigint[], $3::text[]) ON CONFLICT DO NOTHING""",
        [event.shard for event in events],
        [event.position for event in events],
        [event.data.note if isinstance(event.data, Watered) else "" for event in events],
    )


# --- the judge ---------------------------------------------------------------------------------------


class Came(NamedTuple):
    """What a consumer made of one shard."""

    events: int
    reached: int
    jumps: int
    chain: str


class Heard(NamedTuple):
    shard: int
    position: int
    says: str


async def came(database: Database) -> dict[int, Came]:
    rows = await database.fetch('SELECT shard, events, reached, jumps, "chain" FROM came_in_order')
    return {row["shard"]: Came(row["events"], row["reached"], row["jumps"], row["chain"]) for row in rows}


async def heard(database: Database) -> list[Heard]:
    """In the order in which it was heard first."""
    return [Heard(*row) for row in await database.fetch("SELECT shard, position, says FROM heard ORDER BY seq")]


def faults_of_rows(found: Mapping[int, Came], held: Held) -> list[str]:
    """What is wrong with rows that should hold each event of the log once and in order."""
    expected: dict[int, Came] = {}
    for event in held.events:
        before = expected.get(event.shard, Came(0, 0, 0, NOTHING))
        chain = linked(before.chain, event.position, event.stream[1], event.version, event.says)
        expected[event.shard] = Came(before.events + 1, event.position, 0, chain)
    faults = []
    for shard in sorted(expected.keys() | found.keys()):
        there, due = found.get(shard), expected.get(shard)
        if there is None or due is None:
            faults.append(f"shard {shard}: the log holds {due}, the rows say {there}")
        elif there.events < due.events:
            faults.append(f"shard {shard}: {due.events - there.events} events were not applied")
        elif there.events > due.events:
            faults.append(f"shard {shard}: {there.events - due.events} events were applied twice")
        elif there.jumps:
            faults.append(f"shard {shard}: {there.jumps} events were applied out of order")
        elif there != due:
            faults.append(f"shard {shard}: other events were applied than the log holds")
    return faults


def faults_of_hearing(found: Iterable[Heard], held: Held) -> list[str]:
    """What is wrong with a reaction that should have heard each event, the first time in order."""
    by_shard: dict[int, list[tuple[int, str]]] = defaultdict(list)
    due: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for shard, position, says in found:
        by_shard[shard].append((position, says))
    for event in held.events:
        due[event.shard].append((event.position, event.says))
    faults = []
    for shard in sorted(due.keys() | by_shard.keys()):
        if sorted(by_shard[shard]) != due[shard]:
            lost = sorted({position for position, _ in due[shard]} - {position for position, _ in by_shard[shard]})
            faults.append(f"shard {shard}: what was heard is not what was said; never heard: {lost[:12]}")
        elif by_shard[shard] != due[shard]:
            faults.append(f"shard {shard}: heard out of order")
    return faults
