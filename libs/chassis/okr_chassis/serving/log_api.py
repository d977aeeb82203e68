"""The log itself over gRPC.

People read their own organisation's events, in their one order, free text opened. Our own services read
whole shards, as they are stored: what a bus has skipped, and how far a log goes, is asked from its owner.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from grpc import aio

from okr.eventlog.v1 import eventlog_pb2 as pb
from okr.eventlog.v1 import eventlog_pb2_grpc
from okr_chassis.identity.auth import Caller, PermissionDeniedError, caller, require_service
from okr_chassis.rpc.errors import LeavingError
from okr_chassis.rpc.messages import wire
from okr_chassis.sealing import Vault
from okr_contracts.errors import InvalidInputError, Violation
from okr_contracts.registry import EVENTS
from okr_contracts.sealed import SealedText, sealed_fields
from okr_eventstore.log import EventLog
from okr_eventstore.model import SHARDS, shard_of

PAGE_EVENTS = 500
SHARD_PAGE_EVENTS = 1000
SHARD_PAGE_BYTES = 2 * 1024 * 1024
"""What one answer of ReadShard holds of the events' own data, give or take one event."""
FOLLOW_SECONDS = 1.0
"""How long a follower sleeps when nothing wakes it: appends of other processes are found by looking."""

Context = aio.ServicerContext[Any, Any]

_TAIL = """
    SELECT position, stream_id, version, event_id, type, schema_version, recorded_at, occurred_at,
           command_id, causation_id, correlation_id, actor, data::text AS data
      FROM event WHERE shard = $1 AND position > $2 AND organization_id = $3 ORDER BY position LIMIT $4
"""

_SHARD = """
    SELECT * FROM (
        SELECT position, organization_id, stream_id, version, event_id, type, schema_version, recorded_at, occurred_at,
               command_id, causation_id, correlation_id, actor, data::text AS data, metadata::text AS metadata,
               sum(octet_length(data::text)) OVER (ORDER BY position) - octet_length(data::text) AS bytes_before
          FROM event WHERE shard = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4) AS page
     WHERE bytes_before < $5 ORDER BY position
"""

_SEALED = {event.__name__: fields for events in EVENTS.values() for event in events if (fields := sealed_fields(event))}
"""The types of event that hold free text, with the fields it is in."""


class EventLogService(eventlog_pb2_grpc.EventLogServiceServicer):
    """Reads the logs of this process. Events leave as they were written, known to this release or not.

    Free text is opened: where it was sealed stands what somebody wrote, or that it was erased.
    """

    def __init__(self, logs: Mapping[str, EventLog], vault: Vault, leaving: asyncio.Event) -> None:
        self._logs = logs
        self._vault = vault
        self._leaving = leaving

    async def TailEvents(self, request: pb.TailEventsRequest, context: Context) -> AsyncIterator[pb.TailEventsResponse]:
        """What follows `after_position`; with `follow` also what is yet to come, until somebody leaves."""
        self._check(request)
        event_log = self._logs[request.service]
        organization_id = caller().organization_id
        shard = shard_of(organization_id)
        woken = asyncio.Event()

        def wake(shards: set[int]) -> None:
            if shard in shards:
                woken.set()

        stop_listening = event_log.listen(wake)
        try:
            after = request.after_position
            while True:
                woken.clear()
                rows = await event_log.database.fetch(_TAIL, shard, after, organization_id, PAGE_EVENTS)
                for row, data in zip(rows, await self._opened(rows), strict=True):
                    yield pb.TailEventsResponse(event=_event(request.service, shard, row, data))
                    after = row["position"]
                if len(rows) == PAGE_EVENTS:
                    continue
                if not request.follow:
                    return
                if self._leaving.is_set():
                    raise LeavingError(f"the server stops; go on after position {after}")
                await _first(woken, self._leaving)
        finally:
            stop_listening()

    async def GetHeads(self, request: pb.GetHeadsRequest, context: Context) -> pb.GetHeadsResponse:
        """How far each shard goes. Everybody's shards: for our own services alone."""
        require_itself()
        self._check_service(request.service)
        heads = await self._logs[request.service].heads()
        return pb.GetHeadsResponse(
            heads=[pb.ShardHead(shard=shard, epoch=head.epoch, position=head.position) for shard, head in heads.items()]
        )

    async def ReadShard(self, request: pb.ReadShardRequest, context: Context) -> pb.ReadShardResponse:
        """Everybody's events of a shard, still sealed: for our own services alone."""
        require_itself()
        self._check_service(request.service, *_range_faults(request))
        rows = await self._logs[request.service].database.fetch(
            _SHARD,
            request.shard,
            request.after_position,
            request.up_to_position,
            SHARD_PAGE_EVENTS,
            SHARD_PAGE_BYTES,
        )
        return pb.ReadShardResponse(events=map(_stored, rows))

    async def _opened(self, rows: Sequence[asyncpg.Record]) -> list[bytes]:
        """Each event's data with its free text in the clear: all keys of the page in one question."""
        documents: dict[int, dict[str, Any]] = {}
        texts: list[tuple[SealedText, UUID, str]] = []
        places: list[tuple[int, str]] = []
        for index, row in enumerate(rows):
            for field, subject in _SEALED.get(row["type"], {}).items():
                # What a newer release wrote, or damaged, may hold anything; it leaves as it is, sealed.
                with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                    document = documents.setdefault(index, msgspec.json.decode(row["data"]))
                    sealed = msgspec.convert(document[field], SealedText)
                    texts.append((sealed, UUID(document[subject]), field))
                    places.append((index, field))
        for (index, field), text in zip(places, await self._vault.open(texts), strict=True):
            documents[index][field] = text
        return [
            msgspec.json.encode(documents[index]) if index in documents else row["data"].encode()
            for index, row in enumerate(rows)
        ]

    def _check(self, request: pb.TailEventsRequest) -> None:
        negative = Violation("after_position", "must not be negative", "NEGATIVE")
        self._check_service(request.service, *([negative] if request.after_position < 0 else []))

    def _check_service(self, service: str, *more: Violation) -> None:
        violations = list(more)
        if service not in self._logs:
            known = ", ".join(sorted(self._logs))
            violations.insert(0, Violation("service", f"must be one of {known}", "UNKNOWN_SERVICE"))
        if violations:
            raise InvalidInputError(violations)


