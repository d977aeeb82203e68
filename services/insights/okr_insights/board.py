"""The board: an organisation's objectives of one cycle with everything they rest on, now or then.

Two statements, whatever the size: the frame (which organisation, which cycle, is the unit known) and
one page of objectives with their key results.
"""

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from okr_chassis.service import Reader
from okr_contracts.errors import DomainError, NotFoundError
from okr_eventstore.model import Position
from okr_insights.moment import Moment, known, known_at
from okr_insights.read_model import (
    AlignmentRow,
    CheckInRow,
    CycleRow,
    KeyResultRow,
    ObjectiveRow,
    OrganizationRow,
    UnitRow,
)
from okr_insights.standing import KEY_RESULT_COLUMNS, Objective, key_result, parameters_of, summarise
from okr_rules.parameters import DEFAULTS, RuleParameters

_positions = msgspec.json.Decoder(tuple[str, ...])


class Cycle(Struct, frozen=True):
    cycle_id: UUID
    name: str
    starts_on: date
    ends_on: date
    state: str
    parameters: RuleParameters = DEFAULTS


class Cursor(Struct, frozen=True):
    """Where the next page begins: in which cycle, and after which objective. Neither ever changes."""

    cycle_id: UUID
    drafted_position: int

    @classmethod
    def behind(cls, last: Objective) -> "Cursor":
        return cls(last.cycle_id, last.drafted_position)

    @classmethod
    def read(cls, keys: Sequence[str]) -> "Cursor":
        """From what `written` made of one."""
        cycle_id, drafted_position = keys
        return cls(UUID(cycle_id), int(drafted_position))

    def written(self) -> Sequence[object]:
        """As the keys of a page token."""
        return (self.cycle_id, self.drafted_position)


class Board(Struct, frozen=True):
    """The objectives asked for, in the order in which they were drafted. No cycle: there was none to show."""

    organization_name: str
    cycle: Cycle | None = None
    objectives: tuple[Objective, ...] = ()


def cycle_of_the_day(cycles: Sequence[Cycle], today: date) -> Cycle | None:
    """The cycle that runs today, the active before any other and the youngest first; else the newest."""

    def rank(cycle: Cycle) -> tuple[bool, bool, date, UUID]:
        runs = cycle.starts_on <= today <= cycle.ends_on and cycle.state != "cancelled"
        return (runs and cycle.state == "active", runs, cycle.starts_on, cycle.cycle_id)

    return max(cycles, key=rank, default=None)


async def end_of_cycle(reader: Reader, organization_id: UUID, cycle_id: UUID) -> Moment:
    """What was known when a cycle was closed: exactly as far as each log went. Raises NotFoundError, DomainError."""
    row = await reader.fetchrow(
        "SELECT name, positions, closed_at FROM cycle WHERE organization_id = $1 AND cycle_id = $2",
        organization_id,
        cycle_id,
    )
    if row is None:
        raise NotFoundError("cycle", cycle_id)
    if row["closed_at"] is None:
        raise DomainError(
            "CYCLE_NOT_CLOSED", f"{row['name']} is not closed yet; ask for it as it is, or as of a moment"
        )
    told = [Position.parse(token) for token in _positions.decode(row["positions"])]
    seen = {each.service: each.position for each in told}
    # Cycles that were closed before positions were kept are read by the moment of their close.
    return Moment(row["closed_at"], row["closed_at"], seen or None)


async def read_board(
    reader: Reader,
    organization_id: UUID,
    moment: Moment,
    *,
    cycle_id: UUID | None,
    unit_id: UUID | None,
    after: Cursor | None,
    limit: int,
) -> Board:
    """The next `limit` objectives of a cycle, of one unit and all below it where it is named.

    An id that was never known in this organisation is not found; one that came to be known only
    after the moment shows an empty board, as does a moment before the organisation.
    """
    wanted = after.cycle_id if after else cycle_id
    frame = await reader.fetch(_frame(moment), organization_id, wanted, unit_id, *moment.arguments)
    if wanted is not None and not frame[0]["cycle_known"]:
        raise NotFoundError("cycle", wanted)
    if unit_id is not None and not frame[0]["unit_known"]:
        raise NotFoundError("unit", unit_id)
    cycles = [
        Cycle(row["cycle_id"], row["name"], row["starts_on"], row["ends_on"], row["state"], parameters_of(row["rules"]))
        for row in frame
        if row["cycle_id"] is not None
    ]
    cycle = cycle_of_the_day(cycles, moment.at.date())
    name = frame[0]["organization_name"] or ""
    if cycle is None:
        return Board(name)
    rows = await reader.fetch(
        _page(moment),
        organization_id,
        cycle.cycle_id,
        after.drafted_position if after else 0,
        limit,
        unit_id,
        *moment.arguments,
    )
    grouped = groupby(rows, lambda row: row["objective_id"])
    return Board(name, cycle, tuple(_objective(list(group), moment, cycle) for _, group in grouped))


