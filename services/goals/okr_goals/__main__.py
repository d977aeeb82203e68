"""Goals put together: the one place where its parts meet the real things."""

from pathlib import Path

from okr.goals.v1.cycles_pb2_grpc import add_CyclesServiceServicer_to_server
from okr.goals.v1.goals_pb2_grpc import add_GoalsServiceServicer_to_server
from okr.goals.v1.practice_pb2_grpc import add_PracticeServiceServicer_to_server
from okr_chassis.news import News
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_eventstore.executor import CommandExecutor
from okr_goals.acquaintances import Acquaintances
from okr_goals.api import GoalsService
from okr_goals.importing.carrier import Carrier
from okr_goals.importing.observatory import Observatory
from okr_goals.importing.reception import Reception
from okr_goals.lifecycle.api import CyclesService
from okr_goals.lifecycle.assessor import Assessor
from okr_goals.lifecycle.clock import CycleClock
from okr_goals.lifecycle.gate import Gate
from okr_goals.lifecycle.steward import Steward
from okr_goals.practice.api import PracticeService
from okr_goals.subscribers import subscriptions

NAME = "goals"
MIGRATIONS: Path | None = None


def build(host: Host) -> Service:
    assert host.log is not None, "goals has events of its own, and so a log"
    acquaintances = Acquaintances(host.reader, host.peers)
    observatory = Observatory(host.execute, host.reader, host.peers)
    reception = Reception(host.execute, observatory, host.peers, host.clock)
    news = News(host.log, host.reader)
    api = GoalsService(host.execute, host.reader, host.pages, news, acquaintances, reception, host.vault)
    practice = PracticeService(host.execute, host.reader, news, acquaintances, host.vault)
    carrier = Carrier(host.execute, host.reader, host.peers)
    gate = Gate(host.reader)
    # The clock moves few cycles, each of them twice in its life: it keeps no states in memory.
    clock = CycleClock(CommandExecutor(host.log, cached_streams=0), host.reader, host.clock)
    assessor = Assessor(host.reader, host.peers, host.clock)
    lifecycle = CyclesService(host.execute, host.reader, host.pages, news, host.vault, gate, assessor, clock)
    steward = Steward(host.execute, host.reader, news, host.peers, gate)
    return Service(
        NAME,
        [
            (add_GoalsServiceServicer_to_server, api),
            (add_CyclesServiceServicer_to_server, lifecycle),
            (add_PracticeServiceServicer_to_server, practice),
        ],
        subscriptions(carrier, steward),
        jobs=[clock.run],
        aggregate_fields=("objective_id", "cycle_id"),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