def require_itself() -> Caller:
    """The caller, which is one of our own services and acts for nobody but itself. Raises PermissionDeniedError.

    What it is about to read belongs to all organisations, so no person may be behind the question.
    """
    who = require_service()
    if who.person_id is not None:
        raise PermissionDeniedError("SERVICES_ONLY", "a service may only call this for itself, not for a person")
    return who


def _range_faults(request: pb.ReadShardRequest) -> list[Violation]:
    violations = []
    if not 0 <= request.shard < SHARDS:
        violations.append(Violation("shard", f"must lie in 0..{SHARDS - 1}", "UNKNOWN_SHARD"))
    if request.after_position < 0:
        violations.append(Violation("after_position", "must not be negative", "NEGATIVE"))
    if request.up_to_position < request.after_position:
        violations.append(Violation("up_to_position", "must not lie before after_position", "BACKWARDS"))
    return violations


async def _first(*events: asyncio.Event) -> None:
    """Wait for whichever comes first, and not for ever."""
    waits: Sequence[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=FOLLOW_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _event(service: str, shard: int, row: asyncpg.Record, data: bytes) -> pb.Event:
    return pb.Event(
        service=service,
        event_id=wire(row["event_id"]),
        type=row["type"],
        schema_version=row["schema_version"],
        shard=shard,
        position=row["position"],
        stream_id=row["stream_id"],
        version=row["version"],
        recorded_at=wire(row["recorded_at"]),
        occurred_at=wire(row["occurred_at"]),
        actor=row["actor"],
        command_id=wire(row["command_id"]),
        correlation_id=wire(row["correlation_id"]),
        causation_id=wire(row["causation_id"]),
        data=data,
    )


def _stored(row: asyncpg.Record) -> pb.StoredEvent:
    return pb.StoredEvent(
        position=row["position"],
        organization_id=str(row["organization_id"]),
        stream_id=row["stream_id"],
        version=row["version"],
        event_id=str(row["event_id"]),
        type=row["type"],
        schema_version=row["schema_version"],
        recorded_at=wire(row["recorded_at"]),
        occurred_at=wire(row["occurred_at"]),
        command_id=str(row["command_id"]),
        causation_id=wire(row["causation_id"]),
        correlation_id=str(row["correlation_id"]),
        actor=row["actor"],
        data=row["data"].encode(),
        metadata=(row["metadata"] or "").encode(),
    )
