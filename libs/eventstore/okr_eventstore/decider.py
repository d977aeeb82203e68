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
class Decider(Generic[State, Command, Event]):
    """Rules without I/O: `decide` says which events a command causes, `evolve` folds one into the state.

    `decide` returns no event when the command changes nothing and raises a domain error when a rule
    says no. `evolve` never refuses. An event with an `occurred_at` of its own is dated by it, any
    other happens when it is recorded.

    `snapshot_every` (events) is for streams that grow long; leave it None for short ones. Raise
    `state_version` whenever the shape or the meaning of the state changes: older snapshots are then
    passed over and the stream is folded afresh.
    """

    category: str
    initial: State
    decide: Callable[[State, Command], Sequence[Event]]
    evolve: Callable[[State, Event], State]
    state_version: int = 1
    snapshot_every: int | None = None

    def stream(self, identifier: UUID) -> str:
        """The stream of one aggregate: its category, a dash, its id."""
        return f"{self.category}-{identifier}"

    def fold(self, events: Iterable[Event], state: State | None = None) -> State:
        """The state after `events`, from `state` on or from the beginning."""
        folded = self.initial if state is None else state
        for event in events:
            folded = self.evolve(folded, event)
        return folded
