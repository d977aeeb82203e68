"""A planning cycle: drafted, published, active, in grading, closing, closed; or cancelled on the way."""

from datetime import date, timedelta
from typing import Annotated, Literal, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, InstanceOf

from okr_chassis.rpc.fields import Day, Id, Name, text
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError, Violation
from okr_contracts.goals import (
    CycleActivated,
    CycleCancelled,
    CycleClosed,
    CycleClosing,
    CycleDrafted,
    CycleEvent,
    CycleGradingOpened,
    CyclePublished,
    PinnedRules,
)
from okr_contracts.sealed import SealedText
from okr_eventstore.decider import Decider
from okr_rules.parameters import DEFAULTS, RuleParameters

MAX_CYCLE_DAYS = 400
"""A year and some slack: what runs longer is a strategy, not a cycle."""

CycleState = Literal["none", "draft", "published", "active", "grading", "closing", "closed", "cancelled"]
ENDED: frozenset[CycleState] = frozenset(("closing", "closed", "cancelled"))
"""Nothing new begins in these."""


class DraftCycle(BaseModel, frozen=True):
    cycle_id: Id
    name: Name
    starts_on: Day
    ends_on: Day


class PublishCycle(BaseModel, frozen=True):
    """`objectives` is how many there were, `blocking` every finding of good practice that nobody overrode."""

    cycle_id: Id
    rules: InstanceOf[PinnedRules]
    objectives: int
    blocking: tuple[InstanceOf[Violation], ...] = ()


class ActivateCycle(BaseModel, frozen=True):
    """`rules` are those of today, kept where the cycle has none yet."""

    cycle_id: Id
    rules: InstanceOf[PinnedRules] | None = None


class OpenGrading(BaseModel, frozen=True):
    cycle_id: Id


class CloseCycle(BaseModel, frozen=True):
    """`active_objectives` is how many objectives of the cycle were seen active when this was asked, and `ungraded`
    are their key results without a grade."""

    cycle_id: Id
    active_objectives: int
    ungraded: tuple[InstanceOf[Violation], ...] = ()


class RecordClosed(BaseModel, frozen=True):
    """Every objective has its end; `positions` are how far each log went then."""

    cycle_id: Id
    positions: tuple[str, ...]


class CancellationSaid(BaseModel, frozen=True):
    """A cancellation in plain words. No rule sees it so."""

    cycle_id: Id
    reason: Annotated[str, text(1_000)]


class CancelCycle(BaseModel, frozen=True):
    cycle_id: Id
    reason: InstanceOf[SealedText] | None


CycleCommand: TypeAlias = (
    DraftCycle | PublishCycle | ActivateCycle | OpenGrading | CloseCycle | RecordClosed | CancelCycle
)


class Cycle(Struct, frozen=True):
    """`rules` is None until the cycle was published or activated, and for those that were before rules were kept."""

    state: CycleState = "none"
    name: str = ""
    starts_on: date = date.min
    ends_on: date = date.min
    published: bool = False
    rules: PinnedRules | None = None

    @property
    def parameters(self) -> RuleParameters:
        """The numbers that the cycle is judged by."""
        return parameters_of(self.rules)


def pinned(parameters: RuleParameters = DEFAULTS) -> PinnedRules:
    """The rules of today, as a cycle keeps them."""
    return PinnedRules(parameters.version, parameters.document())


def parameters_of(rules: PinnedRules | None) -> RuleParameters:
    return DEFAULTS if rules is None else RuleParameters.of(rules.version, rules.parameters)


def decide(state: Cycle, command: CycleCommand) -> list[CycleEvent]:
    match command:
        case DraftCycle():
            return _draft(state, command)
        case _ if state.state == "none":
            raise NotFoundError("cycle", command.cycle_id)
        case PublishCycle():
            return _publish(state, command)
        case ActivateCycle():
            return _activate(state, command)
        case OpenGrading():
            return _open_grading(state, command)
        case CloseCycle():
            return _close(state, command)
        case RecordClosed() if state.state == "closing":
            return [CycleClosed(cycle_id=command.cycle_id, positions=command.positions)]
        case RecordClosed():
            return []
        case CancelCycle() if state.state == "cancelled":
            return []
        case CancelCycle() if state.state in ENDED:
            raise ended(state)
        case CancelCycle():
            return [CycleCancelled(cycle_id=command.cycle_id, reason=command.reason)]
        case _:
            assert_never(command)


