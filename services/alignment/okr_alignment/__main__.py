"""The alignment service, put together."""

from pathlib import Path

from okr.alignment.v1.alignment_pb2_grpc import add_AlignmentServiceServicer_to_server
from okr_alignment.api import AlignmentService
from okr_alignment.subscribers import subscriptions
from okr_chassis.process import run
from okr_chassis.service import Host, Service

NAME = "alignment"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    api = AlignmentService(host.execute, host.reader, host.pages, host.peers)
    return Service(
        NAME,
        servicers=[(add_AlignmentServiceServicer_to_server, api)],
        subscriptions=subscriptions,
        aggregate_fields=("cycle_id",),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
