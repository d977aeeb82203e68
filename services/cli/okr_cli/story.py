"""The stories of the sample organisations, as files a person can read: see examples/*/story.toml.

Days count backwards from today, so that every story ends today whenever it is told.
"""

import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, model_validator

from okr_cli.identity import organization_id
from okr_cli.spreadsheet.model import Plan
from okr_cli.spreadsheet.reader import read_plan

MORNING = time(9)
"""When a day's first step happens; the others follow, a few minutes apart."""
BETWEEN_STEPS = timedelta(minutes=4)

DaysAgo = Annotated[int, Field(ge=0, le=365)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OrganizationPart(Part):
    name: str
    slug: str
    time_zone: str


class CyclePart(Part):
    name: str
    began_days_ago: DaysAgo
    days: int


class PlanPart(Part):
    file: str
    days_ago: DaysAgo
    by: str


class UnitPart(Part):
    name: str
    kind: Literal["department", "team"]
    parent: str | None = None


class PersonPart(Part):
    handle: str
    name: str
    email: str = ""
    unit: str
    leader: bool = False


class StepPart(Part):
    """One thing somebody did to a key result: exactly one of check_in, correct, revise_target, hand_over."""

    days_ago: DaysAgo
    by: str
    check_in: str | None = None
    confidence: str = ""
    note: str = ""
    was_days_ago: DaysAgo | None = None
    """When the value was true, if that was earlier than the check-in."""
    correct: DaysAgo | None = None
    """The day of the check-in that is put right."""
    value: str = ""
    revise_target: str | None = None
    revise_commit: str = ""
    hand_over: str | None = None
    """Who becomes accountable; whoever was stays responsible."""
    reason: str = ""

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        done = [self.check_in, self.correct, self.revise_target, self.hand_over]
        if sum(each is not None for each in done) != 1:
            raise ValueError("a step does one of check_in, correct, revise_target, hand_over")
        return self


class KeyResultPart(Part):
    title: str
    steps: tuple[StepPart, ...]


class Step(NamedTuple):
    """A step of the story with its place in it, from which its ids are derived."""

    title: str
    number: int
    part: StepPart


class Story(Part):
    """One organisation's quarter. `folder` is where its files lie."""

    organization: OrganizationPart
    cycle: CyclePart
    plan: PlanPart
    units: tuple[UnitPart, ...]
    people: tuple[PersonPart, ...]
    key_results: tuple[KeyResultPart, ...]
    folder: Path = Path()

    @property
    def organization_id(self) -> UUID:
        return organization_id(self.organization.slug)

    @property
    def leader(self) -> PersonPart:
        return next((person for person in self.people if person.leader), self.people[0])

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.organization.time_zone)

    def id_of(self, kind: str, name: str) -> UUID:
        """The id of anything in the story: always the same, so that telling it again changes nothing."""
        return uuid5(self.organization_id, f"{kind}:{name}")

    def today(self, now: datetime) -> date:
        return now.astimezone(self.zone).date()

    def day(self, today: date, days_ago: int) -> date:
        return today - timedelta(days=days_ago)

    def moment(self, today: date, days_ago: int, place: int = 0) -> datetime:
        """When the step at a place of its day happens, in UTC."""
        morning = datetime.combine(self.day(today, days_ago), MORNING, self.zone)
        return morning.astimezone(UTC) + place * BETWEEN_STEPS

    def cycle_days(self, today: date) -> tuple[date, date]:
        first = self.day(today, self.cycle.began_days_ago)
        return first, first + timedelta(days=self.cycle.days - 1)

    def cycle_name(self, today: date) -> str:
        first, last = self.cycle_days(today)
        return self.cycle.name.format(starts_on=f"{first.day} {first:%B %Y}", ends_on=f"{last.day} {last:%B %Y}")

    def read_plan(self) -> Plan:
        return read_plan((self.folder / self.plan.file).read_bytes())

    def steps(self) -> Iterator[Step]:
        """All steps from the first to the last; on one day in the order of the file."""
        steps = [
            Step(key_result.title, number, part)
            for key_result in self.key_results
            for number, part in enumerate(key_result.steps)
        ]
        return iter(sorted(steps, key=lambda step: -step.part.days_ago))


class Opening(Enum):
    """What comes before the steps of the key results, in this order."""

    FOUND = 0
    UNITS = 1
    PEOPLE = 2
    PLAN = 3


def timeline(story: Story, today: date, now: datetime) -> list[tuple[datetime, Opening | Step]]:
    """Everything that happens, each at its moment. What falls on today happens before `now`."""
    days_ago = story.plan.days_ago
    found: list[tuple[datetime, Opening | Step]] = [
        (story.moment(today, days_ago, opening.value), opening) for opening in Opening
    ]
    for days_ago, steps in groupby(story.steps(), key=lambda step: step.part.days_ago):
        of_the_day = list(steps)
        midnight = datetime.combine(story.day(today, days_ago), time(), story.zone).astimezone(UTC)
        early = story.moment(today, days_ago, len(of_the_day)) >= now  # nine o'clock is yet to come, or just past
        for place, step in enumerate(of_the_day):
            squeezed = midnight + (now - midnight) * (place + 1) / (len(of_the_day) + 1)
            found.append((squeezed if early else story.moment(today, days_ago, place), step))
    return found


def examples() -> Path:
    """Where the sample organisations lie: inside the installed package, or at the root of a checkout."""
    inside = Path(__file__).parent / "examples"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "examples"


def load(folder: Path) -> Story:
    """The story in a folder. Raises ValueError when it is not well-formed."""
    with (folder / "story.toml").open("rb") as file:
        return Story(**tomllib.load(file), folder=folder)


STORIES = ("software-company", "construction-firm", "bakery")
"""The first one is whom commands act for when nobody says."""


def stories() -> list[Story]:
    """The sample organisations, the software company first."""
    return [load(examples() / name) for name in STORIES]
