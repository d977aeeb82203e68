"""Let simulated stories happen: on a running platform through its command stream, or on one of our own at past times.

What was done before is not done again: the events of an organisation name the requests that caused
them, for ever, and a story that was interrupted goes on behind the last of them.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from grpc import RpcError, StatusCode, aio

from okr.commands.v1.commands_pb2 import ExecuteBatchRequest, Outcome
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr.directory.v1.directory_pb2 import GetOrganizationRequest
from okr.eventlog.v1.eventlog_pb2 import Event, TailEventsRequest
from okr.operations.v1.operations_pb2 import GetStatusRequest
from okr_chassis.clock import ManualClock
from okr_chassis.identity.auth import PERSON_PREFIX, Caller, calling
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.rpc.bulk import BATCH_COMMANDS, CommandStream, answer_of, command_of
from okr_chassis.rpc.errors import CommandRefusedError, Refusal, refusal_of
from okr_cli.client import Client, failure
from okr_cli.failures import RefusedError, TryAgainError
from okr_cli.output import Meter
from okr_cli.simulation.generator import Deed, Step, Story, first_cycle_of, tell

if TYPE_CHECKING:  # importing the platform takes longer than most commands
    from okr_chassis.platform import Platform

LOGS = ("directory", "goals", "checkins", "alignment")
"""Where the events of what people ask for are; those of notifications follow from them."""
ORGANIZATIONS_AT_ONCE = 8
COMMANDS_AT_ONCE = 1_000
"""Of our own platform: enough for full group commits."""
TRIES = 8
REFUSALS_SHOWN = 10
IDLE_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 0.1
LATER = frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.DEADLINE_EXCEEDED})
"""What the same request may be sent again after: nothing happened, or its request id tells what did."""
QUIET_STEPS = frozenset({Step.REORGANISE, Step.CHECK_IN, Step.CHANGE, Step.CLOSE_OBJECTIVES})
"""What rests on nothing that a service must have heard from another one."""


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    organizations: int
    people: int
    weeks: int
    seed: int


@dataclass(frozen=True)
class Task:
    """A story and what is left of it to do."""

    story: Story
    left: Sequence[Deed]
    begun: bool


class Player(Protocol):
    async def play(self, tasks: Sequence[Task], meter: Meter) -> None: ...


# --- what there is already -----------------------------------------------------------------------


async def survey(client: Client, issuer: DevelopmentIssuer, size: Size, today: date) -> list[Task]:
    """The stories to tell, and what of them is left. One that was begun keeps the days it was set in."""
    room = asyncio.Semaphore(ORGANIZATIONS_AT_ONCE)

    async def look(number: int) -> Task:
        async with room:
            return await _look(client, issuer, size, number, today)

    return await asyncio.gather(*(look(number) for number in range(1, size.organizations + 1)))


async def _look(client: Client, issuer: DevelopmentIssuer, size: Size, number: int, today: date) -> Task:
    # The last day of the story is yesterday: nothing in it lies in the future, at whatever hour it is told.
    story = tell(size.seed, number, size.people, size.weeks, today - timedelta(weeks=size.weeks))
    acting = client.acting(issuer.issue(story.organization_id, story.leader))
    if not await _exists(acting):
        return Task(story, story.deeds, begun=False)
    done: set[str] = set()
    starts_on = story.starts_on
    for service in LOGS:
        async for event in _events(acting, service):
            done.add(event.command_id)
            if event.type == "CycleDrafted" and event.stream_id == f"cycle-{first_cycle_of(story.organization_id)}":
                starts_on = date.fromisoformat(json.loads(event.data)["starts_on"])
    if starts_on != story.starts_on:
        story = tell(size.seed, number, size.people, size.weeks, starts_on)
    now = datetime.now(UTC)
    left = [
        deed
        for deed in story.deeds
        if str(getattr(deed.request, "request_id")) not in done and story.moment(deed) < now  # noqa: B009 - all have it
    ]
    return Task(story, left, begun=True)


async def _exists(client: Client) -> bool:
    try:
        await client.ask(client.directory.GetOrganization, GetOrganizationRequest())
    except RefusedError as error:
        if error.reason.endswith("_NOT_FOUND"):
            return False
        raise
    return True


async def _events(client: Client, service: str) -> AsyncIterator[Event]:
    try:
        async for answer in client.event_log(service).TailEvents(
            TailEventsRequest(service=service), metadata=client.metadata
        ):
            yield answer.event
    except RpcError as error:
        raise failure(refusal_of(error)) from None


# --- doing it ------------------------------------------------------------------------------------

Attempt = Callable[[Sequence[Deed]], Awaitable[Sequence[Outcome]]]


async def _carry_out(attempt: Attempt, deeds: Sequence[Deed]) -> None:
    """Do them all, those that lost a race or met somebody away once more. Any other refusal ends the telling."""
    pause = FIRST_PAUSE_SECONDS
    for _ in range(TRIES):
        refused: list[tuple[Deed, Refusal]] = []
        for deed, outcome in zip(deeds, await attempt(deeds), strict=True):
            try:
                answer_of(outcome, Empty)
            except CommandRefusedError as error:
                refused.append((deed, error.refusal))
        final = [f"{_name(deed)}: {refusal.message}" for deed, refusal in refused if refusal.code not in LATER]
        if final:
            raise RefusedError(
                f"the platform refused {len(final)} of {len(deeds)} deeds",
                reason="SIMULATION_REFUSED",
                details=final[:REFUSALS_SHOWN],
            )
        if not refused:
            return
        deeds = [deed for deed, _ in refused]
        await asyncio.sleep(pause)
        pause *= 2
    raise TryAgainError(f"{_name(deeds[0])} was not answered; give the same command again, it goes on from here")


def _name(deed: Deed) -> str:
    return f"{deed.request.DESCRIPTOR.name.removesuffix('Request')} on day {deed.day}"


def _together(deed: Deed) -> tuple[int, Step]:
    return deed.day, deed.step


class _Progress:
    """Deeds done, of how many."""

    def __init__(self, meter: Meter, total: int) -> None:
        self._meter = meter
        self._total = total
        self._done = 0

    def add(self, deeds: int) -> None:
        self._done += deeds
        self._meter.update(self._done, self._total)


class StreamPlayer:
    """Through the services of a running platform, as any client would: each person has a stream of their own.

    What is recorded is recorded now; check-ins are dated when they were true.
    """

    def __init__(self, address: str, issuer: DevelopmentIssuer) -> None:
        self._address = address
        self._issuer = issuer

    async def play(self, tasks: Sequence[Task], meter: Meter) -> None:
        progress = _Progress(meter, sum(len(task.left) for task in tasks))
        room = asyncio.Semaphore(ORGANIZATIONS_AT_ONCE)

        async def tell_one(task: Task) -> None:
            async with room:
                await self._tell(CommandsServiceStub(channel), task, progress)

        async with aio.insecure_channel(self._address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                await asyncio.gather(*(tell_one(task) for task in tasks))
            except RpcError as error:
                raise failure(refusal_of(error)) from None

    async def _tell(self, stub: CommandsServiceStub, task: Task, progress: _Progress) -> None:
        async with AsyncExitStack() as stack:
            streams: dict[UUID, CommandStream] = {}

            async def attempt(deeds: Sequence[Deed]) -> Sequence[Outcome]:
                return await asyncio.gather(*(streams[deed.by].execute(deed.request) for deed in deeds))

            for _, group in groupby(task.left, key=_together):
                deeds = list(group)
                for person in dict.fromkeys(deed.by for deed in deeds):
                    if person not in streams:
                        token = self._issuer.issue(task.story.organization_id, person)
                        stream = CommandStream(stub, (("authorization", f"Bearer {token}"),))
                        streams[person] = await stack.enter_async_context(stream)
                await _carry_out(attempt, deeds)
                progress.add(len(deeds))


class DirectPlayer:
    """On a platform of our own whose clock is set to each day in turn: what is recorded is recorded in the past.

    Commands go straight to the handlers, without a call around them, all organisations side by side.
    """

    def __init__(self, platform: "Platform", clock: ManualClock) -> None:
        self._platform = platform
        self._clock = clock

    async def play(self, tasks: Sequence[Task], meter: Meter) -> None:
        whose = {deed.by: task.story.organization_id for task in tasks for deed in task.left}
        left = [(task.story.moment(deed), deed) for task in tasks for deed in task.left]
        left.sort(key=lambda each: each[0])  # stable: each organisation keeps its order
        progress = _Progress(meter, len(left))
        if left:
            self._clock.set(left[0][0])
        for quiet, part in groupby(left, key=lambda each: each[1].step in QUIET_STEPS):
            if quiet:
                async with self._platform.consumers_resting():
                    await self._tell(part, whose, progress)
                await self._platform.wait_idle(IDLE_SECONDS)
            else:
                for _, moment in groupby(part, key=lambda each: each[0]):
                    await self._tell(moment, whose, progress)
                    await self._platform.wait_idle(IDLE_SECONDS)

    async def _tell(
        self, part: Iterable[tuple[datetime, Deed]], whose: Mapping[UUID, UUID], progress: "_Progress"
    ) -> None:
        async def attempt(deeds: Sequence[Deed]) -> Sequence[Outcome]:
            return await self._attempt(deeds, whose)

        for at, moment in groupby(part, key=lambda each: each[0]):
            self._clock.set(max(self._clock(), at))
            deeds = [deed for _, deed in moment]
            for start in range(0, len(deeds), COMMANDS_AT_ONCE):
                some = deeds[start : start + COMMANDS_AT_ONCE]
                await _carry_out(attempt, some)
                progress.add(len(some))

    async def _attempt(self, deeds: Sequence[Deed], whose: Mapping[UUID, UUID]) -> Sequence[Outcome]:
        """One batch for each person, all at once; the outcomes in the order of the deeds."""
        of_person: defaultdict[UUID, list[int]] = defaultdict(list)
        for index, deed in enumerate(deeds):
            of_person[deed.by].append(index)
        found: dict[int, Outcome] = {}

        async def act(person: UUID, places: Sequence[int]) -> None:
            with calling(Caller(whose[person], person, f"{PERSON_PREFIX}{person}")):
                for start in range(0, len(places), BATCH_COMMANDS):
                    some = places[start : start + BATCH_COMMANDS]
                    batch = ExecuteBatchRequest(commands=[command_of(deeds[place].request) for place in some])
                    answer = await self._platform.execute_batch(batch)
                    found.update(zip(some, answer.outcomes, strict=True))

        await asyncio.gather(*(act(person, places) for person, places in of_person.items()))
        return [found[index] for index in range(len(deeds))]


# --- what came of it -----------------------------------------------------------------------------


async def events_by_service(client: Client, operator: str) -> Counter[str]:
    """How many events each log of the platform holds."""
    acting = client.acting(operator)
    status = await acting.ask(acting.processes()[0].operations.GetStatus, GetStatusRequest())
    return Counter({log.service: log.events for log in status.logs})
