"""Whole services at work for a test: real PostgreSQL, real gRPC, callers with tokens of their own."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from grpc import aio

from okr.alignment.v1.alignment_pb2_grpc import AlignmentServiceStub
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.checkins.v1.rhythm_pb2_grpc import RhythmServiceStub
from okr.common.v1 import common_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.goals.v1.cycles_pb2_grpc import CyclesServiceStub
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.goals.v1.practice_pb2_grpc import PracticeServiceStub
from okr.insights.v1.insights_pb2_grpc import InsightsServiceStub
from okr.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from okr_chassis.clock import Clock, system_clock
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import Refusal, refusal_of
from okr_chassis.service import ServiceModule
from okr_chassis.settings import Settings


class Desk:
    """One person of one organisation, with a channel of their own."""

    def __init__(self, platform: Platform, organization_id: UUID, person_id: UUID) -> None:
        assert platform.issuer is not None, "tests run with the development issuer"
        self.organization_id = organization_id
        self.person_id = person_id
        token = platform.issuer.issue(organization_id, person_id)
        self.channel: aio.Channel = connect(platform.address, lambda: token, deadline_seconds=30.0)
        self.directory: Any = DirectoryServiceStub(self.channel)
        self.goals: Any = GoalsServiceStub(self.channel)
        self.cycles: Any = CyclesServiceStub(self.channel)
        self.practice: Any = PracticeServiceStub(self.channel)
        self.checkins: Any = CheckInsServiceStub(self.channel)
        self.rhythm: Any = RhythmServiceStub(self.channel)
        self.alignment: Any = AlignmentServiceStub(self.channel)
        self.notifications: Any = NotificationsServiceStub(self.channel)
        self.insights: Any = InsightsServiceStub(self.channel)


class House:
    """The platform with the services a test wants, and desks for whoever calls."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.desks: list[Desk] = []

    def desk(self, organization_id: UUID | None = None, person_id: UUID | None = None) -> Desk:
        """A caller; of an organisation nobody has heard of, where none is given."""
        desk = Desk(self.platform, organization_id or uuid4(), person_id or uuid4())
        self.desks.append(desk)
        return desk


@asynccontextmanager
async def house(
    dsn: str, data_dir: Path, modules: Sequence[ServiceModule], clock: Clock = system_clock
) -> AsyncIterator[House]:
    settings = Settings(data_dir=data_dir, grpc_port=0)
    async with Platform(settings, dsn, modules, clock=clock) as platform:
        built = House(platform)
        try:
            yield built
        finally:
            for desk in built.desks:
                await desk.channel.close()


@asynccontextmanager
async def database_of_its_own(postgres_dsn: str) -> AsyncIterator[str]:
    """An empty database, for a house that many tests share."""
    name = f"house_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


class Refused:
    """What a call inside `refused()` was answered with."""

    refusal: Refusal


@contextmanager
def refused(code: grpc.StatusCode, reason: str | None = None) -> Iterator[Refused]:
    """The call inside is refused with this status and reason."""
    answer = Refused()
    with pytest.raises(aio.AioRpcError) as raised:
        yield answer
    answer.refusal = refusal_of(raised.value)
    assert answer.refusal.code == code, answer.refusal
    if reason is not None:
        assert answer.refusal.reason == reason, answer.refusal


def new_id() -> str:
    """For request ids and for things that are new."""
    return str(uuid4())


def page(size: int = 0, token: str = "") -> common_pb2.PageRequest:
    return common_pb2.PageRequest(size=size, token=token)
