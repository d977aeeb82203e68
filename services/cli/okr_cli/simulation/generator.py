"""From a seed to what made-up organisations did, as plain data: who asked for what, and when. No I/O.

The same seed tells the same story for ever, with the same ids; more weeks only tell on. What happens
depends on the weeks since the beginning alone, so a story may be set anywhere in time.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid5

from google.protobuf.message import Message

from okr.alignment.v1.alignment_pb2 import AlignRequest
from okr.checkins.v1.checkins_pb2 import CorrectCheckInRequest, RecordCheckInRequest
from okr.directory.v1.directory_pb2 import (
    AddUnitRequest,
    FoundOrganizationRequest,
    MovePersonRequest,
    MoveUnitRequest,
    RegisterPersonRequest,
    UnitKind,
)
from okr.goals.v1.goals_pb2 import (
    ActivateCycleRequest,
    ActivateObjectiveRequest,
    AssignChampionRequest,
    Champion,
    ChampionRole,
    CloseCycleRequest,
    CloseObjectiveRequest,
    DefineKeyResultRequest,
    DraftCycleRequest,
    DraftObjectiveRequest,
    ObjectiveOutcome,
    ReviseTargetRequest,
)
from okr_cli.identity import organization_id, person_id, slug
from okr_cli.simulation.templates import (
    AREAS,
    COMPANY,
    CORRECTIONS,
    FIRST_NAMES,
    FIRST_WORDS,
    LAST_NAMES,
    NOTES,
    REVISIONS,
    SECOND_WORDS,
    Aim,
    Area,
    Measure,
)

CYCLE_DAYS = 91
CHECK_IN_DAYS = 14
WRAP_UP_DAYS = 3
"""Days into the next cycle on which the objectives and the cycle before are closed."""
PEOPLE_PER_DEPARTMENT = 10
MORNING = time(8)
BETWEEN_STEPS = timedelta(minutes=20)

LATE = 0.15
"""Shares of check-ins: recorded some days after they were due, …"""
BACK_DATED = 0.10
"""… recorded late, but dated when they were due, …"""
MISSED = 0.06
CORRECTED = 0.04
NOTED = 0.55
REVISED = 0.05
"""Shares of key results, in each cycle."""
HANDED_OVER = 0.06
REORGANISED = 0.5
"""Of cycles in which a team moves to another department."""


class Step(IntEnum):
    """What comes after what on one day. Deeds of one step wait for each other only where they go to one aggregate."""

    FOUND = 0
    UNITS = 1
    PEOPLE = 2
    CYCLE = 3
    OBJECTIVES = 4
    ALIGN = 5
    REORGANISE = 6
    CHECK_IN = 7
    CHANGE = 8
    CLOSE_OBJECTIVES = 9
    CLOSE_CYCLE = 10


class Deed(NamedTuple):
    """Somebody asks for something at a moment. The request is complete, its request id included."""

    day: int
    step: Step
    by: UUID
    request: Message


@dataclass
class Unit:
    unit_id: UUID
    name: str
    area: Area
    parent: "Unit | None"
    people: list[UUID] = field(default_factory=list)


@dataclass
class _KeyResult:
    key_result_id: UUID
    objective: "_Objective"
    measure: Measure
    start: Decimal
    commit: Decimal
    target: Decimal
    accountable: UUID
    drive: float
    """Which part of the way to the target its people will have come by the end; above 1 is beyond it."""
    bend: float
    """How the way bends: above 1 begins slowly."""
    progress: float = 0.0
    confidence: Decimal = Decimal("0.5")


@dataclass
class _Objective:
    objective_id: UUID
    unit: Unit | None
    owner: UUID
    key_results: list[_KeyResult] = field(default_factory=list)


@dataclass(frozen=True)
class Story:
    """One organisation and all that was done in it, in order."""

    organization_id: UUID
    name: str
    leader: UUID
    first_cycle_id: UUID
    starts_on: date
    deeds: tuple[Deed, ...]

    def moment(self, deed: Deed) -> datetime:
        return moment(self.starts_on, deed.day, deed.step)


def moment(starts_on: date, day: int, step: Step) -> datetime:
    return datetime.combine(starts_on + timedelta(days=day), MORNING, UTC) + step * BETWEEN_STEPS


def name_of(seed: int, number: int) -> str:
    """What the organisation is called. Its id follows from its name, as for every organisation of the command."""
    rng = Random(f"name {seed} {number}")
    return f"{rng.choice(FIRST_WORDS)} {rng.choice(SECOND_WORDS)} {seed}-{number}"


def first_cycle_of(organization: UUID) -> UUID:
    return uuid5(organization, "cycle:0")


def tell(seed: int, number: int, people: int, weeks: int, starts_on: date) -> Story:
    """The story of one organisation, from its founding on `starts_on` to the last day of its weeks."""
    teller = _Teller(seed, number, people, starts_on)
    days = weeks * 7 - 1
    deeds = sorted((deed for deed in teller.deeds(days) if deed.day <= days), key=lambda deed: deed[:2])
    return Story(
        organization_id=teller.organization,
        name=teller.name,
        leader=teller.people[0],
        first_cycle_id=first_cycle_of(teller.organization),
        starts_on=starts_on,
        deeds=tuple(deeds),
    )


class _Teller:
    def __init__(self, seed: int, number: int, people: int, starts_on: date) -> None:
        self.name = name_of(seed, number)
        self.organization = organization_id(self.name)
        self.starts_on = starts_on
        self._size = people
        self._key = f"{seed} {number} {people}"
        self._rng = Random(self._key)
        self._handles = self._names()
        self.people = [person_id(self.organization, handle) for handle, _ in self._handles]
        self._departments, self._teams = self._structure()

    def deeds(self, days: int) -> Iterator[Deed]:
        """In no particular order, each with its day and step."""
        yield from self._beginning()
        before: list[_Objective] = []
        for number in range(days // CYCLE_DAYS + 1):
            # A generator of its own for each cycle: a longer story tells the same cycles first.
            self._rng = Random(f"{self._key} cycle {number}")
            first_day = number * CYCLE_DAYS
            yield from self._wrap_up(number, before)
            before = yield from self._cycle(number, first_day)

    # --- the organisation ------------------------------------------------------------------------

    def _names(self) -> list[tuple[str, str]]:
        """Handle and name of each person; a number tells namesakes apart."""
        found: dict[str, str] = {}
        while len(found) < self._size:
            name = f"{self._rng.choice(FIRST_NAMES)} {self._rng.choice(LAST_NAMES)}"
            handle = slug(name).replace("-", ".")
            found.setdefault(handle if handle not in found else f"{handle}.{len(found)}", name)
        return list(found.items())

    def _structure(self) -> tuple[list[Unit], list[Unit]]:
        count = max(1, min(len(AREAS), self._size // PEOPLE_PER_DEPARTMENT))
        areas = self._rng.sample(AREAS, count)
        departments = [Unit(self._id("unit", area.name), area.name, area, None) for area in areas]
        crowd = self._size // count
        teams = [
            Unit(self._id("unit", f"{unit.name}/{name}"), name, unit.area, unit)
            for unit in departments
            for name in unit.area.teams[: max(0, min(len(unit.area.teams), crowd // 5))]
        ]
        places = teams or departments
        for index, person in enumerate(self.people):
            unit = departments[index] if index < count else places[index % len(places)]
            unit.people.append(person)
        return departments, teams

    def _beginning(self) -> Iterator[Deed]:
        leader = self.people[0]
        founding = FoundOrganizationRequest(request_id=self._request("found"), name=self.name, time_zone="UTC")
        yield Deed(0, Step.FOUND, leader, founding)
        for unit in (*self._departments, *self._teams):
            adding = AddUnitRequest(
                request_id=self._request(f"add {unit.unit_id}"),
                unit_id=str(unit.unit_id),
                name=unit.name,
                kind=UnitKind.UNIT_KIND_TEAM if unit.parent else UnitKind.UNIT_KIND_DEPARTMENT,
                parent_unit_id=str(unit.parent.unit_id) if unit.parent else "",
            )
            yield Deed(0, Step.UNITS, leader, adding)
        home = {person: unit for unit in (*self._departments, *self._teams) for person in unit.people}
        for person, (handle, name) in zip(self.people, self._handles, strict=True):
            registering = RegisterPersonRequest(
                request_id=self._request(f"register {person}"),
                person_id=str(person),
                handle=handle,
                name=name,
                email=f"{handle}@{slug(self.name)}.example",
                unit_id=str(home[person].unit_id),
            )
            yield Deed(0, Step.PEOPLE, leader, registering)

    # --- a cycle ---------------------------------------------------------------------------------

    def _cycle(self, number: int, first_day: int) -> Generator[Deed, None, list[_Objective]]:
        cycle_id, leader = self._id("cycle", number), self.people[0]
        first = self.starts_on + timedelta(days=first_day)
        drafting = DraftCycleRequest(
            request_id=self._request(f"draft cycle {number}"),
            cycle_id=str(cycle_id),
            name=f"Cycle {number + 1}",
            starts_on=first.isoformat(),
            ends_on=(first + timedelta(days=CYCLE_DAYS - 1)).isoformat(),
        )
        yield Deed(first_day, Step.CYCLE, leader, drafting)
        activating = ActivateCycleRequest(request_id=self._request(f"start cycle {number}"), cycle_id=str(cycle_id))
        yield Deed(first_day, Step.CYCLE, leader, activating)
        objectives: list[_Objective] = []
        of_unit: dict[UUID | None, _Objective] = {}
        aim = COMPANY[(number + self._rng.randrange(len(COMPANY))) % len(COMPANY)]
        of_unit[None] = yield from self._objective(number, first_day, aim, None)
        objectives.append(of_unit[None])
        for unit in (*self._departments, *self._teams):
            turn = number + (0 if unit.parent is None else 1 + self._teams.index(unit))
            objective = yield from self._objective(number, first_day, unit.area.aims[turn % len(unit.area.aims)], unit)
            of_unit[unit.unit_id] = objective
            objectives.append(objective)
        for unit in (*self._departments, *self._teams):
            child, parent = of_unit[unit.unit_id], of_unit[unit.parent.unit_id if unit.parent else None]
            aligning = AlignRequest(
                request_id=self._request(f"align {child.objective_id}"),
                cycle_id=str(cycle_id),
                objective_id=str(child.objective_id),
                parent_objective_id=str(parent.objective_id),
            )
            yield Deed(first_day, Step.ALIGN, leader, aligning)
        if self._rng.random() < REORGANISED:
            yield from self._reorganise(number, first_day + self._rng.randrange(20, 70))
        for objective in objectives:
            for key_result in objective.key_results:
                yield from self._weeks(number, first_day, key_result)
        return objectives

    def _objective(self, number: int, day: int, aim: Aim, unit: Unit | None) -> Generator[Deed, None, _Objective]:
        """Draft it with its key results and activate it; all by its owner, on one day."""
        whole = self._departments[0] if unit is None else unit
        crowd = whole.people or self.people
        owner = self.people[0] if unit is None else crowd[0]
        objective = _Objective(self._id("objective", number, whole.name if unit else "company", aim.title), unit, owner)
        said = str(objective.objective_id)
        drafting = DraftObjectiveRequest(
            request_id=self._request(f"draft {said}"),
            objective_id=said,
            cycle_id=str(self._id("cycle", number)),
            unit_id=str(whole.unit_id),
            owner_id=str(owner),
            title=aim.title if unit is None or unit.parent is None else f"{unit.name}: {_lower(aim.title)}",
        )
        yield Deed(day, Step.OBJECTIVES, owner, drafting)
        for measure in aim.measures:
            key_result = self._key_result(objective, measure, crowd)
            objective.key_results.append(key_result)
            helpers = [person for person in crowd if person != key_result.accountable]
            champions = [_champion(key_result.accountable, ChampionRole.CHAMPION_ROLE_ACCOUNTABLE)]
            champions += [
                _champion(person, ChampionRole.CHAMPION_ROLE_RESPONSIBLE)
                for person in self._rng.sample(helpers, min(len(helpers), self._rng.randrange(3)))
            ]
            defining = DefineKeyResultRequest(
                request_id=self._request(f"define {key_result.key_result_id}"),
                objective_id=said,
                key_result_id=str(key_result.key_result_id),
                title=measure.title,
                start=_plain(key_result.start),
                commit=_plain(key_result.commit),
                target=_plain(key_result.target),
                unit=measure.unit,
                champions=champions,
            )
            yield Deed(day, Step.OBJECTIVES, owner, defining)
        activating = ActivateObjectiveRequest(request_id=self._request(f"activate {said}"), objective_id=said)
        yield Deed(day, Step.OBJECTIVES, owner, activating)
        return objective

    def _key_result(self, objective: _Objective, measure: Measure, crowd: Sequence[UUID]) -> _KeyResult:
        """Numbers near those of the template: where it starts, and how far it is to the commit and the target."""
        near = self._rng.uniform(0.95, 1.05)
        start = _number(measure.start * near, measure.places)
        grain = Decimal(1).scaleb(-measure.places)
        up = 1 if measure.target > measure.start else -1
        commit = start + up * max(grain, _number(abs(measure.commit - measure.start) * near, measure.places))
        target = commit + up * max(grain, _number(abs(measure.target - measure.commit) * near, measure.places))
        return _KeyResult(
            key_result_id=self._id("key result", objective.objective_id, measure.title),
            objective=objective,
            measure=measure,
            start=start,
            commit=commit,
            target=target,
            accountable=self._rng.choice(crowd),
            drive=min(1.3, max(-0.1, self._rng.gauss(0.7, 0.3))),
            bend=self._rng.uniform(0.7, 1.8),
        )

    # --- the weeks -------------------------------------------------------------------------------

    def _weeks(self, number: int, first_day: int, key_result: _KeyResult) -> Iterator[Deed]:
        """Check-ins every other week, and what happens to the key result in between."""
        rng = self._rng
        handed_over = rng.randrange(15, 75) if rng.random() < HANDED_OVER else None
        revised = rng.randrange(30, 60) if rng.random() < REVISED else None
        weekday = rng.randrange(5)
        for due in range(CHECK_IN_DAYS - 4 + weekday, CYCLE_DAYS, CHECK_IN_DAYS):
            if handed_over is not None and handed_over < due:
                yield from self._hand_over(first_day + handed_over, key_result)
                handed_over = None
            if revised is not None and revised < due:
                yield from self._revise(first_day + revised, key_result)
                revised = None
            yield from self._check_in(first_day, due, key_result)

    def _check_in(self, first_day: int, due: int, key_result: _KeyResult) -> Iterator[Deed]:
        rng = self._rng
        part = due / CYCLE_DAYS
        key_result.progress = key_result.drive * part**key_result.bend + rng.gauss(0, 0.03)
        way = float(key_result.target - key_result.start)
        value = _number(float(key_result.start) + way * key_result.progress, key_result.measure.places)
        value = max(value, Decimal(0))
        ahead = key_result.progress - part
        felt = min(0.95, max(0.05, 0.6 + ahead + rng.gauss(0, 0.08)))
        key_result.confidence = _number(felt, 1)
        luck, noted, note, delay = rng.random(), rng.random() < NOTED, rng.choice(NOTES), rng.randrange(1, 5)
        wrong, slip, digit = rng.random() < CORRECTED, rng.choice(CORRECTIONS), rng.choice((0.1, 10))
        if luck < MISSED:
            return
        done = min(due + (delay if luck < MISSED + LATE + BACK_DATED else 0), CYCLE_DAYS + WRAP_UP_DAYS - 1)
        true = due if MISSED + LATE <= luck < MISSED + LATE + BACK_DATED else min(done, CYCLE_DAYS - 1)
        first_said = _number(float(value) * digit, key_result.measure.places) if wrong else value
        check_in_id = str(self._id("check-in", key_result.key_result_id, due))
        recording = RecordCheckInRequest(
            request_id=self._request(f"check in {check_in_id}"),
            check_in_id=check_in_id,
            key_result_id=str(key_result.key_result_id),
            value=_plain(first_said),
            confidence=_plain(key_result.confidence),
            note=note if noted else "",
            occurred_at=moment(self.starts_on, first_day + true, Step.FOUND).isoformat(),
        )
        yield Deed(first_day + done, Step.CHECK_IN, key_result.accountable, recording)
        if first_said != value:
            correcting = CorrectCheckInRequest(
                request_id=self._request(f"correct {check_in_id}"),
                check_in_id=check_in_id,
                key_result_id=str(key_result.key_result_id),
                value=_plain(value),
                reason=slip,
            )
            day = max(done, min(done + 1 + delay // 2, CYCLE_DAYS + WRAP_UP_DAYS - 1))
            yield Deed(first_day + day, Step.CHANGE, key_result.accountable, correcting)

    def _revise(self, day: int, key_result: _KeyResult) -> Iterator[Deed]:
        """A new target between the commit and somewhat beyond the old one."""
        grain = Decimal(1).scaleb(-key_result.measure.places)
        stretch = self._rng.choice((0.5, 1.5))
        up = 1 if key_result.target > key_result.start else -1
        way = max(
            grain, _number(float(abs(key_result.target - key_result.commit)) * stretch, key_result.measure.places)
        )
        target, reason = key_result.commit + up * way, self._rng.choice(REVISIONS)
        if target == key_result.target:
            return
        key_result.target = target
        revising = ReviseTargetRequest(
            request_id=self._request(f"revise {key_result.key_result_id}"),
            objective_id=str(key_result.objective.objective_id),
            key_result_id=str(key_result.key_result_id),
            target=_plain(target),
            reason=reason,
        )
        yield Deed(day, Step.CHANGE, key_result.objective.owner, revising)

    def _hand_over(self, day: int, key_result: _KeyResult) -> Iterator[Deed]:
        others = [person for person in self.people if person != key_result.accountable]
        if not others:
            return
        key_result.accountable = self._rng.choice(others)
        assigning = AssignChampionRequest(
            request_id=self._request(f"hand over {key_result.key_result_id}"),
            objective_id=str(key_result.objective.objective_id),
            key_result_id=str(key_result.key_result_id),
            champion=_champion(key_result.accountable, ChampionRole.CHAMPION_ROLE_ACCOUNTABLE),
        )
        yield Deed(day, Step.CHANGE, key_result.objective.owner, assigning)

    def _reorganise(self, number: int, day: int) -> Iterator[Deed]:
        """A team moves to another department, and a few people to another unit."""
        if len(self._departments) < 2 or not self._teams:
            return
        team = self._rng.choice(self._teams)
        team.parent = self._rng.choice([unit for unit in self._departments if unit is not team.parent])
        moving = MoveUnitRequest(
            request_id=self._request(f"move {team.unit_id} {number}"),
            unit_id=str(team.unit_id),
            parent_unit_id=str(team.parent.unit_id),
        )
        yield Deed(day, Step.REORGANISE, self.people[0], moving)
        for _ in range(self._rng.randrange(1, 4)):
            unit, other = self._rng.sample([*self._departments, *self._teams], 2)
            if len(unit.people) < 2:
                continue  # nobody is left alone
            person = unit.people.pop()
            other.people.append(person)
            changing = MovePersonRequest(
                request_id=self._request(f"move {person} {number} {other.unit_id}"),
                person_id=str(person),
                unit_id=str(other.unit_id),
            )
            yield Deed(day, Step.REORGANISE, self.people[0], changing)

    def _wrap_up(self, number: int, objectives: Sequence[_Objective]) -> Iterator[Deed]:
        """Close what the cycle before was about, a few days into the next one."""
        if not objectives:
            return
        day = number * CYCLE_DAYS + WRAP_UP_DAYS
        for objective in objectives:
            reached = [key_result.progress for key_result in objective.key_results]
            closing = CloseObjectiveRequest(
                request_id=self._request(f"close {objective.objective_id}"),
                objective_id=str(objective.objective_id),
                outcome=_outcome(sum(reached) / len(reached)),
            )
            yield Deed(day, Step.CLOSE_OBJECTIVES, objective.owner, closing)
        cycle_id = self._id("cycle", number - 1)
        yield Deed(
            day,
            Step.CLOSE_CYCLE,
            self.people[0],
            CloseCycleRequest(request_id=self._request(f"close cycle {cycle_id}"), cycle_id=str(cycle_id)),
        )

    # --- ids -------------------------------------------------------------------------------------

    def _id(self, kind: str, *name: object) -> UUID:
        return uuid5(self.organization, f"{kind}:{':'.join(map(str, name))}")

    def _request(self, what: str) -> str:
        return str(self._id("request", what))


def _champion(person: UUID, role: ChampionRole.ValueType) -> Champion:
    return Champion(person_id=str(person), role=role)


def _outcome(reached: float) -> ObjectiveOutcome.ValueType:
    if reached >= 0.7:
        return ObjectiveOutcome.OBJECTIVE_OUTCOME_ACHIEVED
    return ObjectiveOutcome.OBJECTIVE_OUTCOME_PARTLY if reached >= 0.3 else ObjectiveOutcome.OBJECTIVE_OUTCOME_LEARNED


def _number(value: float, places: int) -> Decimal:
    """Rounded as people write it. Through text, so that it is the same on every machine."""
    return Decimal(f"{value:.{places}f}")


def _plain(value: Decimal) -> str:
    return f"{value:f}"


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]
