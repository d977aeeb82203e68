"""A tiny domain for tests of the store, which knows nothing of OKRs: counters that only grow."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid4

from msgspec import Struct

from okr_eventstore.codec import Codec
from okr_eventstore.decider import Decider
from okr_eventstore.model import CommandContext, NewEvent

MINT = UUID("00000000-0000-4000-8000-00000000000a")
"""An organisation."""


class Opened(Struct, frozen=True):
    name: str


class Added(Struct, frozen=True):
    amount: int
    occurred_at: datetime | None = None


class Counter(Struct, frozen=True):
    name: str | None = None
    total: int = 0


@dataclass(frozen=True)
class Open:
    name: str


@dataclass(frozen=True)
class Add:
    amount: int
    occurred_at: datetime | None = None


class RefusedError(Exception):
    """The shop's only rule says no."""


def decide(state: Counter, command: Open | Add) -> list[Opened | Added]:
    match command:
        case Open() if state.name is not None:
            raise RefusedError(f"{state.name} is open already")
        case Open():
            return [Opened(command.name)]
        case Add() if state.total + command.amount > 1000:
            raise RefusedError(f"{state.total} + {command.amount} is more than 1000")
        case Add(amount=0):
            return []
        case Add():
            return [Added(command.amount, command.occurred_at)]


def evolve(state: Counter, event: Opened | Added) -> Counter:
    match event:
        case Opened():
            return Counter(event.name, state.total)
        case Added():
            return Counter(state.name, state.total + event.amount)


counters: Decider[Counter, Open | Add, Opened | Added] = Decider("counter", Counter(), decide, evolve)
long_counters: Decider[Counter, Open | Add, Opened | Added] = Decider(
    "counter", Counter(), decide, evolve, snapshot_every=10
)


def codec() -> Codec:
    return Codec([Opened, Added])


def context(
    *, organization_id: UUID = MINT, command_id: UUID | None = None, body: str = "", actor: str = "person:ana"
) -> CommandContext:
    """A command as it comes in; the same `command_id` and `body` make a resend."""
    command_id = command_id or uuid4()
    return CommandContext(
        organization_id=organization_id,
        command_id=command_id,
        fingerprint=sha256(body.encode()).digest(),
        actor=actor,
        correlation_id=command_id,
    )


def added(*amounts: int) -> list[NewEvent]:
    return [NewEvent(Added(amount)) for amount in amounts]
