"""What is read for a rhythm, a page of key results in a few statements however many there are."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from okr_chassis.service import Reader
from okr_checkins.rhythm.agenda import Answers, Asked
from okr_checkins.rhythm.calendar import Appointment, Plan, plan_of
from okr_checkins.rhythm.duty import Duty
from okr_checkins.rhythm.replica import Holders
from okr_contracts.checkins import CadenceChosen

UNKNOWN_ZONE = "UTC"
"""Until directory has been heard."""

_choices = msgspec.json.Decoder(tuple[CadenceChosen, ...])
_holders = msgspec.json.Decoder(Holders)
_duty = msgspec.json.Decoder(Duty)

_ASKED = """
    SELECT a.organization_id, a.key_result_id, a.objective_id, a.cycle_id, a.unit_id, a.owner_id, a.title,
           a.cycle_starts_on, a.cycle_ends_on, a.starts_on, a.opened_at, a.holder_id, a.stewards, a.accountables,
           z.time_zone, e.choices AS everywhere, o.choices AS own, d.state, coalesce(d._stream_version, 0) AS version,
           k.checked_in_at, f.ended_at
      FROM asked_key_result a
      LEFT JOIN known_organization z ON z.organization_id = a.organization_id
      LEFT JOIN cadence e ON e.organization_id = a.organization_id AND e.cycle_id = a.organization_id
      LEFT JOIN cadence o ON o.organization_id = a.organization_id AND o.cycle_id = a.cycle_id
      LEFT JOIN cycle_end f ON f.organization_id = a.organization_id AND f.cycle_id = a.cycle_id
      LEFT JOIN duty d ON d.organization_id = a.organization_id AND d.key_result_id = a.key_result_id
      LEFT JOIN key_result k ON k.organization_id = a.organization_id AND k.key_result_id = a.key_result_id
     WHERE a.opened_at IS NOT NULL AND a.closed_at IS NULL"""


class Place(NamedTuple):
    """Where in the order of all key results, over all organisations."""

    organization_id: UUID
    key_result_id: UUID


BEGINNING = Place(UUID(int=0), UUID(int=0))


async def asked_everywhere(reader: Reader, after: Place, limit: int) -> Sequence[asyncpg.Record]:
    """The next open key results of organisations whose time zone is known."""
    return await reader.fetch(
        f"""{_ASKED} AND z.time_zone IS NOT NULL AND (a.organization_id, a.key_result_id) > ($1, $2)
             ORDER BY a.organization_id, a.key_result_id LIMIT $3""",
        *after,
        limit,
    )


async def asked_of(
    reader: Reader,
    organization_id: UUID,
    after: UUID | None,
    limit: int,
    *,
    holder_id: UUID | None = None,
    unit_id: UUID | None = None,
) -> Sequence[asyncpg.Record]:
    """An organisation's open key results: those a person holds the duty of, or of a unit and all below it, or all."""
    return await reader.fetch(
        f"""WITH RECURSIVE below AS (
                SELECT $4::uuid AS unit_id
                UNION
                SELECT u.unit_id FROM below b
                  JOIN known_unit u ON u.organization_id = $1 AND u.parent_unit_id = b.unit_id)
            {_ASKED} AND a.organization_id = $1 AND ($2::uuid IS NULL OR a.key_result_id > $2)
               AND ($3::uuid IS NULL OR a.holder_id = $3)
               AND ($4::uuid IS NULL OR a.unit_id IN (SELECT unit_id FROM below))
             ORDER BY a.key_result_id LIMIT $5""",
        organization_id,
        after,
        holder_id,
        unit_id,
        limit,
    )


