"""What is read of check-ins: each of them as it stands now, and where a key result stands by its latest."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import assert_never, cast, get_args
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from okr_chassis.identity.auth import PERSON_PREFIX
from okr_chassis.rpc.pages import Page
from okr_chassis.service import Reader
from okr_contracts.checkins import (
    CheckInCorrected,
    CheckInRecorded,
    CheckInsClosed,
    CheckInsEvent,
    CheckInsOpened,
    MilestoneReported,
    RhythmEvent,
)
from okr_contracts.sealed import SealedText
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows

OTHERS = get_args(RhythmEvent)


class CheckInRow(Row, frozen=True):
    """A check-in in the words of its last correction.

    The key result is part of the key, because its stream is what the row is folded from.
    """

    __table__ = "check_in"
    __key__ = ("organization_id", "key_result_id", "check_in_id")
    __indexes__ = (("organization_id", "check_in_id"),)

    organization_id: UUID
    key_result_id: UUID
    check_in_id: UUID
    value: Decimal | None = None
    confidence: Decimal | None = None
    note: SealedText | None = None
    person_id: UUID | None = None
    """Who recorded it; None when it was no person."""
    checked_in_at: datetime | None = None
    """When it was true."""
    known_at: datetime | None = None
    """When it was first recorded."""
    corrected: bool = False


class KeyResultRow(Row, frozen=True):
    """Where a key result stands: its check-in with the latest `checked_in_at`.

    Of two that were true at one moment the one recorded later counts. A correction keeps the moment of
    what it corrects, so it changes the standing exactly when it is about the check-in named here.
    """

    __table__ = "key_result"
    __key__ = ("organization_id", "key_result_id")

    organization_id: UUID
    key_result_id: UUID
    open: bool = False
    starts_on: date | None = None
    check_ins: int = 0
    latest_check_in_id: UUID | None = None
    value: Decimal | None = None
    confidence: Decimal | None = None
    checked_in_at: datetime | None = None


def project(rows: Rows, event: ProjectedEvent) -> None:
    """Each event writes the key result's row, so that the row's version is that of the stream: its etag."""
    organization_id = event.organization_id
    if isinstance(event.data, OTHERS):
        return  # of the rhythm, which has rows of its own
    fact = cast(CheckInsEvent, event.data)
    key_result = rows.get(KeyResultRow, organization_id, fact.key_result_id)
    match fact:
        case CheckInsOpened():
            key_result = replace(key_result, open=True, starts_on=fact.starts_on)
        case CheckInRecorded():
            key_result = replace(key_result, check_ins=key_result.check_ins + 1)
            if key_result.checked_in_at is None or fact.occurred_at >= key_result.checked_in_at:
                key_result = _standing(key_result, fact)
            rows.put(
                CheckInRow(
                    organization_id=organization_id,
                    key_result_id=fact.key_result_id,
                    check_in_id=fact.check_in_id,
                    value=fact.value,
                    confidence=fact.confidence,
                    note=fact.note,
                    person_id=_person(event.actor),
                    checked_in_at=fact.occurred_at,
                    known_at=event.recorded_at,
                )
            )
        case CheckInCorrected():
            if fact.check_in_id == key_result.latest_check_in_id:
                key_result = _standing(key_result, fact)
            check_in = rows.get(CheckInRow, organization_id, fact.key_result_id, fact.check_in_id)
            rows.put(replace(check_in, value=fact.value, confidence=fact.confidence, note=fact.note, corrected=True))
        case MilestoneReported():
            pass  # what the milestones come to is the value of the check-in recorded with it
        case CheckInsClosed():
            key_result = replace(key_result, open=False)
        case _:
            assert_never(fact)
    rows.put(key_result)


def _standing(row: KeyResultRow, fact: CheckInRecorded | CheckInCorrected) -> KeyResultRow:
    return replace(
        row,
        latest_check_in_id=fact.check_in_id,
        value=fact.value,
        confidence=fact.confidence,
        checked_in_at=fact.occurred_at,
    )


@lru_cache(maxsize=4096)
def _person(actor: str) -> UUID | None:
    return UUID(actor.removeprefix(PERSON_PREFIX)) if actor.startswith(PERSON_PREFIX) else None


check_ins = Projection("checkins.check_ins", source="checkins", rows=(CheckInRow, KeyResultRow), project=project)


_CHECK_IN = """c.check_in_id, c.key_result_id, c.value, c.confidence, c.note, c.person_id, c.checked_in_at, c.known_at,
    c.corrected"""


async def check_in(reader: Reader, organization_id: UUID, check_in_id: UUID) -> asyncpg.Record | None:
    """One check-in. Ids are the callers' choice and unique in a key result; of two the one recorded first is meant."""
    return await reader.fetchrow(
        f"""SELECT {_CHECK_IN} FROM check_in c
             WHERE organization_id = $1 AND check_in_id = $2 ORDER BY known_at, key_result_id LIMIT 1""",
        organization_id,
        check_in_id,
    )


async def check_ins_of(
    reader: Reader, organization_id: UUID, key_result_id: UUID, page: Page
) -> Sequence[asyncpg.Record]:
    """A key result's check-ins in the order of their ids, one more than the page holds."""
    return await reader.fetch(
        f"""SELECT {_CHECK_IN} FROM check_in c
             WHERE organization_id = $1 AND key_result_id = $2 AND ($3::uuid IS NULL OR check_in_id > $3)
             ORDER BY check_in_id LIMIT $4""",
        organization_id,
        key_result_id,
        page.after_id,
        page.limit,
    )


async def standing_of(reader: Reader, organization_id: UUID, key_result_id: UUID) -> asyncpg.Record | None:
    """The latest check-in of a key result (nulls while there is none), how many there are, and their version.

    None when nobody here has heard of the key result.
    """
    return await reader.fetchrow(
        f"""SELECT k._stream_version AS stream_version, k.check_ins AS total, {_CHECK_IN}
              FROM key_result k
              LEFT JOIN check_in c ON c.organization_id = k.organization_id AND c.key_result_id = k.key_result_id
                                  AND c.check_in_id = k.latest_check_in_id
             WHERE k.organization_id = $1 AND k.key_result_id = $2""",
        organization_id,
        key_result_id,
    )
