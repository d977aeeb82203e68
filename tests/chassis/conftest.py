"""A platform with one small service in it, and ways to call it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from grpc import aio

from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr.operations.v1.operations_pb2_grpc import OperationsServiceStub
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import Refusal, refusal_of
from okr_chassis.settings import Settings
from tests.chassis.house import House, Module


@dataclass
class Client:
    """A person of one organisation, on a channel of their own."""

    organization_id: UUID
    person_id: UUID
    token: str
    channel: aio.Channel

    @property
    def directory(self) -> DirectoryServiceStub:
        return DirectoryServiceStub(self.channel)

    @property
    def eventlog(self) -> EventLogServiceStub:
        return EventLogServiceStub(self.channel)

    @property
    def operations(self) -> OperationsServiceStub:
        return OperationsServiceStub(self.channel)


class Site:
    """A running platform as tests see it."""

    def __init__(self, platform: Platform, module: Module) -> None:
        self.platform = platform
        assert module.house is not None, "the platform has built its services"
        self.house: House = module.house
        self._channels: list[aio.Channel] = []

    def client(
        self, *, organization_id: UUID | None = None, operator: bool = False, token: str | None = None
    ) -> Client:
        organization, person = organization_id or uuid4(), uuid4()
        assert self.platform.issuer is not None, "tests run in development"
        brought = token if token is not None else self.platform.issuer.issue(organization, person, operator)
        channel = connect(self.platform.address, lambda: brought)
        self._channels.append(channel)
        return Client(organization, person, brought, channel)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@asynccontextmanager
async def running(dsn: str, data_dir: Path, module: Module | None = None, **settings: Any) -> AsyncIterator[Site]:
    module = module or Module()
    async with Platform(Settings(data_dir=data_dir, grpc_port=0, **settings), dsn, [module]) as platform:
        site = Site(platform, module)
        try:
            yield site
        finally:
            await site.close()


@pytest.fixture
async def site(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(fresh_dsn, tmp_path / "data") as site:
        yield site


async def refused(call: Awaitable[Any]) -> Refusal:
    """How a call was refused; a call that was not fails the test."""
    try:
        answer = await call
    except grpc.RpcError as error:
        return refusal_of(error)
    raise AssertionError(f"the call was answered with {answer!r}")
