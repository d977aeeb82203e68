"""The history of a key result: how it stood at a moment, and all that had been recorded about it by then."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
from msgspec import Struct

from okr_chassis.sealing import stored
from okr_chassis.service import Reader
from okr_contracts.errors import NotFoundError
from okr_contracts.sealed import SealedText
from okr_eventstore.model import Position, shard_of
from okr_eventstore.projection import Projection
from okr_insights.moment import Moment, known, known_at
from okr_insights.read_model import CheckInRow, CycleRow, KeyResultRow, ObjectiveRow, check_ins, goals
from okr_insights.standing import KEY_RESULT_COLUMNS, KeyResult, key_result, parameters_of, promise_of
from okr_rules.measure import measure_of

END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
RANKS = {goals.source: 1, check_ins.source: 2}
"""Of what two services recorded at the same moment, the higher rank counts as newer."""
SERVICES = {rank: service for service, rank in RANKS.items()}
NEWEST_RANK = 3


class Entry(Struct, frozen=True):
    """One thing that was recorded. The fields beyond the first five are filled where its kind has them.

    `progress` measures a check-in's value against the target as it was known when it was recorded.
    `previous_*` is what a correction or revision replaced. `source` says where a revision without a
    person's reason came from.
    """

    kind: str
    recorded_at: datetime
    occurred_at: datetime
    actor: str
    position: Position
    check_in_id: UUID | None
    value: Decimal | None
    confidence: Decimal | None
    previous_value: Decimal | None
    previous_confidence: Decimal | None
    note: SealedText | None
    reason: SealedText | None
    source: str
    progress: Decimal | None
    start: Decimal | None
    commit: Decimal | None
    target: Decimal | None
    previous_commit: Decimal | None
    previous_target: Decimal | None
    champion_id: UUID | None
    role: str
    score: Decimal | None
    computed_score: Decimal | None


class Cursor(Struct, frozen=True):
    """The place of an entry in a history; the next page begins after the last one's."""

    recorded_at: datetime
    rank: int
    position: int

    @classmethod
    def behind(cls, last: Entry) -> "Cursor":
        return cls(last.recorded_at, RANKS[last.position.service], last.position.position)

    @classmethod
    def read(cls, keys: Sequence[str]) -> "Cursor":
        """From what `written` made of one."""
        recorded_at, rank, position = keys
        return cls(datetime.fromisoformat(recorded_at), int(rank), int(position))

    def written(self) -> Sequence[object]:
        """As the keys of a page token."""
        return (self.recorded_at.isoformat(), self.rank, self.position)


class History(Struct, frozen=True):
    """The entries asked for, newest first."""

    key_result: KeyResult
    entries: tuple[Entry, ...]


def words(entry: Entry, key_result_id: UUID) -> tuple[SealedText | None, UUID, str]:
    """What a person wrote with it, and what that is about: why, where something was put right, else the note."""
    about = entry.check_in_id or key_result_id
    return (entry.note, about, "note") if entry.reason is None else (entry.reason, about, "reason")


async def read_history(
    reader: Reader, organization_id: UUID, key_result_id: UUID, moment: Moment, *, after: Cursor | None, limit: int
) -> History:
    """The next `limit` entries. A key result that was not known at the moment is not found."""
    found = await reader.fetch(_key_result(moment), organization_id, key_result_id, *moment.arguments)
    if not found:
        raise NotFoundError("key result", key_result_id)
    shard = shard_of(organization_id)
    start = after or Cursor(moment.as_of or END_OF_TIME, NEWEST_RANK, position=0)
    rows = await reader.fetch(
        _ENTRIES,
        organization_id,
        key_result_id,
        start.recorded_at,
        start.rank,
        start.position,
        limit,
        found[0]["objective_id"],
        shard,
    )
    standing = key_result(found[0], moment.at, parameters_of(found[0]["rules"]))
    return History(standing, tuple(_entry(row, shard) for row in rows))


def _entry(row: asyncpg.Record, shard: int) -> Entry:
    value = row["value"]
    return Entry(
        kind=row["kind"],
        recorded_at=row["recorded_at"],
        occurred_at=row["occurred_at"],
        actor=row["actor"],
        position=Position(SERVICES[row["rank"]], shard, row["epoch"], row["position"]),
        check_in_id=row["check_in_id"],
        value=value,
        confidence=row["confidence"],
        previous_value=row["previous_value"],
        previous_confidence=row["previous_confidence"],
        note=stored(row["note"]),
        reason=stored(row["reason"]),
        source=row["source"],
        progress=None if value is None or row["target_then"] is None else _progress(row, value),
        start=row["start"],
        commit=row["commit"],
        target=row["target"],
        previous_commit=row["previous_commit"],
        previous_target=row["previous_target"],
        champion_id=row["champion_id"],
        role=row["role"],
        score=row["score"],
        computed_score=row["computed_score"],
    )


