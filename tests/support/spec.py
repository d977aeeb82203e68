"""Deciders told in sentences: given these events, when this command, then those events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest
from msgspec import Struct
from pydantic import ValidationError

from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError, OkrError
from okr_eventstore.decider import Decider

StateT = TypeVar("StateT", bound=Struct)
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT", bound=Struct)


@dataclass(frozen=True)
class Then:
    """What a command led to: its events, or the error that refused it."""

    events: Sequence[Struct]
    refusal: OkrError | None

    def then(self, *events: Struct) -> None:
        """Exactly these events, in this order."""
        assert self.refusal is None, f"refused with {self.refusal!r}"
        assert list(self.events) == list(events)

    def then_nothing(self) -> None:
        """The command was accepted and changed nothing."""
        self.then()

    def then_refused(self, reason: str, family: type[OkrError] = DomainError) -> None:
        """Refused with this reason by a rule (or by another family of errors, when told)."""
        assert self.refusal is not None, f"accepted with {self.events!r}"
        assert self.refusal.reason == reason
        assert isinstance(self.refusal, family)
        assert self.refusal.message

    def then_not_found(self, reason: str) -> None:
        self.then_refused(reason, NotFoundError)

    def then_already_exists(self, reason: str) -> None:
        self.then_refused(reason, AlreadyExistsError)


@dataclass(frozen=True)
class Given(Generic[StateT, CommandT, EventT]):
    """A stream with these events in it."""

    decider: Decider[StateT, CommandT, EventT]
    events: tuple[EventT, ...]

    def when(self, command: CommandT) -> Then:
        """Decide once, without I/O. Errors that no rule foresaw pass through and fail the test."""
        try:
            return Then(self.decider.decide_on(self.events, command), None)
        except OkrError as refusal:
            return Then((), refusal)


@dataclass(frozen=True)
class Spec(Generic[StateT, CommandT, EventT]):
    """The entry: `spec(decider).given(…).when(…).then(…)`."""

    decider: Decider[StateT, CommandT, EventT]

    def given(self, *events: EventT) -> Given[StateT, CommandT, EventT]:
        return Given(self.decider, events)

    def when(self, command: CommandT) -> Then:
        """On an empty stream."""
        return self.given().when(command)


def spec(decider: Decider[StateT, CommandT, EventT]) -> Spec[StateT, CommandT, EventT]:
    return Spec(decider)


def violations(build: Callable[[], object]) -> list[str]:
    """The fields at fault when a command is built from what came in; dotted paths, all of them."""
    with pytest.raises(ValidationError) as refused:
        build()
    return [".".join(str(part) for part in each["loc"]) for each in refused.value.errors()]
