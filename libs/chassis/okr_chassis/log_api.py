"""The log itself over gRPC: the caller's own organisation, in its one order, free text opened."""

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
from okr_chassis.auth import caller
from okr_chassis.errors import LeavingError
from okr_chassis.rpc import wire
from okr_chassis.sealing import Vault
from okr_contracts.errors import InvalidInputError, Violation
from okr_contracts.registry import EVENTS
from okr_contracts.sealed import SealedText, sealed_fields
from okr_eventstore.log import EventLog
from okr_eventstore.model import shard_of

PAGE_EVENTS = 500
FOLLOW_SECONDS = 1.0
"""How long a follower sleeps when nothing wakes it: appends of other processes are found by looking."""

Context = aio.ServicerContext[Any, Any]

_TAIL = """
    SELECT position, stream_id, version, event_id, type, schema_version, recorded_at, occurred_at,
           command_id, causation_id, correlation_id, actor, data::text AS data
      FROM event WHERE shard = $1 AND position > $2 AND organization_id = $3 ORDER BY position LIMIT $4
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
        violations: list[Violation] = []
        if request.service not in self._logs:
            violations.append(
                Violation("service", f"must be one of {', '.join(sorted(self._logs))}", "UNKNOWN_SERVICE")
            )
        if request.after_position < 0:
            violations.append(Violation("after_position", "must not be negative", "NEGATIVE"))
        if violations:
            raise InvalidInputError(violations)


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
