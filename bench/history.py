"""A long history, written straight into the logs: a million check-ins of some 5,000 key results.

Two organisations have boards that are alike but for how much happened to them; sixty more make up the rest.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count, islice
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from bench.facts import ACTOR, EPOCH, check_in, named
from bench.harness import Scale
from okr_contracts.goals import CycleDrafted, KeyResultDefined, KeyResultOpened, ObjectiveDrafted
from okr_eventstore.appender import uuid7
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.model import shard_of

QUARTER = timedelta(days=90)
HALFWAY = EPOCH + QUARTER / 2
END = EPOCH + QUARTER
OTHER_ORGANIZATIONS = 60
OTHER_KEY_RESULTS = 50
KEY_RESULTS_AN_OBJECTIVE = 10
CYCLE_ID = named("the quarter")
_COPIED = 20_000


SOME_ORGANIZATIONS = 20


class Town(NamedTuple):
    """An organisation, and how many check-ins each of its key results gets."""

    organization_id: UUID
    key_results: int
    check_ins: int

    def key_result(self, number: int) -> UUID:
        return named(f"{self.organization_id} key result {number}")

    def objective(self, number: int) -> UUID:
        return named(f"{self.organization_id} objective {number}")

    @property
    def shard(self) -> int:
        return shard_of(self.organization_id)

    @property
    def events(self) -> int:
        return self.key_results * self.check_ins


class Towns(NamedTuple):
    busy: Town
    calm: Town
    others: list[Town]

    @property
    def all(self) -> list[Town]:
        return [self.busy, self.calm, *self.others]

    @property
    def some(self) -> list[Town]:
        """About a fifth of all events."""
        return [self.calm, *self.others[:SOME_ORGANIZATIONS]]


def towns(scale: Scale) -> Towns:
    """Each in a shard of its own, about `rebuilt_events` in all."""
    homes = _in_shards_of_their_own()
    busy = Town(next(homes), scale.board_key_results, scale.long_check_ins)
    calm = Town(next(homes), scale.board_key_results, scale.short_check_ins)
    left = scale.rebuilt_events - scale.board_key_results * (scale.long_check_ins + scale.short_check_ins)
    each = max(1, left // (OTHER_ORGANIZATIONS * OTHER_KEY_RESULTS))
    return Towns(busy, calm, [Town(next(homes), OTHER_KEY_RESULTS, each) for _ in range(OTHER_ORGANIZATIONS)])


def _in_shards_of_their_own() -> Iterator[UUID]:
    taken: set[int] = set()
    for number in count():
        organization_id = named(f"town {number}")
        if shard_of(organization_id) not in taken:
            taken.add(shard_of(organization_id))
            yield organization_id


class _Fact(NamedTuple):
    stream_id: str
    data: Struct
    recorded_at: datetime


def towns_apart(organizations: int, key_results: int, check_ins: int) -> list[Town]:
    """All alike, each in a shard of its own."""
    return [Town(home, key_results, check_ins) for home in islice(_in_shards_of_their_own(), organizations)]


async def write_check_ins(database: Database, codec: Codec, of: Iterable[Town]) -> None:
    """Every key result is checked in to in turn, over the whole quarter."""
    for town in of:
        await _write(database, codec, town.organization_id, _check_ins(town))


async def write_goals(database: Database, codec: Codec, settled: Towns) -> None:
    """What the two boards show, all of it known before the first check-in."""
    for town in (settled.busy, settled.calm):
        await _write(database, codec, town.organization_id, _goals(town))


def _check_ins(town: Town) -> Iterator[_Fact]:
    total = town.events
    ids = [town.key_result(number) for number in range(town.key_results)]
    streams = [f"checkin-{key_result_id}" for key_result_id in ids]
    for number in range(total):
        fact = check_in(number, ids[number % town.key_results])
        yield _Fact(streams[number % town.key_results], fact, EPOCH + QUARTER * number / total)


def _goals(town: Town) -> Iterator[_Fact]:
    starts_on, ends_on = EPOCH.date(), END.date()
    yield _Fact(f"cycle-{CYCLE_ID}", CycleDrafted(CYCLE_ID, "The quarter", starts_on, ends_on), EPOCH)
    for number in range(town.key_results):
        objective_id = town.objective(number // KEY_RESULTS_AN_OBJECTIVE)
        stream_id = f"objective-{objective_id}"
        if number % KEY_RESULTS_AN_OBJECTIVE == 0:
            drafted = ObjectiveDrafted(
                objective_id, CYCLE_ID, named("unit"), named("owner"), f"Objective {number}", starts_on, ends_on
            )
            yield _Fact(stream_id, drafted, EPOCH)
        yield _Fact(stream_id, _defined(town.key_result(number), objective_id, starts_on, ends_on), EPOCH)
        yield _Fact(stream_id, KeyResultOpened(town.key_result(number), objective_id, starts_on), EPOCH)


def _defined(key_result_id: UUID, objective_id: UUID, starts_on: date, ends_on: date) -> KeyResultDefined:
    return KeyResultDefined(
        key_result_id=key_result_id,
        objective_id=objective_id,
        title="A number that grows",
        type="increase",
        start=Decimal(0),
        commit=Decimal(50),
        target=Decimal(100),
        unit="%",
        starts_on=starts_on,
        due_on=ends_on,
    )


async def _write(database: Database, codec: Codec, organization_id: UUID, facts: Iterable[_Fact]) -> None:
    """The facts of one organisation as the appender would have left them, without its pace."""
    shard, versions = shard_of(organization_id), dict[str, int]()
    connection = await database.connect()
    try:
        position, records = 0, []
        last_at = EPOCH
        for position, (stream_id, data, last_at) in enumerate(facts, start=1):
            version = versions[stream_id] = versions.get(stream_id, 0) + 1
            type_, schema_version, text = codec.encode(data)
            command_id = uuid7()
            records.append(
                (shard, position, organization_id, stream_id, version, uuid7(), type_, schema_version, last_at,
                 getattr(data, "occurred_at", last_at), command_id, command_id, ACTOR, text)
            )  # fmt: skip
            if len(records) == _COPIED:
                await connection.copy_records_to_table("event", records=records, columns=_COLUMNS)
                records = []
        if records:
            await connection.copy_records_to_table("event", records=records, columns=_COLUMNS)
        await connection.execute("UPDATE shard SET head = $2, last_at = $3 WHERE shard = $1", shard, position, last_at)
    finally:
        await connection.close()


_COLUMNS = (
    "shard", "position", "organization_id", "stream_id", "version", "event_id", "type", "schema_version", "recorded_at",
    "occurred_at", "command_id", "correlation_id", "actor", "data",
)  # fmt: skip
