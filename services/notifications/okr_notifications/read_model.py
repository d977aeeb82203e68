"""What is read of notifications: everybody's inbox, and the key results that the sweep has to look at."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import ClassVar, NamedTuple, assert_never, cast
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from okr_chassis.rpc.pages import Page
from okr_chassis.service import Reader
from okr_contracts.notifications import (
    KeyResultJudged,
    NotificationRaised,
    NotificationsEvent,
    NudgeSent,
    NudgeSuppressed,
    WatchedPromise,
    WatchedValue,
)
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class InboxRow(Row, frozen=True):
    """One thing a person was told. Written once, so it is its own history.

    All of an organisation's events lie in one shard, so their positions are the order of an inbox.
    """

    __table__ = "inbox"
    __key__ = ("organization_id", "person_id", "position")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    person_id: UUID
    position: int
    notification_id: UUID | None = None
    kind: str = ""
    key_result_id: UUID | None = None
    objective_id: UUID | None = None
    key_result_title: str = ""
    explanation: str = ""
    occurred_at: datetime | None = None


class WatchedRow(Row, frozen=True):
    """A key result as its watcher sees it, as far as the sweep has to know. What moves with the clock is not here."""

    __table__ = "watched"
    __key__ = ("organization_id", "key_result_id")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    key_result_id: UUID
    due_a_look: bool = False
    """Open, somebody's, and not behind yet: time alone may change how it stands."""
    starts_on: date | None = None
    promise: WatchedPromise | None = None
    latest: WatchedValue | None = None


def project(rows: Rows, event: ProjectedEvent) -> None:
    match cast(NotificationsEvent, event.data):
        case NotificationRaised() as fact:
            rows.put(
                InboxRow(
                    organization_id=event.organization_id,
                    person_id=fact.person_id,
                    position=event.position,
                    notification_id=fact.notification_id,
                    kind=fact.kind,
                    key_result_id=fact.key_result_id,
                    objective_id=fact.objective_id,
                    key_result_title=fact.key_result_title,
                    explanation=fact.explanation,
                    occurred_at=event.occurred_at,
                )
            )
        case KeyResultJudged() as memory:
            row = rows.get(WatchedRow, event.organization_id, memory.key_result_id)
            rows.put(_watched(row, memory))
        case NudgeSent() | NudgeSuppressed():
            pass  # what a person is told, is told by the notification beside it
        case _ as never:
            assert_never(never)


def _watched(row: WatchedRow, memory: KeyResultJudged) -> WatchedRow:
    promise = memory.promise
    if promise is None:
        return row
    return replace(
        row,
        due_a_look=memory.open and memory.accountable_id is not None and not memory.behind,
        starts_on=promise.starts_on,
        promise=promise,
        latest=memory.latest,
    )


inbox = Projection("notifications.inbox", source="notifications", rows=(InboxRow, WatchedRow), project=project)


async def inbox_of(reader: Reader, organization_id: UUID, person_id: UUID, page: Page) -> Sequence[asyncpg.Record]:
    """A person's inbox, newest first, one row more than the page holds."""
    return await reader.fetch(
        """SELECT position, notification_id, kind, key_result_id, objective_id, key_result_title, explanation,
                  occurred_at
             FROM inbox
            WHERE organization_id = $1 AND person_id = $2 AND ($3::bigint IS NULL OR position < $3)
            ORDER BY position DESC LIMIT $4""",
        organization_id,
        person_id,
        int(page.after[0]) if page.after else None,
        page.limit,
    )


class Place(NamedTuple):
    """Where in the order of all watched key results, over all organisations."""

    organization_id: UUID
    key_result_id: UUID


BEGINNING = Place(UUID(int=0), UUID(int=0))


async def due_a_look(reader: Reader, today: date, after: Place, limit: int) -> Sequence[asyncpg.Record]:
    """The next open key results, over all organisations, that time alone may have let fall behind."""
    return await reader.fetch(
        """SELECT organization_id, key_result_id, promise, latest FROM watched
            WHERE due_a_look AND starts_on <= $1 AND (organization_id, key_result_id) > ($2, $3)
            ORDER BY organization_id, key_result_id LIMIT $4""",
        today,
        *after,
        limit,
    )
