"""The sample organisations, told into an empty log: every step at its own moment, by the person who took it.

A story goes through the services as any client would, on a platform of its own whose clock is moved
from step to step. So the times in the log are those of the story, and `as_of` has a past to show.
All ids are derived from the story: when the telling was interrupted, telling it again completes it.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, assert_never
from uuid import UUID

from okr.checkins.v1.checkins_pb2 import CorrectCheckInRequest, GetCheckInRequest, RecordCheckInRequest
from okr.directory.v1.directory_pb2 import (
    AddUnitRequest,
    FoundOrganizationRequest,
    GetOrganizationRequest,
    RegisterPersonRequest,
    UnitKind,
)
from okr.goals.v1.goals_pb2 import (
    AssignChampionRequest,
    Champion,
    ChampionRole,
    ImportPlanRequest,
    KeyResult,
    ListObjectivesRequest,
    ReviseTargetRequest,
)
from okr_chassis.clock import ManualClock
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.platform import Platform
from okr_cli.client import Client
from okr_cli.failures import RefusedError
from okr_cli.output import Meter
from okr_cli.story import Opening, Step, Story, timeline


class Turn(NamedTuple):
    """One story's next thing to do."""

    at: datetime
    teller: "Teller"
    step: Step | Opening


class Bookmark:
    """How far a telling has come, in a file: where it was interrupted, the next one goes on at that moment.

    Without it the platform would look at a half-told story with today's eyes, and find everything behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_there(self) -> bool:
        """Whether a telling was interrupted, whatever can be read of where."""
        return self._path.exists()

    def read(self) -> datetime | None:
        try:
            return datetime.fromisoformat(self._path.read_text().strip())
        except (OSError, ValueError):
            return None

    def put(self, at: datetime) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_text(f"{at.isoformat()}\n")
        fresh.replace(self._path)  # killed in between, the old bookmark is still whole

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


async def tell(
    stage: Platform,
    clock: ManualClock,
    stories: Sequence[Story],
    now: datetime,
    bookmark: Bookmark | None = None,
    meter: Meter | None = None,
) -> bool:
    """Tell the stories that are not told to the end. Says whether there was anything to tell.

    The platform's clock starts at the bookmark, or now. A log that holds organisations and none of
    ours belongs to somebody: nothing is told into it.
    """
    issuer = stage.issuer
    if issuer is None:
        return False
    await stage.wait_idle()
    empty = not any(head.position for head in (await stage.logs["directory"].heads()).values())
    async with Client(stage.address, "") as client:
        tellers = [Teller(story, client, issuer, now) for story in stories]
        begun = [await teller.look_up() for teller in tellers]
        if not empty and not any(begun):
            return False
        open_tellers = [teller for teller in tellers if not await teller.is_told()]
        turns = sorted(
            (turn for teller in open_tellers for turn in teller.turns()),
            key=lambda turn: (turn.at, turn.teller.story.organization.slug),
        )
        if turns and (bookmark is None or bookmark.read() is None):
            clock.set(turns[0].at)
        done = 0
        for _, of_a_day in groupby(turns, key=lambda turn: turn.at.date()):
            for turn in of_a_day:
                clock.set(max(turn.at, clock()))  # what was told before the bookmark is only told again
                if bookmark is not None:
                    bookmark.put(clock())
                await turn.teller.take(turn.step, stage)
                done += 1
                if meter is not None:
                    meter.update(done, len(turns))
            await stage.wait_idle()
    if bookmark is not None:
        bookmark.remove()
    return bool(turns)


class Teller:
    """Tells one story."""

    def __init__(self, story: Story, client: Client, issuer: DevelopmentIssuer, now: datetime) -> None:
        self.story = story
        self.now = now
        self.today = story.today(now)
        self._client = client
        self._issuer = issuer
        self._people = {person.handle: story.id_of("person", person.handle) for person in story.people}
        self._key_results: dict[str, KeyResult] = {}

    async def look_up(self) -> bool:
        """Whether the organisation exists. If so, its founding day says which day the story calls today."""
        client = self._as(self.story.leader.handle)
        try:
            answer = await client.ask(client.directory.GetOrganization, GetOrganizationRequest())
        except RefusedError as error:
            if error.reason.endswith("_NOT_FOUND"):
                return False
            raise
        founded = datetime.fromisoformat(answer.organization.founded_at.replace("Z", "+00:00"))
        founded_on = founded.astimezone(self.story.zone).date()
        self.today = date.fromordinal(founded_on.toordinal() + self.story.plan.days_ago)
        return True

    async def is_told(self) -> bool:
        """Whether the last check-in of the story is there."""
        *_, last = (step for step in self.story.steps() if step.part.check_in is not None)
        client = self._as(self.story.leader.handle)
        try:
            await client.ask(client.check_ins.GetCheckIn, GetCheckInRequest(check_in_id=self._check_in(last)))
        except RefusedError as error:
            if error.reason.endswith("_NOT_FOUND"):
                return False
            raise
        return True

    def turns(self) -> list[Turn]:
        """Everything to do, each at its moment."""
        return [Turn(at, self, step) for at, step in timeline(self.story, self.today, self.now)]

    async def take(self, step: Step | Opening, stage: Platform) -> None:
        """Do one thing, and let the platform come to rest where the next thing builds on it."""
        match step:
            case Opening.FOUND:
                await self._found()
            case Opening.UNITS:
                await self._add_units()
            case Opening.PEOPLE:
                await self._register_people()
            case Opening.PLAN:
                await stage.wait_idle()
                await self._import()
                await stage.wait_idle()
            case Step():
                if not self._key_results:
                    await self._learn_key_results()
                await self._step(step)
            case _:
                assert_never(step)

    # The beginning

    async def _found(self) -> None:
        organization = self.story.organization
        request = FoundOrganizationRequest(
            request_id=self._request("found"), name=organization.name, time_zone=organization.time_zone
        )
        client = self._as(self.story.leader.handle)
        await client.tell(client.directory.FoundOrganization, request)

    async def _add_units(self) -> None:
        client = self._as(self.story.leader.handle)
        for unit in self.story.units:
            request = AddUnitRequest(
                request_id=self._request(f"unit {unit.name}"),
                unit_id=str(self.story.id_of("unit", unit.name)),
                name=unit.name,
                kind=UnitKind.UNIT_KIND_TEAM if unit.kind == "team" else UnitKind.UNIT_KIND_DEPARTMENT,
                parent_unit_id=str(self.story.id_of("unit", unit.parent)) if unit.parent else "",
            )
            await client.tell(client.directory.AddUnit, request)

    async def _register_people(self) -> None:
        client = self._as(self.story.leader.handle)
        for person in self.story.people:
            request = RegisterPersonRequest(
                request_id=self._request(f"person {person.handle}"),
                person_id=str(self._people[person.handle]),
                handle=person.handle,
                name=person.name,
                email=person.email,
                unit_id=str(self.story.id_of("unit", person.unit)),
            )
            await client.tell(client.directory.RegisterPerson, request)

    async def _import(self) -> None:
        """Bring the spreadsheet in, unless that was done: later steps have moved on from it."""
        plan = self.story.read_plan()
        if plan.faults:
            raise RefusedError(
                f"{self.story.folder / self.story.plan.file} cannot be imported",
                details=[f"{fault.cell} {fault.message}" for fault in plan.faults],
            )
        await self._learn_key_results()
        if all(row.key_result in self._key_results for row in plan.rows):
            return
        first, last = self.story.cycle_days(self.today)
        request = ImportPlanRequest(
            request_id=self._request("import"),
            source=self.story.plan.file,
            cycle_name=self.story.cycle_name(self.today),
            cycle_starts_on=first.isoformat(),
            cycle_ends_on=last.isoformat(),
            rows=plan.rows,
        )
        client = self._as(self.story.plan.by)
        answer = await client.tell(client.goals.ImportPlan, request)
        if answer.faults:
            raise RefusedError(
                f"{self.story.folder / self.story.plan.file} was refused",
                details=[f"row {fault.row}: {fault.message}" for fault in answer.faults],
            )

    async def _learn_key_results(self) -> None:
        client = self._as(self.story.leader.handle)
        async for page in client.pages(client.goals.ListObjectives, ListObjectivesRequest()):
            for objective in page.objectives:
                self._key_results |= {each.title: each for each in objective.key_results if each.open}

    # The weeks after it

    async def _step(self, step: Step) -> None:
        part, client = step.part, self._as(step.part.by)
        key_result = self._key_results[step.title]
        request_id = self._request(f"{step.title} {step.number}")
        if part.check_in is not None:
            await client.tell(
                client.check_ins.RecordCheckIn,
                RecordCheckInRequest(
                    request_id=request_id,
                    check_in_id=self._check_in(step),
                    key_result_id=key_result.key_result_id,
                    value=part.check_in,
                    confidence=part.confidence,
                    note=part.note,
                    occurred_at=self._noon(part.was_days_ago) if part.was_days_ago is not None else "",
                ),
            )
        elif part.correct is not None:
            await client.tell(
                client.check_ins.CorrectCheckIn,
                CorrectCheckInRequest(
                    request_id=request_id,
                    check_in_id=self._check_in(self._corrected(step)),
                    key_result_id=key_result.key_result_id,
                    value=part.value,
                    confidence=part.confidence,
                    note=part.note,
                    reason=part.reason,
                ),
            )
        elif part.revise_target is not None:
            await client.tell(
                client.goals.ReviseTarget,
                ReviseTargetRequest(
                    request_id=request_id,
                    objective_id=key_result.objective_id,
                    key_result_id=key_result.key_result_id,
                    commit=part.revise_commit,
                    target=part.revise_target,
                    reason=part.reason,
                ),
            )
        elif part.hand_over is not None:
            champion = Champion(
                person_id=str(self._people[part.hand_over]), role=ChampionRole.CHAMPION_ROLE_ACCOUNTABLE
            )
            await client.tell(
                client.goals.AssignChampion,
                AssignChampionRequest(
                    request_id=request_id,
                    objective_id=key_result.objective_id,
                    key_result_id=key_result.key_result_id,
                    champion=champion,
                ),
            )

    def _corrected(self, step: Step) -> Step:
        """The check-in that a correction puts right."""
        return next(
            each
            for each in self.story.steps()
            if each.title == step.title and each.part.check_in is not None and each.part.days_ago == step.part.correct
        )

    def _check_in(self, step: Step) -> str:
        return str(self.story.id_of("check-in", f"{step.title} {step.number}"))

    def _request(self, what: str) -> str:
        return str(self.story.id_of("request", what))

    def _noon(self, days_ago: int) -> str:
        noon = datetime.combine(self.story.day(self.today, days_ago), time(12), self.story.zone)
        return noon.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def _as(self, handle: str) -> Client:
        return self._client.acting(self._issuer.issue(self.story.organization_id, self._people[handle]))


def leader_of(story: Story) -> UUID:
    """The person whom commands act for when nobody says."""
    return story.id_of("person", story.leader.handle)
