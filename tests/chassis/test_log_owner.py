"""What a log's owner tells the platform's own services, and nobody else."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from okr.directory.v1 import directory_pb2
from okr.eventlog.v1 import eventlog_pb2 as pb
from okr_chassis.identity.auth import Caller, acting_for, calling
from okr_chassis.identity.issuer import InternalIssuer
from okr_chassis.kafka.owner import NO_ORGANIZATION, OwnersLog
from okr_chassis.serving import log_api
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import shard_of
from tests.chassis.conftest import Client, Site, refused, running

QUESTIONS: list[tuple[str, Any]] = [
    ("GetHeads", pb.GetHeadsRequest(service="directory")),
    ("ReadShard", pb.ReadShardRequest(service="directory", shard=1, up_to_position=10)),
]
questions = pytest.mark.parametrize(("method", "question"), QUESTIONS, ids=[name for name, _ in QUESTIONS])


async def founded(site: Site, units: int = 3) -> Client:
    client = site.client()
    request_id = str(uuid4())
    await client.directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=request_id, name="Mint"))
    for number in range(units):
        await client.directory.AddUnit(
            directory_pb2.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=f"Unit {number}")
        )
    return client


def log_of(site: Site) -> OwnersLog:
    """The log over gRPC, as another service asks for it."""
    event_log = site.platform.logs["directory"]
    return OwnersLog("directory", "insights", site.house.host.peers.event_log("directory"), event_log.codec)


@questions
@pytest.mark.parametrize("operator", [False, True], ids=["person", "operator"])
async def test_people_and_operators_are_refused(site: Site, method: str, question: Any, operator: bool) -> None:
    client = site.client(operator=operator)
    refusal = await refused(getattr(client.eventlog, method)(question))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SERVICES_ONLY")


@questions
@pytest.mark.parametrize("operator", [False, True], ids=["person", "operator"])
async def test_a_service_that_acts_for_somebody_is_refused(
    site: Site, method: str, question: Any, operator: bool
) -> None:
    person = uuid4()
    stub = site.house.host.peers.event_log("directory")
    with calling(Caller(uuid4(), person, f"person:{person}", operator)):
        refusal = await refused(getattr(stub, method)(question))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SERVICES_ONLY")


@questions
async def test_a_service_of_another_platform_is_nobody(site: Site, method: str, question: Any) -> None:
    token = InternalIssuer().issue("insights", Caller(NO_ORGANIZATION, None, "service:insights"))
    refusal = await refused(getattr(site.client(token=token).eventlog, method)(question))
    assert refusal.code == grpc.StatusCode.UNAUTHENTICATED


async def test_a_service_learns_the_heads_and_reads_every_organisations_events(site: Site) -> None:
    clients = [await founded(site), await founded(site, 1)]
    event_log = site.platform.logs["directory"]
    owner = log_of(site)

    assert await owner.heads() == await event_log.heads()
    for client in clients:
        shard = shard_of(client.organization_id)
        stored = await event_log.read_shard(shard)
        head = stored[-1].position
        assert list(await owner.read(shard, 0, head)) == stored
        assert list(await owner.read(shard, 1, head)) == stored[1:]
        assert list(await owner.read(shard, 0, 1)) == stored[:1]
        assert list(await owner.read(shard, head, head + 100)) == []


async def test_an_answer_is_bounded_by_count_and_by_size_and_the_rest_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await founded(site, 9)
    shard = shard_of(client.organization_id)
    stored = await site.platform.logs["directory"].read_shard(shard)
    stub = site.house.host.peers.event_log("directory")
    question = pb.ReadShardRequest(service="directory", shard=shard, up_to_position=10)

    async def answered() -> list[int]:
        with acting_for(NO_ORGANIZATION, "service:insights"):
            return [event.position for event in (await stub.ReadShard(question)).events]

    assert await answered() == list(range(1, 11))
    monkeypatch.setattr(log_api, "SHARD_PAGE_BYTES", 1)
    assert await answered() == [1], "one event goes whatever its size"
    assert list(await log_of(site).read(shard, 0, 10)) == stored
    monkeypatch.setattr(log_api, "SHARD_PAGE_BYTES", 1_000_000)
    monkeypatch.setattr(log_api, "SHARD_PAGE_EVENTS", 4)
    assert await answered() == [1, 2, 3, 4]
    assert list(await log_of(site).read(shard, 0, 10)) == stored


async def test_questions_that_make_no_sense_are_refused(site: Site) -> None:
    stub = site.house.host.peers.event_log("directory")

    async def faults(**wrong: Any) -> list[str]:
        question = pb.ReadShardRequest(**{"service": "directory", "shard": 1, "up_to_position": 1, **wrong})
        with acting_for(NO_ORGANIZATION, "service:insights"):
            return [each.field for each in (await refused(stub.ReadShard(question))).violations]

    assert await faults(service="sales", shard=256, after_position=-1) == ["service", "shard", "after_position"]
    assert await faults(shard=-1) == ["shard"]
    assert await faults(after_position=2) == ["up_to_position"]
    with acting_for(NO_ORGANIZATION, "service:insights"):
        refusal = await refused(stub.GetHeads(pb.GetHeadsRequest(service="sales")))
    assert [each.field for each in refusal.violations] == ["service"]


async def test_an_owner_that_is_away_is_waited_for(fresh_dsn: str, tmp_path: Path) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        codec = site.platform.logs["directory"].codec
        owner = OwnersLog("directory", "insights", site.client().eventlog, codec)
        await site.platform.stop()
        with pytest.raises(StoreUnavailableError, match="the log of directory could not be asked"):
            await owner.heads()
