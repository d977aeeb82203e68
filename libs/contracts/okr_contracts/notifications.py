"""Events of notifications: what a person was told, and why."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

NotificationKind = Literal["became_accountable", "fell_behind", "commit_reached"]


class NotificationRaised(Struct, frozen=True):
    """`explanation` names the rule and its inputs; `person_id` is None while nobody is accountable."""

    notification_id: UUID
    person_id: UUID
    kind: NotificationKind
    key_result_id: UUID
    objective_id: UUID
    key_result_title: str
    explanation: str


class KeyResultJudged(Struct, frozen=True):
    """What the watcher remembers of a key result, so that nothing is told twice."""

    key_result_id: UUID
    accountable_id: UUID | None
    behind: bool
    commit_reached: bool
    heard: dict[str, int]


NotificationsEvent = NotificationRaised | KeyResultJudged
