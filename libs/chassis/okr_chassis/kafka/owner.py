"""A service's log, asked from its owner: how far it goes, and what a bus has skipped."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec
from grpc import aio

from okr.eventlog.v1 import eventlog_pb2 as pb
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr_chassis.identity.auth import SERVICE_PREFIX, acting_for
from okr_eventstore.codec import Codec
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.model import Head, RecordedEvent

NO_ORGANIZATION = UUID(int=0)
"""In whose name a service asks for what belongs to all of them."""
ANSWER_SECONDS = 10.0


class Owner(Protocol):
    """Whoever holds the truth that a bus carries copies of."""

    async def heads(self) -> dict[int, Head]:
        """How far the log goes, for every shard that holds anything. Raises StoreUnavailableError."""

    async def read(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        """The events `after` < position ≤ `up_to` that there are. Raises StoreUnavailableError."""


class OwnersLog:
    """The log of one service over gRPC. `asking` is the service that asks, always in its own name."""

    def __init__(self, service: str, asking: str, stub: EventLogServiceStub, codec: Codec) -> None:
        self._service = service
        self._actor = f"{SERVICE_PREFIX}{asking}"
        self._stub = stub
        self._codec = codec

    async def heads(self) -> dict[int, Head]:
        with acting_for(NO_ORGANIZATION, self._actor):
            call = self._stub.GetHeads(pb.GetHeadsRequest(service=self._service), timeout=ANSWER_SECONDS)
        try:
            answer = await call
        except aio.AioRpcError as error:
            raise self._away(error) from error
        return {each.shard: Head(each.epoch, each.position) for each in answer.heads}

    async def read(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        events: list[RecordedEvent] = []
        while after < up_to:
            page = await self._page(shard, after, up_to)
            if not page:
                break
            events += page
            after = page[-1].position
        return events

    async def _page(self, shard: int, after: int, up_to: int) -> list[RecordedEvent]:
        """As much as the owner answers at once."""
        question = pb.ReadShardRequest(service=self._service, shard=shard, after_position=after, up_to_position=up_to)
        with acting_for(NO_ORGANIZATION, self._actor):
            call = self._stub.ReadShard(question, timeout=ANSWER_SECONDS)
        try:
            answer = await call
        except aio.AioRpcError as error:
            raise self._away(error) from error
        return [self._event(shard, stored) for stored in answer.events]

    def _event(self, shard: int, stored: pb.StoredEvent) -> RecordedEvent:
        return RecordedEvent(
            shard,
            stored.position,
            UUID(stored.organization_id),
            stored.stream_id,
            stored.version,
            UUID(stored.event_id),
            stored.type,
            stored.schema_version,
            datetime.fromisoformat(stored.recorded_at),
            datetime.fromisoformat(stored.occurred_at),
            UUID(stored.command_id),
            UUID(stored.causation_id) if stored.causation_id else None,
            UUID(stored.correlation_id),
            stored.actor,
            self._codec.decode(stored.type, stored.schema_version, stored.data),
            msgspec.json.decode(stored.metadata, type=dict[str, str]) if stored.metadata else {},
        )

    def _away(self, error: aio.AioRpcError) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"the log of {self._service} could not be asked from its owner: {error.code().name}: {error.details()}"
        )