async def chosen(reader: Reader, organization_id: UUID, cycle_id: UUID | None) -> tuple[str, Any, Any]:
    """The time zone of an organisation, and what was chosen for all its cycles and for one of them."""
    row = await reader.fetchrow(
        """SELECT z.time_zone, e.choices AS everywhere, o.choices AS own FROM (SELECT $1::uuid AS organization_id) a
             LEFT JOIN known_organization z ON z.organization_id = a.organization_id
             LEFT JOIN cadence e ON e.organization_id = a.organization_id AND e.cycle_id = a.organization_id
             LEFT JOIN cadence o ON o.organization_id = a.organization_id AND o.cycle_id = $2""",
        organization_id,
        cycle_id,
    )
    assert row is not None, "one row stands on the left of every join"
    return row["time_zone"] or UNKNOWN_ZONE, choices(row["everywhere"]), choices(row["own"])


def choices(text: str | None) -> tuple[CadenceChosen, ...]:
    return () if text is None else _choices.decode(text)


def asked(row: asyncpg.Record) -> Asked:
    return Asked(
        organization_id=row["organization_id"],
        key_result_id=row["key_result_id"],
        objective_id=row["objective_id"],
        cycle_id=row["cycle_id"],
        owner_id=row["owner_id"],
        title=row["title"],
        starts_on=row["starts_on"],
        opened_at=row["opened_at"],
        ended_at=row["ended_at"],
        stewards=_holders.decode(row["stewards"]),
        accountables=_holders.decode(row["accountables"]),
        plan=plan(row),
        told=Duty() if row["state"] is None else _duty.decode(row["state"]),
        version=row["version"],
    )


def plan(row: asyncpg.Record) -> Plan:
    zone = row["time_zone"] or UNKNOWN_ZONE
    return plan_of(row["cycle_starts_on"], row["cycle_ends_on"], zone, choices(row["everywhere"]), choices(row["own"]))


async def answers(
    reader: Reader, questions: Sequence[tuple[Asked, Sequence[Appointment]]], until: datetime
) -> "dict[Place, Answers]":
    """What was said by `until` for the due days that are asked about, for every key result.

    A check-in counts for the due day in whose time it was said, whatever day its value is of: saying today how
    things stood three weeks ago does not undo that nobody knew for three weeks.
    """
    asked_about = [(whose, each) for whose, appointments in questions for each in appointments]
    rows = await reader.fetch(
        """SELECT w.nth, min(c.known_at) AS first_at
             FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
                  WITH ORDINALITY AS w(organization_id, key_result_id, opens_at, closes_at, nth)
             JOIN check_in c ON c.organization_id = w.organization_id AND c.key_result_id = w.key_result_id
            WHERE c.known_at >= w.opens_at AND c.known_at < w.closes_at AND c.known_at <= $5
            GROUP BY w.nth""",
        [whose.organization_id for whose, _ in asked_about],
        [whose.key_result_id for whose, _ in asked_about],
        [each.opens_at for _, each in asked_about],
        [each.closes_at for _, each in asked_about],
        until,
    )
    last = await reader.fetch(
        """SELECT c.organization_id, c.key_result_id, max(c.known_at) AS last_at
             FROM unnest($1::uuid[], $2::uuid[]) AS w(organization_id, key_result_id)
             JOIN check_in c ON c.organization_id = w.organization_id AND c.key_result_id = w.key_result_id
            WHERE c.known_at <= $3 GROUP BY 1, 2""",
        [whose.organization_id for whose, _ in questions],
        [whose.key_result_id for whose, _ in questions],
        until,
    )
    first: dict[Place, dict[date, datetime]] = {}
    for row in rows:
        whose, appointment = asked_about[row["nth"] - 1]
        first.setdefault(place_of(whose), {})[appointment.window.due_on] = row["first_at"]
    last_at = {Place(row["organization_id"], row["key_result_id"]): row["last_at"] for row in last}
    places = [place_of(whose) for whose, _ in questions]
    return {place: Answers(first.get(place, {}), last_at.get(place)) for place in places}


def place_of(asked: Asked) -> Place:
    return Place(asked.organization_id, asked.key_result_id)
