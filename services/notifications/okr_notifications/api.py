"""The gRPC side of notifications."""

from typing import Any

from grpc import aio

from okr.notifications.v1 import notifications_pb2 as pb
from okr.notifications.v1 import notifications_pb2_grpc
from okr_chassis.identity.auth import PermissionDeniedError, caller
from okr_chassis.rpc.messages import check, enum_value, wire
from okr_chassis.rpc.pages import Pages
from okr_chassis.service import Reader
from okr_notifications import read_model

Context = aio.ServicerContext[Any, Any]


class NotificationsService(notifications_pb2_grpc.NotificationsServiceServicer):
    """Translates requests in and answers out."""

    def __init__(self, reader: Reader, pages: Pages) -> None:
        self._reader = reader
        self._pages = pages

    async def ListInbox(self, request: pb.ListInboxRequest, context: Context) -> pb.ListInboxResponse:
        check(request)
        who = caller()
        if who.person_id is None:
            raise PermissionDeniedError("PERSON_REQUIRED", "an inbox belongs to a person, and a service calls")
        page = self._pages.open(request)
        await self._reader.caught_up(request.min_positions)
        rows = await read_model.inbox_of(self._reader, who.organization_id, who.person_id, page)
        shown, token = page.cut(rows, lambda row: (row["position"],))
        return pb.ListInboxResponse(
            notifications=[
                pb.Notification(
                    notification_id=wire(row["notification_id"]),
                    kind=enum_value(pb.NotificationKind, row["kind"], "NOTIFICATION_KIND_"),
                    key_result_id=wire(row["key_result_id"]),
                    objective_id=wire(row["objective_id"]),
                    key_result_title=row["key_result_title"],
                    explanation=row["explanation"],
                    occurred_at=wire(row["occurred_at"]),
                )
                for row in shown
            ],
            next_page_token=token,
        )
