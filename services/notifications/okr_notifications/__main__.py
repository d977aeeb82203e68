"""The notifications service, put together."""

from pathlib import Path

from okr.notifications.v1.notifications_pb2_grpc import add_NotificationsServiceServicer_to_server
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_eventstore.executor import CommandExecutor
from okr_notifications.api import NotificationsService
from okr_notifications.scheduler import PaceSweep
from okr_notifications.subscribers import subscriptions

NAME = "notifications"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    if host.log is None:
        raise RuntimeError("notifications has a log of its own, and was given none")
    # The sweep asks few watchers, each of them rarely: it keeps no states in memory.
    sweep = PaceSweep(CommandExecutor(host.log, cached_streams=0), host.reader, host.clock)
    return Service(
        NAME,
        servicers=[(add_NotificationsServiceServicer_to_server, NotificationsService(host.reader, host.pages))],
        subscriptions=subscriptions(host.execute, host.clock),
        jobs=[sweep.run],
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
