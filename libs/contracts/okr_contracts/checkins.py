"""Events of checkins: values over time, and corrections that never erase."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from msgspec import Struct


class CheckInsOpened(Struct, frozen=True):
    """The key result takes values dated from `starts_on`."""

    key_result_id: UUID
    objective_id: UUID
    starts_on: date


class CheckInRecorded(Struct, frozen=True):
    """At `occurred_at` the key result stood at `value`; `confidence` (0 to 1) is that of reaching its target."""

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal
    confidence: Decimal
    note: str
    occurred_at: datetime


class CheckInCorrected(Struct, frozen=True):
    """The whole check-in as it should have been, dated when the corrected one was true, and why."""

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal
    confidence: Decimal
    note: str
    occurred_at: datetime
    reason: str


class CheckInsClosed(Struct, frozen=True):
    key_result_id: UUID


CheckInsEvent = CheckInsOpened | CheckInRecorded | CheckInCorrected | CheckInsClosed
