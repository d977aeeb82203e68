"""The checkins service, put together."""

from pathlib import Path

from okr.checkins.v1.checkins_pb2_grpc import add_CheckInsServiceServicer_to_server
from okr.checkins.v1.rhythm_pb2_grpc import add_RhythmServiceServicer_to_server
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_checkins.api import CheckInsService
from okr_checkins.rhythm.api import RhythmService
from okr_checkins.rhythm.scheduler import DutySweep
from okr_checkins.subscribers import subscriptions

NAME = "checkins"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    if host.log is None:
        raise RuntimeError("checkins has a log of its own, and was given none")
    api = CheckInsService(host.execute, host.reader, host.pages, host.clock, host.peers, host.vault)
    rhythm = RhythmService(host.execute, host.reader, host.pages, host.clock, host.peers)
    sweep = DutySweep(host.log, host.reader, host.clock)
    return Service(
        NAME,
        servicers=[(add_CheckInsServiceServicer_to_server, api), (add_RhythmServiceServicer_to_server, rhythm)],
        subscriptions=subscriptions(host.execute),
        jobs=[sweep.run],
        aggregate_fields=("key_result_id", "cycle_id"),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