def evolve(state: Cycle, event: CycleEvent) -> Cycle:
    match event:
        case CycleDrafted():
            return Cycle(state="draft", name=event.name, starts_on=event.starts_on, ends_on=event.ends_on)
        case CyclePublished():
            return replace(state, state="published", published=True, rules=event.rules)
        case CycleActivated():
            return replace(state, state="active", rules=event.rules or state.rules)
        case CycleGradingOpened():
            return replace(state, state="grading")
        case CycleClosing():
            return replace(state, state="closing")
        case CycleClosed():
            return replace(state, state="closed")
        case CycleCancelled():
            return replace(state, state="cancelled")
        case _:
            assert_never(event)


def ended(cycle: Cycle) -> DomainError:
    """Why nothing begins in a cycle that is closing, closed or cancelled."""
    reason = "CYCLE_CANCELLED" if cycle.state == "cancelled" else "CYCLE_CLOSED"
    return DomainError(reason, f"{cycle.name} is {cycle.state}; work in a cycle that is draft, published or active")


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


def _publish(state: Cycle, command: PublishCycle) -> list[CycleEvent]:
    if state.state in ENDED:
        raise ended(state)
    if state.state == "published":
        return []
    if state.state != "draft":
        raise DomainError("CYCLE_RUNS_ALREADY", f"{state.name} is {state.state}; only a draft is published")
    if not command.objectives:
        raise DomainError("NO_OBJECTIVES", f"{state.name} has no objective yet; draft one, then publish")
    if command.blocking:
        raise DomainError(
            "PRACTICE_NOT_MET",
            f"{len(command.blocking)} findings of good practice keep {state.name} from being published; "
            "mend them, or override one with a reason where its rule allows that",
            command.blocking,
        )
    return [CyclePublished(cycle_id=command.cycle_id, rules=command.rules)]


def _activate(state: Cycle, command: ActivateCycle) -> list[CycleEvent]:
    if state.state in ENDED:
        raise ended(state)
    if state.state == "active":
        return []
    if state.state == "grading":
        raise DomainError("CYCLE_IN_GRADING", f"the time of {state.name} is over and it is being graded")
    rules = command.rules if state.rules is None else None
    return [CycleActivated(cycle_id=command.cycle_id, rules=rules)]


def _open_grading(state: Cycle, command: OpenGrading) -> list[CycleEvent]:
    if state.state in ENDED:
        raise ended(state)
    if state.state == "grading":
        return []
    if state.state != "active":
        raise not_active(state)
    return [CycleGradingOpened(cycle_id=command.cycle_id)]


def _close(state: Cycle, command: CloseCycle) -> list[CycleEvent]:
    """From grading when all is graded; straight from active where nothing is left that could be."""
    if state.state in ("closing", "closed"):
        return []
    if state.state == "cancelled":
        raise ended(state)
    if state.state not in ("active", "grading"):
        raise not_active(state)
    if state.state == "active" and command.active_objectives:
        raise DomainError(
            "CYCLE_HAS_ACTIVE_OBJECTIVES",
            f"{state.name} still has {command.active_objectives} active objectives; open its grading and grade "
            "their key results, or close them first",
        )
    if command.ungraded:
        raise DomainError(
            "KEY_RESULTS_NOT_GRADED",
            f"{len(command.ungraded)} key results of {state.name} have no grade yet; grade them, then close",
            command.ungraded,
        )
    return [CycleClosing(cycle_id=command.cycle_id)]


cycles: Decider[Cycle, CycleCommand, CycleEvent] = Decider(
    category="cycle", initial=Cycle(), decide=decide, evolve=evolve
)
