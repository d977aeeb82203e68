"""Events of notifications: what a person was told, and why."""

from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from msgspec import Struct

from okr_contracts.goals import PLAIN, KeyResultType, Measurement

NotificationKind = Literal[
    "became_accountable",
    "fell_behind",
    "commit_reached",
    "check_in_due",
    "check_in_overdue",
    "check_in_escalated",
    "check_ins_missed",
]


class NotificationRaised(Struct, frozen=True):
    """`person_id` was told something of a key result; `explanation` names the rule and its inputs."""

    notification_id: UUID
    person_id: UUID
    kind: NotificationKind
    key_result_id: UUID
    objective_id: UUID
    key_result_title: str
    explanation: str


class NudgeSent(Struct, frozen=True):
    """A reminder of `subject_id` was raised for a person at `at`, because of the event `cause_id`."""

    person_id: UUID
    subject_id: UUID
    cause_id: UUID
    kind: NotificationKind
    at: datetime


class NudgeSuppressed(Struct, frozen=True):
    """A reminder was held back, so that nobody drowns in them: `reason` names the limit."""

    person_id: UUID
    subject_id: UUID
    cause_id: UUID
    kind: NotificationKind
    at: datetime
    reason: Literal["one_a_day", "enough_this_week"]


class WatchedPromise(Struct, frozen=True):
    """What a watched key result promises: its marks in its own unit and its days, as goals last told them."""

    objective_id: UUID
    title: str
    start: Decimal
    commit: Decimal
    target: Decimal
    unit: str
    starts_on: date
    due_on: date
    type: KeyResultType = "increase"
    measurement: Measurement = PLAIN


class WatchedValue(Struct, frozen=True):
    """The latest check-in by when it was true."""

    check_in_id: UUID
    value: Decimal
    occurred_at: datetime


class KeyResultJudged(Struct, frozen=True):
    """All that the watcher remembers of a key result from now on, so that nothing is told twice.

    `behind` and `commit_reached` are its latest judgement, `commits_told` the commits that a
    notification was raised for. `heard` is how far each service's log has been heard (its position in
    the organisation's shard), and `known_at` the latest moment of which anything is known.
    """

    key_result_id: UUID
    accountable_id: UUID | None
    behind: bool
    commit_reached: bool
    heard: dict[str, int]
    known_at: datetime | None = None
    open: bool = False
    closed: bool = False
    promise: WatchedPromise | None = None
    latest: WatchedValue | None = None
    commits_told: tuple[Decimal, ...] = ()


WatchEvent = NotificationRaised | KeyResultJudged
NudgeEvent = NotificationRaised | NudgeSent | NudgeSuppressed
NotificationsEvent = NotificationRaised | KeyResultJudged | NudgeSent | NudgeSuppressed
