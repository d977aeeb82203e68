"""A planning cycle: drafted, activated, closed."""

from datetime import date, timedelta
from typing import Literal, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from okr_chassis.fields import Day, Id, Name
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_contracts.goals import CycleActivated, CycleClosed, CycleDrafted, CycleEvent
from okr_eventstore.decider import Decider

MAX_CYCLE_DAYS = 400
"""A year and some slack: what runs longer is a strategy, not a cycle."""

CycleState = Literal["none", "draft", "active", "closed"]


class DraftCycle(BaseModel, frozen=True):
    cycle_id: Id
    name: Name
    starts_on: Day
    ends_on: Day


class ActivateCycle(BaseModel, frozen=True):
    cycle_id: Id


class CloseCycle(BaseModel, frozen=True):
    """`active_objectives` is how many objectives of the cycle were seen active when this was asked."""

    cycle_id: Id
    active_objectives: int


CycleCommand: TypeAlias = DraftCycle | ActivateCycle | CloseCycle


class Cycle(Struct, frozen=True):
    state: CycleState = "none"
    name: str = ""
    starts_on: date = date.min
    ends_on: date = date.min


def decide(state: Cycle, command: CycleCommand) -> list[CycleEvent]:
    match command:
        case DraftCycle():
            return _draft(state, command)
        case _ if state.state == "none":
            raise NotFoundError("cycle", command.cycle_id)
        case ActivateCycle() if state.state == "closed":
            raise closed(state)
        case ActivateCycle() if state.state == "active":
            return []
        case ActivateCycle():
            return [CycleActivated(cycle_id=command.cycle_id)]
        case CloseCycle() if state.state == "closed":
            return []
        case CloseCycle() if state.state != "active":
            raise not_active(state)
        case CloseCycle() if command.active_objectives:
            raise DomainError(
                "CYCLE_HAS_ACTIVE_OBJECTIVES",
                f"{state.name} still has {command.active_objectives} active objectives; close them first",
            )
        case CloseCycle():
            return [CycleClosed(cycle_id=command.cycle_id)]
        case _:
            assert_never(command)


def evolve(state: Cycle, event: CycleEvent) -> Cycle:
    match event:
        case CycleDrafted():
            return Cycle(state="draft", name=event.name, starts_on=event.starts_on, ends_on=event.ends_on)
        case CycleActivated():
            return replace(state, state="active")
        case CycleClosed():
            return replace(state, state="closed")
        case _:
            assert_never(event)


def closed(cycle: Cycle) -> DomainError:
    return DomainError("CYCLE_CLOSED", f"{cycle.name} is closed; work in a cycle that is draft or active")


def not_active(cycle: Cycle) -> DomainError:
    return DomainError("CYCLE_NOT_ACTIVE", f"{cycle.name} is {cycle.state}, not active; activate it first")


def _draft(state: Cycle, command: DraftCycle) -> list[CycleEvent]:
    if state.state != "none":
        if (state.name, state.starts_on, state.ends_on) != (command.name, command.starts_on, command.ends_on):
            raise AlreadyExistsError("cycle", command.cycle_id)
        return []
    if command.ends_on <= command.starts_on:
        raise DomainError(
            "CYCLE_ENDS_BEFORE_START", f"the last day, {command.ends_on}, lies not after the first, {command.starts_on}"
        )
    if command.ends_on - command.starts_on > timedelta(days=MAX_CYCLE_DAYS):
        raise DomainError(
            "CYCLE_TOO_LONG", f"{command.starts_on} to {command.ends_on} is more than {MAX_CYCLE_DAYS} days; split it"
        )
    return [
        CycleDrafted(cycle_id=command.cycle_id, name=command.name, starts_on=command.starts_on, ends_on=command.ends_on)
    ]


cycles: Decider[Cycle, CycleCommand, CycleEvent] = Decider(
    category="cycle", initial=Cycle(), decide=decide, evolve=evolve
)
