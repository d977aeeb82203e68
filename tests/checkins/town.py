"""The services these tests are about, running with goals and directory behind real gRPC, and people who call them."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc

from okr.alignment.v1.alignment_pb2_grpc import AlignmentServiceStub
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.checkins.v1.rhythm_pb2_grpc import RhythmServiceStub
from okr.directory.v1 import directory_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.goals.v1 import goals_pb2
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from okr_alignment import __main__ as alignment
from okr_chassis.clock import ManualClock
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import Refusal, refusal_of
from okr_chassis.settings import Settings
from okr_checkins import __main__ as checkins
from okr_directory import __main__ as directory
from okr_goals import __main__ as goals
from okr_notifications import __main__ as notifications

MODULES = (directory, goals, checkins, alignment, notifications)
NOW = datetime(2026, 2, 15, 12, tzinfo=UTC)
CYCLE_STARTS, CYCLE_ENDS = "2026-01-01", "2026-03-31"


def new() -> str:
    """An id, for a request or for a thing."""
    return str(uuid4())


class Voice:
    """A person of an organisation, calling the services with a token of theirs."""

    def __init__(self, address: str, token: str, person_id: str) -> None:
        self.person_id = person_id
        self.channel = connect(address, lambda: token, deadline_seconds=20)
        self.directory = DirectoryServiceStub(self.channel)
        self.goals = GoalsServiceStub(self.channel)
        self.checkins = CheckInsServiceStub(self.channel)
        self.rhythm = RhythmServiceStub(self.channel)
        self.alignment = AlignmentServiceStub(self.channel)
        self.notifications = NotificationsServiceStub(self.channel)


@dataclass
class Town:
    """A running platform."""

    platform: Platform
    clock: ManualClock
    voices: list[Voice] = field(default_factory=list)

    def voice(self, organization_id: UUID, person_id: UUID | None = None) -> Voice:
        assert self.platform.issuer is not None
        person_id = person_id or uuid4()
        voice = Voice(self.platform.address, self.platform.issuer.issue(organization_id, person_id), str(person_id))
        self.voices.append(voice)
        return voice

    async def firm(self) -> "Firm":
        """A new organisation with a department, a cycle that is active, and one person who calls."""
        organization_id = uuid4()
        ana = self.voice(organization_id)
        await ana.directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=new(), name="Firm"))
        unit_id = new()
        await ana.directory.AddUnit(
            directory_pb2.AddUnitRequest(
                request_id=new(), unit_id=unit_id, name="Sales", kind=directory_pb2.UNIT_KIND_DEPARTMENT
            )
        )
        firm = Firm(self, organization_id, ana, unit_id, "")
        await firm.register(ana, "ana")
        firm.cycle_id = await firm.cycle("Q1 2026")
        return firm


@dataclass
class Firm:
    """An organisation, so far as tests of check-ins, alignments and inboxes need one."""

    town: Town
    organization_id: UUID
    ana: Voice
    unit_id: str
    cycle_id: str

    async def register(self, who: Voice, handle: str) -> None:
        await self.ana.directory.RegisterPerson(
            directory_pb2.RegisterPersonRequest(
                request_id=new(), person_id=who.person_id, handle=handle, name=handle.title(), unit_id=self.unit_id
            )
        )

    async def cycle(self, name: str) -> str:
        cycle_id = new()
        await self.ana.goals.DraftCycle(
            goals_pb2.DraftCycleRequest(
                request_id=new(), cycle_id=cycle_id, name=name, starts_on=CYCLE_STARTS, ends_on=CYCLE_ENDS
            )
        )
        await self.ana.goals.ActivateCycle(goals_pb2.ActivateCycleRequest(request_id=new(), cycle_id=cycle_id))
        return cycle_id

    async def objective(self, title: str = "Grow", cycle_id: str | None = None) -> str:
        objective_id = new()
        await self.ana.goals.DraftObjective(
            goals_pb2.DraftObjectiveRequest(
                request_id=new(),
                objective_id=objective_id,
                cycle_id=cycle_id or self.cycle_id,
                unit_id=self.unit_id,
                owner_id=self.ana.person_id,
                title=title,
            )
        )
        return objective_id

    async def key_result(self, objective_id: str, start: str = "0", commit: str = "50", target: str = "100") -> str:
        """A key result of a drafted objective, with Ana accountable."""
        key_result_id = new()
        champion = goals_pb2.Champion(person_id=self.ana.person_id, role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)
        await self.ana.goals.DefineKeyResult(
            goals_pb2.DefineKeyResultRequest(
                request_id=new(),
                objective_id=objective_id,
                key_result_id=key_result_id,
                title="Regulars who come back",
                start=start,
                commit=commit,
                target=target,
                unit="%",
                champions=[champion],
            )
        )
        return key_result_id

    async def activate(self, objective_id: str) -> None:
        await self.ana.goals.ActivateObjective(
            goals_pb2.ActivateObjectiveRequest(request_id=new(), objective_id=objective_id)
        )

    async def close(self, objective_id: str) -> None:
        await self.ana.goals.CloseObjective(
            goals_pb2.CloseObjectiveRequest(
                request_id=new(), objective_id=objective_id, outcome=goals_pb2.OBJECTIVE_OUTCOME_PARTLY
            )
        )

    async def open_key_result(self) -> tuple[str, str]:
        """An activated objective and its key result, which checkins may not have heard of yet."""
        objective_id = await self.objective()
        key_result_id = await self.key_result(objective_id)
        await self.activate(objective_id)
        return objective_id, key_result_id


@asynccontextmanager
async def a_town(dsn: str, data_dir: Path, now: datetime = NOW) -> AsyncIterator[Town]:
    clock = ManualClock(now)
    settings = Settings(data_dir=data_dir, grpc_port=0)
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Platform(settings, dsn, MODULES, clock=clock))
        town = Town(platform, clock)
        try:
            yield town
        finally:
            for voice in town.voices:
                await voice.channel.close()


async def refused(call: Awaitable[Any]) -> Refusal:
    """What a call was refused with; fails when it was not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        assert refusal.code is not grpc.StatusCode.INTERNAL, refusal
        return refusal
    raise AssertionError(f"accepted with {answer}")
