"""Every service in processes of its own, two of each, over a real Kafka, each with a role that sees only its schema."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from okr.checkins.v1.checkins_pb2 import RecordCheckInRequest
from okr.eventlog.v1.eventlog_pb2 import TailEventsRequest
from okr.goals.v1.goals_pb2 import KeyResult, ListObjectivesRequest
from okr.insights.v1.insights_pb2 import GetBoardRequest
from okr.notifications.v1.notifications_pb2 import NOTIFICATION_KIND_COMMIT_REACHED, ListInboxRequest
from okr.operations.v1.operations_pb2 import GetStatusRequest
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.settings import Settings
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_chassis.storage.roles import keep_passwords, provision_roles
from okr_cli import samples
from okr_cli.client import SERVICES, Client
from okr_cli.output import Output
from okr_cli.story import Story, stories
from okr_cli.up import tell
from tests.support.kafka import Topics
from tools.cluster.cluster import Cluster, places

pytestmark = pytest.mark.timeout(300)  # twelve processes start on a small machine

PATIENCE_SECONDS = 60.0
WRITERS = 4
ACKNOWLEDGED_BEFORE_A_KILL = 6
ACKNOWLEDGED_AFTER_A_KILL = 12
OKR = Path(sys.executable).with_name("okr")


class Site:
    """The cluster with its sample organisations, and ways to call it."""

    def __init__(self, cluster: Cluster, urls: dict[str, str], told: list[Story]) -> None:
        self.cluster = cluster
        self.urls = urls
        self.story = told[0]
        self._issuer = DevelopmentIssuer(cluster.data_dir)

    @asynccontextmanager
    async def client(
        self, person_id: UUID | None = None, *, operator: bool = False, insights_copy: int | None = None
    ) -> AsyncIterator[Client]:
        peers = self.cluster.peers
        if insights_copy is not None:
            peers["insights"] = peers["insights"].split(",")[insights_copy - 1]
        whom = person_id or samples.leader_of(self.story)
        token = self._issuer.issue(self.story.organization_id, whom, operator)
        async with Client("", token, peers) as client:
            yield client

    async def okr(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            OKR, *arguments, env=self.cluster.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def key_results(self, client: Client, *positions: str) -> list[KeyResult]:
        answer = await client.ask(client.goals.ListObjectives, ListObjectivesRequest(min_positions=positions))
        return [each for objective in answer.objectives for each in objective.key_results]

    async def at_rest(self) -> None:
        """Every consumer of every process has applied everything, and every shard is somebody's."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.client(operator=True) as client:
            while True:
                lag = 0
                for process in client.copies():
                    status = await client.ask(process.operations.GetStatus, GetStatusRequest())
                    lag += sum(each.lag_events + each.lag_unknown for each in status.consumers)
                    assert not any(each.halted or each.parked_streams for each in status.consumers), status
                if not lag and not await self._behind():
                    return

    async def _behind(self) -> int:
        """By what stands in the databases, whoever thinks a shard theirs."""
        heads: dict[str, dict[int, int]] = {}
        reached: list[tuple[str, int, int]] = []
        for service, url in self.urls.items():
            connection = await asyncpg.connect(url)
            try:
                rows = await connection.fetch(f"SELECT shard, head FROM {service}.shard WHERE head > 0")
                heads[service] = {row["shard"]: row["head"] for row in rows}
                reached += [
                    (row["source"], row["shard"], row["position"])
                    for row in await connection.fetch(
                        f"""SELECT source, shard, position FROM {service}.checkpoint
                             WHERE consumer NOT LIKE '%@%'
                                OR consumer IN (SELECT name || '@' || generation FROM {service}.projection)"""
                    )
                ]
            finally:
                await connection.close()
        return sum(max(0, heads[source].get(shard, 0) - position) for source, shard, position in reached)


