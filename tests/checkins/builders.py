"""Commands and facts of one key result's check-ins; each says only what a test is about."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from okr_checkins.commands import CloseCheckIns, CorrectCheckIn, OpenCheckIns, RecordCheckIn
from okr_contracts.checkins import CheckInCorrected, CheckInRecorded, CheckInsClosed, CheckInsOpened
from tests.support.sealed import sealed

KEY_RESULT = UUID(int=1)
OBJECTIVE = UUID(int=2)
FIRST = UUID(int=11)
SECOND = UUID(int=12)
THIRD = UUID(int=13)

STARTS_ON = date(2026, 1, 1)
MONDAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
TUESDAY = datetime(2026, 1, 6, 9, tzinfo=UTC)
WEDNESDAY = datetime(2026, 1, 7, 9, tzinfo=UTC)


def open_check_ins(starts_on: date = STARTS_ON) -> OpenCheckIns:
    return OpenCheckIns(key_result_id=KEY_RESULT, objective_id=OBJECTIVE, starts_on=starts_on)


def record(
    check_in_id: UUID = FIRST,
    value: str = "5",
    confidence: str | None = None,
    note: str = "",
    occurred_at: datetime | None = None,
    at: datetime = WEDNESDAY,
    opening: OpenCheckIns | None = None,
) -> RecordCheckIn:
    return RecordCheckIn(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=Decimal(value),
        confidence=None if confidence is None else Decimal(confidence),
        note=sealed(note),
        occurred_at=occurred_at,
        at=at,
        opening=opening,
    )


def correct(
    check_in_id: UUID = FIRST, value: str | None = None, confidence: str | None = None, note: str | None = None
) -> CorrectCheckIn:
    return CorrectCheckIn(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=None if value is None else Decimal(value),
        confidence=None if confidence is None else Decimal(confidence),
        note=None if note is None else sealed(note),
        reason=sealed("typed wrongly"),
    )


def close() -> CloseCheckIns:
    return CloseCheckIns(key_result_id=KEY_RESULT)


def opened(starts_on: date = STARTS_ON) -> CheckInsOpened:
    return CheckInsOpened(key_result_id=KEY_RESULT, objective_id=OBJECTIVE, starts_on=starts_on)


def recorded(
    check_in_id: UUID = FIRST,
    value: str = "5",
    confidence: str = "0.5",
    note: str = "",
    occurred_at: datetime = MONDAY,
) -> CheckInRecorded:
    return CheckInRecorded(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=Decimal(value),
        confidence=Decimal(confidence),
        note=sealed(note),
        occurred_at=occurred_at,
    )


def corrected(
    check_in_id: UUID = FIRST,
    value: str = "6",
    confidence: str = "0.5",
    note: str = "",
    occurred_at: datetime = MONDAY,
) -> CheckInCorrected:
    return CheckInCorrected(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=Decimal(value),
        confidence=Decimal(confidence),
        note=sealed(note),
        occurred_at=occurred_at,
        reason=sealed("typed wrongly"),
    )


def closed() -> CheckInsClosed:
    return CheckInsClosed(key_result_id=KEY_RESULT)
