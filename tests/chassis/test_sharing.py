"""Copies of a service share its consumers' shards: each has its part, and takes over what another leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.operations.v1 import operations_pb2
from okr_chassis.buses import sharing
from okr_chassis.buses.sharing import Shares
from okr_chassis.identity.issuer import keep_internal_key
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.settings import Settings
from okr_eventstore.database import Database
from okr_eventstore.model import SHARDS
from tests.chassis.conftest import Client
from tests.chassis.house import Module

PATIENCE_SECONDS = 20.0


class Consumer:
    """Stands where a source stands, and remembers what it was told."""

    def __init__(self) -> None:
        self.shards: frozenset[int] = frozenset()
        self._told = asyncio.Event()

    def assign(self, shards: Iterable[int]) -> None:
        self.shards = frozenset(shards)
        self._told.set()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.shards) != count:
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def copy_of(database: Database, name: str) -> AsyncIterator[Consumer]:
    """A copy that leaves in an orderly way."""
    shares, consumer = Shares(database, name), Consumer()
    shares.add(consumer)
    await shares.start()
    task = asyncio.create_task(shares.run())
    try:
        yield consumer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shares.close()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("hurry")
async def test_one_copy_alone_has_all_shards_at_once_and_two_have_half_each(database: Database) -> None:
    async with copy_of(database, "one") as one:
        assert len(one.shards) == SHARDS
        async with copy_of(database, "two") as two:
            await two.has(SHARDS // 2)
            await one.has(SHARDS // 2)
            assert not one.shards & two.shards
        await one.has(SHARDS)


@pytest.mark.usefixtures("hurry")
async def test_what_a_dead_copy_had_is_taken_over(database: Database) -> None:
    dead = Shares(database, "dead", lease_seconds=0.5)
    await dead.start()
    assert len(dead.shards) == SHARDS
    async with copy_of(database, "heir") as heir:
        await heir.has(SHARDS)


async def test_two_copies_at_once_apply_every_event_once_and_either_shows_what_was_written_at_the_other(
    fresh_dsn: str, tmp_path: Path
) -> None:
    """Reads at the copy that does not apply the organisation's shard wait for the one that does."""
    async with two_copies(fresh_dsn, tmp_path) as (first, second):
        written: list[tuple[UUID, str]] = []
        for number in range(12):
            organization_id = uuid4()
            at, other = (first, second) if number % 2 else (second, first)
            async with caller(at, organization_id) as client:
                founding = pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint")
                await client.directory.FoundOrganization(founding)
                request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=f"chain-{number % 3}")
                position = (await client.directory.AddUnit(request)).receipt.position
            async with caller(other, organization_id) as client:
                units = await client.directory.ListUnits(pb.ListUnitsRequest(min_positions=[position]))
                assert f"chain-{number % 3}" in {each.name for each in units.units}
            written.append((organization_id, position))
        for platform in (first, second):
            await platform.wait_idle()
        assert await lags(first, second) == [0, 0, 0, 0]
        parts = [
            {shard for shard, position in runner.checkpoints.items() if position}
            for platform in (first, second)
            for _, runner in platform.runners
            if runner.name == "directory.structure"
        ]
        assert all(parts), "each had work to do"
        assert not parts[0] & parts[1]
        counters = [runner.counters for platform in (first, second) for _, runner in platform.runners]
        assert sum(each.zombies for each in counters) == 0, "nobody folded in vain"


@asynccontextmanager
async def two_copies(dsn: str, tmp_path: Path) -> AsyncIterator[tuple[Platform, Platform]]:
    keep_internal_key(tmp_path / "internal.pem")
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in ("one", "two"):
            settings = Settings(
                data_dir=tmp_path / "data",
                grpc_port=0,
                internal_key_file=tmp_path / "internal.pem",
                instance=name,
            )
            platform = Platform(settings, dsn, [Module()], among_others=True)
            found.append(await stack.enter_async_context(platform))
        first, second = found
        for platform in found:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while {len(runner.checkpoints) for _, runner in platform.runners} != {SHARDS // 2}:
                    await lags(platform)  # asking takes long enough
        yield first, second


@asynccontextmanager
async def caller(platform: Platform, organization_id: UUID) -> AsyncIterator[Client]:
    assert platform.issuer is not None, "tests run in development"
    token = platform.issuer.issue(organization_id, uuid4(), operator=True)
    async with connect(platform.address, lambda: token) as channel:
        yield Client(organization_id, uuid4(), token, channel)


async def lags(*platforms: Platform) -> list[int]:
    found: list[int] = []
    for platform in platforms:
        async with caller(platform, uuid4()) as client:
            status = await client.operations.GetStatus(operations_pb2.GetStatusRequest())
            found += [each.lag_events for each in status.consumers]
    return found


async def test_calls_go_round_among_copies_and_none_fails_when_one_of_them_leaves(
    fresh_dsn: str, tmp_path: Path
) -> None:
    async with two_copies(fresh_dsn, tmp_path) as (first, second):
        assert first.issuer is not None, "tests run in development"
        token = first.issuer.issue(uuid4(), uuid4())
        both = f"{first.address},{second.address}"
        async with connect(both, lambda: token, among_copies=True) as channel:
            directory = DirectoryServiceStub(channel)

            def answered(platform: Platform) -> int:
                counts = platform.watching.calls.methods.get("okr.directory.v1.DirectoryService/ListUnits")
                return counts.ok if counts is not None else 0

            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (answered(first) and answered(second)):
                    await directory.ListUnits(pb.ListUnitsRequest())
            leaving = asyncio.create_task(first.stop())
            while not leaving.done():
                await directory.ListUnits(pb.ListUnitsRequest())
            await leaving
            at_the_end = answered(first)
            for _ in range(10):
                await directory.ListUnits(pb.ListUnitsRequest())
            assert answered(first) == at_the_end
