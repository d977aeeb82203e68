"""A decider: the rules of one kind of aggregate as two plain functions over frozen values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

State = TypeVar("State", bound=Struct)
Command = TypeVar("Command")
Event = TypeVar("Event", bound=Struct)


@dataclass(frozen=True)
class Recall(Generic[State, Command, Event]):
    """What a state need not hold because it is in the log: it names events by their versions and is given them.

    `wanted` says which earlier events a command's decision needs word for word, in ascending order;
    `at_hand` is the state with these events, for `decide` alone. Who wants none decides on the state as it is.
    """

    wanted: Callable[[State, Command], Sequence[int]]
    at_hand: Callable[[State, Sequence[Event]], State]


@dataclass(frozen=True)
class Decider(Generic[State, Command, Event]):
    """Rules without I/O: `decide` says which events a command causes, `evolve` folds one into the state.

    `decide` returns no event when the command changes nothing and raises a domain error when a rule
    says no. `evolve` never refuses. An event with an `occurred_at` of its own is dated by it, any
    other happens when it is recorded.

    `snapshot_every` (events) is for streams that grow long; leave it None for short ones. Their states
    are kept and read again and again: what few commands need, and then of one event, they `recall`. Raise
    `state_version` whenever the shape or the meaning of the state changes: older snapshots are then
    passed over and the stream is folded afresh.
    """

    category: str
    initial: State
    decide: Callable[[State, Command], Sequence[Event]]
    evolve: Callable[[State, Event], State]
    state_version: int = 1
    snapshot_every: int | None = None
    recall: Recall[State, Command, Event] | None = None

    def stream(self, identifier: UUID) -> str:
        """The stream of one aggregate: its category, a dash, its id."""
        return f"{self.category}-{identifier}"

    def decide_on(self, stream: Sequence[Event], command: Command) -> Sequence[Event]:
        """What a command causes on a stream of exactly these events."""
        state = self.fold(stream)
        if self.recall is not None and (wanted := self.recall.wanted(state, command)):
            state = self.recall.at_hand(state, [stream[version - 1] for version in wanted])
        return self.decide(state, command)

    def fold(self, events: Iterable[Event], state: State | None = None) -> State:
        """The state after `events`, from `state` on or from the beginning."""
        folded = self.initial if state is None else state
        for event in events:
            folded = self.evolve(folded, event)
        return folded
