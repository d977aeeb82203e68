"""Events of checkins: values over time, and corrections that never erase."""

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from okr_contracts.goals import KeyResultType
from okr_contracts.sealed import SealedText


class CheckInsOpened(Struct, frozen=True):
    """The key result takes values dated from `starts_on`, as its type has them.

    `milestones` are (id, weight) of those whose shares a check-in of a milestone key result may report.
    """

    key_result_id: UUID
    objective_id: UUID
    starts_on: date
    type: KeyResultType | None = None
    milestones: tuple[tuple[UUID, Decimal], ...] = ()


class CheckInRecorded(Struct, frozen=True):
    """At `occurred_at` the key result stood at `value`; `confidence` (0 to 1) is that of reaching its target."""

    __sealed__: ClassVar[dict[str, str]] = {"note": "check_in_id"}

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal
    confidence: Decimal
    note: SealedText | None
    occurred_at: datetime


class CheckInCorrected(Struct, frozen=True):
    """The whole check-in as it should have been, dated when the corrected one was true, and why.

    An unchanged `note` stays in its own author's words; the `reason` is that of whoever corrects.
    """

    __sealed__: ClassVar[dict[str, str]] = {"note": "check_in_id", "reason": "check_in_id"}

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal
    confidence: Decimal
    note: SealedText | None
    occurred_at: datetime
    reason: SealedText | None


class MilestoneReported(Struct, frozen=True):
    """So much of a milestone is done, 0 to 1; only what somebody `accepted` is done altogether.

    The check-in recorded with it holds what all milestones come to.
    """

    key_result_id: UUID
    milestone_id: UUID
    check_in_id: UUID
    share: Decimal
    accepted: bool = False


class CheckInsClosed(Struct, frozen=True):
    key_result_id: UUID


CheckInsEvent = CheckInsOpened | CheckInRecorded | CheckInCorrected | MilestoneReported | CheckInsClosed