@pytest.fixture(scope="module")
async def site(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    data_dir = tmp_path_factory.mktemp("cluster") / "data"
    topics, told = Topics(kafka_bootstrap), stories()
    async with EmbeddedPostgres(data_dir) as postgres:
        await tell(Settings(data_dir=data_dir), postgres.dsn, told, Output(as_json=True))
        urls = await provision_roles(postgres.dsn, keep_passwords(data_dir / "roles", SERVICES))
        settings = {"OKR_KAFKA_PREFIX": topics.prefix, "OKR_KAFKA_SESSION_SECONDS": "6", "OKR_LOG_LEVEL": "warning"}
        try:
            async with Cluster(data_dir, urls, kafka_bootstrap, places(2, None), settings=settings) as cluster:
                yield Site(cluster, urls, told)
        finally:
            await topics.delete()


async def test_the_sample_organisations_are_there_and_equal_to_their_logs(site: Site) -> None:
    await site.at_rest()
    board = json.loads(await site.okr("board", "--json"))
    assert board["organization"] == "Brightwater Software"
    assert sum(len(objective["key_results"]) for objective in board["objectives"]) >= 10
    verified = json.loads(await site.okr("verify", "--json"))
    assert verified["equal"]
    assert {each["service"] for each in verified["projections"]} == set(SERVICES)


async def test_a_check_in_travels_to_every_service_that_wants_to_know(site: Site) -> None:
    async with site.client() as client:
        (key_result,) = [each for each in await site.key_results(client) if each.title == "Change failure rate"]
        done = await client.tell(
            client.check_ins.RecordCheckIn,
            RecordCheckInRequest(check_in_id=str(uuid4()), key_result_id=key_result.key_result_id, value="11.5"),
        )
        position = done.receipt.position
        board = await client.ask(client.insights.GetBoard, GetBoardRequest(min_positions=[position]))
        shown = [each for objective in board.objectives for each in objective.key_results]
        assert [each.value for each in shown if each.key_result_id == key_result.key_result_id] == ["11.5"]
        await site.key_results(client, position)  # goals answers once it has heard of it
    async with site.client(UUID(key_result.champions[0].person_id)) as accountable:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _commit_reached(accountable, key_result.key_result_id):
                pass  # asking takes long enough


async def _commit_reached(client: Client, key_result_id: str) -> bool:
    inbox = await client.ask(client.notifications.ListInbox, ListInboxRequest())
    return any(
        each.kind == NOTIFICATION_KIND_COMMIT_REACHED and each.key_result_id == key_result_id
        for each in inbox.notifications
    )


async def test_what_a_service_has_heard_it_shows_while_the_one_that_said_it_is_away(site: Site) -> None:
    """Both copies of checkins are down; the board still knows that it has heard of a check-in."""
    async with site.client() as client:
        (key_result,) = [each for each in await site.key_results(client) if each.title == "Change failure rate"]
        request = RecordCheckInRequest(check_in_id=str(uuid4()), key_result_id=key_result.key_result_id, value="11.25")
        position = (await client.tell(client.check_ins.RecordCheckIn, request)).receipt.position
    await site.at_rest()
    away = [place for place in site.cluster.at if place.service == "checkins"]
    await asyncio.gather(*(site.cluster.children[place.name].stop() for place in away))
    for copy in (1, 2):
        async with site.client(insights_copy=copy) as client:
            board = await client.ask(client.insights.GetBoard, GetBoardRequest(min_positions=[position]))
            shown = [each for objective in board.objectives for each in objective.key_results]
            assert [each.value for each in shown if each.key_result_id == key_result.key_result_id] == ["11.25"]
    await asyncio.gather(*map(site.cluster.start_one, away))


@pytest.mark.parametrize("service", SERVICES)
async def test_a_services_role_sees_no_schema_but_its_own(site: Site, service: str) -> None:
    connection = await asyncpg.connect(site.urls[service])
    try:
        for other in set(SERVICES) - {service}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM {other}.checkpoint")
    finally:
        await connection.close()


async def test_any_copy_may_be_killed_and_nothing_is_lost(site: Site) -> None:
    """kill -9 of one copy of each service in turn, amid four people's check-ins; each comes back afterwards."""
    acknowledged: set[str] = set()
    coming_back: list[asyncio.Task[None]] = []
    async with site.client() as client:
        open_ones = [each.key_result_id for each in await site.key_results(client) if each.open]
        writing = [asyncio.create_task(_write(client, each, acknowledged)) for each in open_ones[:WRITERS]]
        try:
            for number, service in enumerate(SERVICES):
                copy = 1 + number % 2
                (place,) = [each for each in site.cluster.at if (each.service, each.copy) == (service, copy)]
                await _until(acknowledged, len(acknowledged) + ACKNOWLEDGED_BEFORE_A_KILL, writing)
                assert await site.cluster.children[place.name].kill() == -signal.SIGKILL
                await _until(acknowledged, len(acknowledged) + ACKNOWLEDGED_AFTER_A_KILL, writing)
                coming_back.append(asyncio.create_task(site.cluster.start_one(place)))
        finally:
            for task in writing:
                task.cancel()
            await asyncio.gather(*writing, return_exceptions=True)
        await asyncio.gather(*coming_back)
        recorded = await _recorded(client)
    assert acknowledged <= recorded.keys()
    assert all(recorded[each] == 1 for each in acknowledged), "each once, however often it was sent"
    await site.at_rest()
    assert json.loads(await site.okr("verify", "--json"))["equal"]


async def _write(client: Client, key_result_id: str, acknowledged: set[str]) -> None:
    while True:
        request = RecordCheckInRequest(check_in_id=str(uuid4()), key_result_id=key_result_id, value="40")
        await client.tell(client.check_ins.RecordCheckIn, request)
        acknowledged.add(request.check_in_id)


async def _until(acknowledged: set[str], count: int, writing: list["asyncio.Task[None]"]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(acknowledged) < count:
            done, _ = await asyncio.wait(writing, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a writer that gave up tells why


async def _recorded(client: Client) -> Counter[str]:
    request = TailEventsRequest(service="checkins")
    found: Counter[str] = Counter()
    async for answer in client.event_log("checkins").TailEvents(request, metadata=client.metadata):
        if answer.event.type == "CheckInRecorded":
            found[json.loads(answer.event.data)["check_in_id"]] += 1
    return found


async def test_a_process_that_ends_by_itself_is_started_again_and_the_others_go_on(site: Site) -> None:
    cluster = site.cluster
    killed, other = cluster.children["goals-1"], cluster.children["goals-2"]
    keeping = asyncio.create_task(cluster.keep())
    await killed.kill()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while cluster.children["goals-1"] is killed:
            await asyncio.wait([keeping], timeout=0.05)
        await site.at_rest()
    assert cluster.children["goals-2"] is other
    assert not keeping.done(), "it goes on"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_whoever_is_asked_to_stop_ends_by_itself(site: Site) -> None:
    codes = await asyncio.gather(*(child.stop() for child in site.cluster.children.values()))
    assert set(codes) == {0}
