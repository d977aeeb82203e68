"""The vocabulary of the log: what is appended, what comes back, and where it stands."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

SHARDS = 256
"""How many totally ordered logs a service's log consists of. Fixed for ever: positions depend on it."""


def shard_of(organization_id: UUID) -> int:
    """The shard that holds all events of an organisation: a stable hash, the same in every release."""
    return blake2b(organization_id.bytes, digest_size=1).digest()[0] % SHARDS


class Position(NamedTuple):
    """A place in one service's log. `epoch` grows after a restore from backup, so that numbers never lie."""

    service: str
    shard: int
    epoch: int
    position: int

    def __str__(self) -> str:
        return f"{self.service}:{self.shard}:{self.epoch}:{self.position}"

    @classmethod
    def parse(cls, token: str) -> "Position":
        """The position a token stands for. Raises ValueError naming what a token looks like."""
        service, _, numbers = token.partition(":")
        parts = numbers.split(":")
        if not service or len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{token!r} is not a position; expected service:shard:epoch:position, as in goals:7:1:42")
        shard, epoch, position = (int(part) for part in parts)
        if shard >= SHARDS or position >= 2**63 or epoch >= 2**31:
            raise ValueError(f"{token!r} is not a position; the shard lies in 0..{SHARDS - 1}")
        return cls(service, shard, epoch, position)


class Head(NamedTuple):
    """How far a shard's log goes: its last position, 0 when empty."""

    epoch: int
    position: int


class CommandContext(Struct, frozen=True):
    """Who asks for what, and how the store knows the same question when it comes again.

    `fingerprint` is a digest of the command's body and its actor; `actor` an opaque id such as
    `person:…` or `service:checkins`. `metadata` travels with every event (traceparent).
    """

    organization_id: UUID
    command_id: UUID
    fingerprint: bytes
    actor: str
    correlation_id: UUID
    causation_id: UUID | None = None
    metadata: dict[str, str] = {}


class NewEvent(Struct, frozen=True):
    """A fact on its way into the log. `occurred_at` is when it was true; None: when it is recorded."""

    data: Struct
    occurred_at: datetime | None = None


class RecordedEvent(Struct, frozen=True):
    """A fact as the log keeps it. `data` is the decoded event."""

    shard: int
    position: int
    organization_id: UUID
    stream_id: str
    version: int
    event_id: UUID
    type: str
    schema_version: int
    recorded_at: datetime
    occurred_at: datetime
    command_id: UUID
    causation_id: UUID | None
    correlation_id: UUID
    actor: str
    data: Struct
    metadata: dict[str, str] = {}


class Done(NamedTuple):
    """A finished command: the stream's version after it, and the position of its last event.

    A command that needed no event stands at the head its shard had. `duplicate` says that this is
    the stored answer of an earlier time. `reply` is what the service stored with the command.
    """

    version: int
    position: Position
    duplicate: bool
    reply: bytes | None = None

    @property
    def token(self) -> str:
        """The position as text, for `min_position` of a later read."""
        return str(self.position)


class ShardBatch(Struct, frozen=True):
    """Events of one shard, in position order, as a source hands them over."""

    shard: int
    epoch: int
    events: Sequence[RecordedEvent]