def _progress(row: asyncpg.Record, value: Decimal) -> Decimal:
    """How far a value takes the key result as it was defined when the value was recorded."""
    promise = promise_of({name.removesuffix("_then"): then for name, then in row.items() if name.endswith("_then")})
    return measure_of(promise, promise.due_on).progress(value)


def _key_result(moment: Moment) -> str:
    """$1 organisation, $2 key result, then the moment. Should two objectives use one id, the older one has it."""
    as_of = moment.bound(3)
    its_objective = {"organization_id": "$1", "objective_id": "key_result.objective_id"}
    its_cycle = {"organization_id": "$1", "cycle_id": "objective.cycle_id"}
    return f"""
        SELECT objective.cycle_starts_on, cycle.rules, key_result.objective_id, {KEY_RESULT_COLUMNS}
          FROM {known(KeyResultRow, as_of)}
          LEFT JOIN {known_at(ObjectiveRow, as_of, **its_objective)} ON true
          LEFT JOIN {known_at(CycleRow, as_of, **its_cycle)} ON true
          LEFT JOIN {known_at(CheckInRow, as_of, organization_id="$1", key_result_id="$2")} ON true
         WHERE key_result_key.organization_id = $1 AND key_result_key.key_result_id = $2
           AND key_result.target IS NOT NULL
         ORDER BY key_result.defined_position LIMIT 1"""


def _epoch(projection: Projection) -> str:
    """SQL of the epoch in which the live tables of a projection last heard their service; $8 is the shard."""
    return f"""coalesce((SELECT c.epoch FROM projection p
                           JOIN checkpoint c ON c.consumer = p.name || '@' || p.generation
                          WHERE p.name = '{projection.name}' AND c.source = '{projection.source}'
                            AND c.shard = $8), 1)"""


_PAGE = "e.recorded_at <= $3 AND (e.recorded_at, {rank}, e.position) < ($3, $4, $5)"

_ENTRIES = f"""
    WITH entry AS (
        (SELECT 1 AS rank, {_epoch(goals)} AS epoch, e.recorded_at, e.position, e.occurred_at, e.kind, e.actor,
                NULL::uuid AS check_in_id, NULL::numeric AS value, NULL::numeric AS confidence, NULL::json AS note,
                e.reason, e.source, e.start, e.commit, e.target, e.previous_commit, e.previous_target, e.champion_id,
                e.role, e.score, e.computed_score
           FROM key_result_entry e
          WHERE e.organization_id = $1 AND e.key_result_id = $2 AND {_PAGE.format(rank=1)}
          ORDER BY e.recorded_at DESC, e.position DESC LIMIT $6)
        UNION ALL
        (SELECT 2, {_epoch(check_ins)}, e.recorded_at, e.position, e.occurred_at, e.kind, e.actor,
                e.check_in_id, e.value, e.confidence, e.note, e.reason, '',
                NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL
           FROM check_in_entry e
          WHERE e.organization_id = $1 AND e.key_result_id = $2 AND {_PAGE.format(rank=2)}
          ORDER BY e.recorded_at DESC, e.position DESC LIMIT $6)
        ORDER BY recorded_at DESC, rank DESC, position DESC LIMIT $6
    )
    SELECT entry.*, replaced.value AS previous_value, replaced.confidence AS previous_confidence,
           definition.type AS type_then, definition.start AS start_then, definition."commit" AS commit_then,
           definition.target AS target_then, definition.due_on AS due_on_then,
           definition.measurement AS measurement_then
      FROM entry
      LEFT JOIN LATERAL (
          SELECT e.value, e.confidence FROM check_in_entry e
           WHERE e.organization_id = $1 AND e.key_result_id = $2 AND e.check_in_id = entry.check_in_id
             AND e.position < entry.position
           ORDER BY e.position DESC LIMIT 1
      ) AS replaced ON entry.kind = 'CheckInCorrected'
      LEFT JOIN LATERAL (
          SELECT past.type, past.start, past."commit", past.target, past.due_on, past.measurement
            FROM key_result_history past
           WHERE past.organization_id = $1 AND past.objective_id = $7 AND past.key_result_id = $2
             AND past.recorded_at <= entry.recorded_at
           ORDER BY past.recorded_at DESC, past.position DESC LIMIT 1
      ) AS definition ON entry.value IS NOT NULL
     ORDER BY entry.recorded_at DESC, entry.rank DESC, entry.position DESC"""
"""$1 organisation, $2 key result, $3 to $5 the cursor, $6 how many, $7 objective, $8 shard.

Each service's entries are read from their key, newest first, and merged; positions of two services
are not comparable, moments are.
"""
