"""The insights service, put together. It has no events of its own: everything it keeps can be dropped and rebuilt."""

from pathlib import Path

from okr.insights.v1.insights_pb2_grpc import add_InsightsServiceServicer_to_server
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_insights.api import InsightsService
from okr_insights.subscribers import subscriptions

NAME = "insights"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    api = InsightsService(host.reader, host.pages, host.clock, host.vault)
    return Service(
        NAME,
        servicers=[(add_InsightsServiceServicer_to_server, api)],
        subscriptions=list(subscriptions),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