def _objective(rows: Sequence[asyncpg.Record], moment: Moment, cycle: Cycle) -> Objective:
    """An objective from its rows, one for each key result, or one without any."""
    first = rows[0]
    key_results = tuple(
        key_result(row, moment.at, cycle.parameters) for row in rows if row["key_result_id"] is not None
    )
    return Objective(
        objective_id=first["objective_id"],
        cycle_id=first["cycle_id"],
        title=first["objective_title"],
        state=first["state"],
        owner_id=first["owner_id"],
        unit_id=first["unit_id"],
        unit_name=first["unit_name"] or "",
        parent_objective_id=first["parent_objective_id"],
        drafted_position=first["drafted_position"],
        key_results=key_results,
        outcome=first["outcome"],
        summary=summarise(key_results, cycle.parameters),
    )


def _frame(moment: Moment) -> str:
    """$1 organisation, $2 cycle or null, $3 unit or null, then the moment: a row for each cycle, at least one."""
    as_of = moment.bound(4)
    return f"""
        SELECT organization.name AS organization_name,
               EXISTS (SELECT FROM cycle c WHERE c.organization_id = $1 AND c.cycle_id = $2) AS cycle_known,
               EXISTS (SELECT FROM unit u WHERE u.organization_id = $1 AND u.unit_id = $3) AS unit_known,
               cycle.cycle_id, cycle.name, cycle.starts_on, cycle.ends_on, cycle.state, cycle.rules
          FROM (SELECT $1::uuid AS organization_id) AS caller
          LEFT JOIN {known_at(OrganizationRow, as_of, organization_id="$1")} ON true
          LEFT JOIN {known(CycleRow, as_of)} ON cycle_key.organization_id = caller.organization_id
                                            AND cycle.starts_on IS NOT NULL
                                            AND ($2::uuid IS NULL OR cycle_key.cycle_id = $2)"""


def _page(moment: Moment) -> str:
    """$1 organisation, $2 cycle, $3 after this position, $4 how many, $5 unit or null, then the moment.

    The tree of units is that of the moment, and is only walked when a unit is named.
    """
    as_of = moment.bound(6)
    same_objective = {"organization_id": "$1", "objective_id": "page.objective_id"}
    same_key_result = {"organization_id": "$1", "key_result_id": "key_result.key_result_id"}
    return f"""
        WITH RECURSIVE tree AS (
            SELECT unit.unit_id, unit.parent_unit_id FROM {known(UnitRow, as_of)}
             WHERE unit_key.organization_id = $1
        ), below AS (
            SELECT $5::uuid AS unit_id
            UNION
            SELECT tree.unit_id FROM tree JOIN below ON tree.parent_unit_id = below.unit_id
        ), page AS (
            SELECT objective.objective_id, objective.cycle_id, objective.title AS objective_title, objective.state,
                   objective.outcome, objective.owner_id, objective.unit_id, objective.cycle_starts_on,
                   objective_key.drafted_position
              FROM {known(ObjectiveRow, as_of)}
             WHERE objective_key.organization_id = $1 AND objective_key.cycle_id = $2
               AND objective_key.drafted_position > $3
               AND ($5::uuid IS NULL OR objective.unit_id IN (SELECT below.unit_id FROM below))
             ORDER BY objective_key.drafted_position LIMIT $4
        )
        SELECT page.*, unit.name AS unit_name, alignment.parent_objective_id, {KEY_RESULT_COLUMNS}
          FROM page
          LEFT JOIN {known_at(UnitRow, as_of, organization_id="$1", unit_id="page.unit_id")} ON true
          LEFT JOIN {known_at(AlignmentRow, as_of, **same_objective, cycle_id="page.cycle_id")} ON true
          LEFT JOIN LATERAL (
              SELECT key_result.* FROM {known(KeyResultRow, as_of)}
               WHERE key_result_key.organization_id = $1 AND key_result_key.objective_id = page.objective_id
              OFFSET 0  -- keeps it a descent for each objective, as LIMIT does for the others
          ) AS key_result ON key_result.target IS NOT NULL
          LEFT JOIN {known_at(CheckInRow, as_of, **same_key_result)} ON true
         ORDER BY page.drafted_position, key_result.defined_position"""
