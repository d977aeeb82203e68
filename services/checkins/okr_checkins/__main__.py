"""The checkins service, put together."""

from pathlib import Path

from okr.checkins.v1.checkins_pb2_grpc import add_CheckInsServiceServicer_to_server
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_checkins.api import CheckInsService
from okr_checkins.subscribers import subscriptions

NAME = "checkins"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    api = CheckInsService(host.execute, host.reader, host.pages, host.clock, host.peers, host.vault)
    return Service(
        NAME,
        servicers=[(add_CheckInsServiceServicer_to_server, api)],
        subscriptions=subscriptions(host.execute),
        aggregate_fields=("key_result_id",),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
