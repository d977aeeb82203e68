"""Events of checkins: values over time, corrections that never erase, and the rhythm in which values are asked for."""

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, Literal
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


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DutyRole = Literal["data_steward", "accountable"]


class CadenceChosen(Struct, frozen=True):
    """Check-ins of a cycle that are due later than `after` come each `step_days` on `weekday`.

    Without a `cycle_id` it is said of every cycle that has no rhythm of its own, and without `step_days` each
    of them keeps the usual one of its length. `confirmed` tells that the reason against it was read.
    """

    cycle_id: UUID | None
    step_days: int | None
    weekday: Weekday
    after: date
    confirmed: bool = False


class CheckInDue(Struct, frozen=True):
    """At `occurred_at`, a moment of the day `due_on`, a check-in was due from `holder_id` in `role`.

    It stands whoever takes the role over later. `closes_on` is the last day of grace, `last_check_in_at` when
    somebody last checked in, and `answered` whether they did so for this due day already.
    """

    key_result_id: UUID
    objective_id: UUID
    cycle_id: UUID
    key_result_title: str
    due_on: date
    closes_on: date
    occurred_at: datetime
    holder_id: UUID | None
    role: DutyRole | None
    last_check_in_at: datetime | None = None
    answered: bool = False


class CheckInOverdue(Struct, frozen=True):
    """`working_days` after `due_on` nobody had checked in. `holder_id` owed it; `asked_id` can do it now."""

    key_result_id: UUID
    objective_id: UUID
    cycle_id: UUID
    key_result_title: str
    due_on: date
    closes_on: date
    occurred_at: datetime
    working_days: int
    holder_id: UUID | None
    asked_id: UUID | None
    last_check_in_at: datetime | None = None


class CheckInMissed(Struct, frozen=True):
    """The next due day has passed, and nobody checked in for `due_on`: nothing can put that right any more.

    It is the `in_a_row`-th of the key result without one in between. `holder_id` owed it, `owner_id` owns the
    objective.
    """

    key_result_id: UUID
    objective_id: UUID
    cycle_id: UUID
    key_result_title: str
    due_on: date
    occurred_at: datetime
    in_a_row: int
    holder_id: UUID | None
    owner_id: UUID
    last_check_in_at: datetime | None = None


DutyEvent = CheckInDue | CheckInOverdue | CheckInMissed
RhythmEvent = CadenceChosen | DutyEvent
