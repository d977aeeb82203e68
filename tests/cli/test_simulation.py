"""Simulated organisations: the same seed is the same past, told once, and every command of it is lawful."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from okr.operations.v1.operations_pb2 import VerifyRequest
from okr_chassis.clock import Clock, ManualClock, system_clock
from okr_chassis.platform import Platform
from okr_chassis.settings import Settings
from okr_cli.client import Client
from okr_cli.failures import RefusedError
from okr_cli.simulation.generator import Step, Story, tell
from okr_cli.simulation.players import LOGS, DirectPlayer, Player, Size, StreamPlayer, Task, events_by_service, survey
from okr_cli.up import SERVICES
from okr_eventstore.model import RecordedEvent
from tests.conftest import fresh_database

MONDAY = date(2026, 1, 5)
SMALL = Size(organizations=2, people=6, weeks=15, seed=11)


def request_id(request: Any) -> str:
    return str(request.request_id)


def test_the_same_seed_tells_the_same_story() -> None:
    assert tell(7, 1, 30, 20, MONDAY) == tell(7, 1, 30, 20, MONDAY)
    assert tell(7, 1, 30, 20, MONDAY).organization_id != tell(8, 1, 30, 20, MONDAY).organization_id
    assert tell(7, 1, 30, 20, MONDAY).organization_id != tell(7, 2, 30, 20, MONDAY).organization_id


def test_a_longer_story_begins_as_the_shorter_one() -> None:
    short, long = tell(7, 1, 30, 20, MONDAY), tell(7, 1, 30, 50, MONDAY)
    assert long.deeds[: len(short.deeds)] == short.deeds
    assert len(long.deeds) > len(short.deeds)


def test_a_story_set_at_another_time_asks_for_the_same_with_the_same_ids() -> None:
    one, other = tell(7, 1, 30, 20, MONDAY), tell(7, 1, 30, 20, MONDAY + timedelta(days=300))
    assert [request_id(deed.request) for deed in one.deeds] == [request_id(deed.request) for deed in other.deeds]
    assert other.moment(other.deeds[-1]) - one.moment(one.deeds[-1]) == timedelta(days=300)


@pytest.mark.parametrize("people", [1, 2, 9, 200])
def test_every_deed_has_an_id_of_its_own_and_lies_within_the_weeks(people: int) -> None:
    story = tell(3, 1, people, 30, MONDAY)
    ids = [request_id(deed.request) for deed in story.deeds]
    assert len(set(ids)) == len(ids)
    assert story.deeds[0].step == Step.FOUND
    assert all(0 <= deed.day < 30 * 7 for deed in story.deeds)


def test_a_past_has_all_that_happens_in_organisations() -> None:
    stories = [tell(5, number, 60, 40, MONDAY) for number in range(1, 6)]
    kinds = Counter(deed.request.DESCRIPTOR.name for story in stories for deed in story.deeds)
    assert set(kinds) == {
        "FoundOrganizationRequest",
        "AddUnitRequest",
        "RegisterPersonRequest",
        "DraftCycleRequest",
        "ActivateCycleRequest",
        "DraftObjectiveRequest",
        "DefineKeyResultRequest",
        "ActivateObjectiveRequest",
        "AlignRequest",
        "RecordCheckInRequest",
        "CorrectCheckInRequest",
        "ReviseTargetRequest",
        "AssignChampionRequest",
        "MoveUnitRequest",
        "MovePersonRequest",
        "CloseObjectiveRequest",
        "CloseCycleRequest",
    }
    assert kinds["RecordCheckInRequest"] > sum(kinds.values()) / 3


# --- on a platform -------------------------------------------------------------------------------


class Silence:
    """A meter that nobody reads."""

    def update(self, done: int, total: int, doing: str = "") -> None: ...


class Stage:
    def __init__(self, platform: Platform, client: Client) -> None:
        self.platform = platform
        self.client = client

    async def survey(self, size: Size = SMALL, today: date | None = None) -> list[Task]:
        assert self.platform.issuer is not None
        return await survey(self.client, self.platform.issuer, size, today or datetime.now(UTC).date())

    async def facts(self, organization_id: UUID) -> dict[str, list[RecordedEvent]]:
        found: dict[str, list[RecordedEvent]] = {}
        for service in LOGS:
            log = self.platform.logs[service]
            every = [event for shard in await log.heads() for event in await log.read_shard(shard, limit=100_000)]
            found[service] = [event for event in every if event.organization_id == organization_id]
        return found

    async def verified(self) -> bool:
        assert self.platform.issuer is not None
        operator = self.client.acting(self.platform.issuer.issue(UUID(int=0), UUID(int=0), operator=True))
        answers = operator.processes()[0].operations.Verify(VerifyRequest(), metadata=operator.metadata)
        verdicts = [answer.verdict async for answer in answers if answer.HasField("verdict")]
        assert verdicts
        return all(verdict.equal for verdict in verdicts)


@asynccontextmanager
async def stage(dsn: str, data_dir: Path, clock: Clock) -> AsyncIterator[Stage]:
    settings = Settings(data_dir=data_dir, grpc_port=0)
    async with (
        fresh_database(dsn) as database,
        Platform(settings, database, SERVICES, clock=clock, port=0) as platform,
        Client(platform.address, "") as client,
    ):
        yield Stage(platform, client)


async def test_a_past_is_told_through_the_services_once(postgres_dsn: str, tmp_path: Path) -> None:
    async with stage(postgres_dsn, tmp_path / "data", system_clock) as here:
        assert here.platform.issuer is not None
        player = StreamPlayer(here.platform.address, here.platform.issuer)
        tasks = await here.survey()
        await player.play(tasks, Silence())
        await here.platform.wait_idle()
        assert await here.verified()
        for task in tasks:
            await _all_happened(here, task.story)

        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        for today in (None, tomorrow):
            again = await here.survey(today=today)
            assert [len(task.left) for task in again] == [0, 0]
            assert [task.story.starts_on for task in again] == [task.story.starts_on for task in tasks]


async def test_a_past_of_its_own_times_is_the_same_wherever_it_is_told(postgres_dsn: str, tmp_path: Path) -> None:
    told: list[list[tuple[Any, ...]]] = []
    for place in ("one", "other"):
        clock = ManualClock(datetime.now(UTC))
        async with stage(postgres_dsn, tmp_path / place, clock) as here:
            [task, _] = tasks = await here.survey(today=MONDAY + timedelta(weeks=20))
            await _interrupted(here, tasks, DirectPlayer(here.platform, clock))
            assert await here.verified()
            facts = await _all_happened(here, task.story)
            await here.survey()
            told.append(
                [
                    (service, event.stream_id, event.version, event.type, event.occurred_at, event.recorded_at)
                    for service, events in facts.items()
                    for event in sorted(events, key=lambda event: (event.stream_id, event.version))
                ]
            )
    assert told[0] == told[1]


async def _interrupted(here: Stage, tasks: list[Task], player: Player) -> None:
    """Tell a part, look what is left, tell the rest."""
    half = [Task(task.story, task.left[: len(task.left) // 2], task.begun) for task in tasks]
    await player.play(half, Silence())
    today = tasks[0].story.starts_on + timedelta(weeks=SMALL.weeks + 7)
    rest = await here.survey(today=today)
    assert [list(task.left) for task in rest] == [list(task.left[len(task.left) // 2 :]) for task in tasks]
    await player.play(rest, Silence())
    assert not any(task.left for task in await here.survey(today=today))


async def _all_happened(here: Stage, story: Story) -> dict[str, list[RecordedEvent]]:
    facts = await here.facts(story.organization_id)
    by_command = {str(event.command_id): event for events in facts.values() for event in events}
    for deed in story.deeds:
        event = by_command[request_id(deed.request)]
        assert event.actor == f"person:{deed.by}"
        assert event.occurred_at <= event.recorded_at
        if here.platform.clock is not system_clock:
            assert event.recorded_at == story.moment(deed)
    return facts


async def test_what_the_platform_refuses_ends_the_telling_with_its_reason(postgres_dsn: str, tmp_path: Path) -> None:
    async with stage(postgres_dsn, tmp_path / "data", system_clock) as here:
        assert here.platform.issuer is not None
        player = StreamPlayer(here.platform.address, here.platform.issuer)
        [task, _] = await here.survey()
        headless = Task(task.story, [deed for deed in task.left if deed.step != Step.FOUND], begun=False)
        with pytest.raises(RefusedError) as refused:
            await player.play([headless], Silence())
        assert refused.value.reason == "SIMULATION_REFUSED"
        assert refused.value.details[0].startswith("AddUnit on day 0: organization")
        operator = here.platform.issuer.issue(UUID(int=0), UUID(int=0), operator=True)
        assert (await events_by_service(here.client, operator)).total() == 0
