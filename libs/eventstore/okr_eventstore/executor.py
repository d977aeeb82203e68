"""From a command to events in the log: load the state, decide, append; decide again when somebody was faster."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from okr_eventstore.codec import UnknownEvent, UnreadableEvent
from okr_eventstore.decider import Decider
from okr_eventstore.errors import CommandIdReusedError, ConflictError, StoreUnavailableError, UnknownEventError
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, Done, NewEvent, RecordedEvent

CACHED_STREAMS = 10_000
DECISIONS = 4
"""The first one and three more after lost races."""

State = TypeVar("State", bound=Struct)
Command = TypeVar("Command")
Event = TypeVar("Event", bound=Struct)


class Loaded(NamedTuple, Generic[State]):
    """A stream folded up to `version`; 0 means that it does not exist."""

    state: State
    version: int


class CommandExecutor:
    """Runs deciders against one log.

    The states of recent streams are kept in memory. That is only a guess at the present, and a safe
    one: the append compares the version it was decided on, and a stale guess costs one more reading.
    """

    def __init__(self, log: EventLog, *, cached_streams: int = CACHED_STREAMS) -> None:
        self._log = log
        self._cached_streams = cached_streams
        self._cache: OrderedDict[tuple[UUID, str], tuple[Decider[Any, Any, Any], Loaded[Any]]] = OrderedDict()

    async def execute(
        self,
        decider: Decider[State, Command, Event],
        stream_id: str,
        command: Command,
        context: CommandContext,
        *,
        expected_version: int | None = None,
        reply: bytes | None = None,
    ) -> Done:
        """Carry out a command once, however often it is sent.

        `expected_version` is what the caller last saw; None where it does not matter. Raises whatever
        `decide` refuses with, and ConflictError when the stream is not at the expected version or
        when other writers won every race. A command that was finished before gets its stored answer,
        also where it would be refused today.
        """
        organization_id = context.organization_id
        loaded = await self._recall(decider, organization_id, stream_id)
        for attempt in range(DECISIONS):
            try:
                if expected_version is not None and expected_version != loaded.version:
                    raise ConflictError(stream_id, expected_version, loaded.version)
                events = decider.decide(loaded.state, command)
            except Exception:
                finished = await self.finished(organization_id, context.command_id, context.fingerprint)
                if finished is not None:
                    return finished
                fresh = await self._catch_up(decider, organization_id, stream_id, loaded)
                if fresh.version == loaded.version:
                    raise
                loaded = fresh  # the refusal rested on a state that is no longer
                if attempt + 1 < DECISIONS:
                    continue
                raise
            try:
                done = await self._log.append(stream_id, loaded.version, _new(events), context, reply)
            except ConflictError:
                loaded = await self._catch_up(decider, organization_id, stream_id, loaded)
                if attempt + 1 == DECISIONS:
                    raise
                continue
            if done.duplicate:
                self._cache.pop((organization_id, stream_id), None)
            else:
                after = Loaded(decider.fold(events, loaded.state), done.version)
                self._remember(decider, organization_id, stream_id, after)
                await self._snapshot(decider, organization_id, stream_id, loaded.version, after)
            return done
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def load(
        self,
        decider: Decider[State, Command, Event],
        organization_id: UUID,
        stream_id: str,
        at_version: int | None = None,
    ) -> Loaded[State]:
        """The stream as it is now, or as it was at a version: never from memory."""
        start = Loaded(decider.initial, 0)
        if decider.snapshot_every is not None:
            kept = await self._log.read_snapshot(organization_id, stream_id, decider.state_version)
            if kept is not None and (at_version is None or kept[0] <= at_version):
                start = Loaded(msgspec.json.decode(kept[1], type=type(decider.initial)), kept[0])
        return await self._read_on(decider, organization_id, stream_id, start, at_version)

    async def _recall(
        self, decider: Decider[State, Command, Event], organization_id: UUID, stream_id: str
    ) -> Loaded[State]:
        kept = self._cache.get((organization_id, stream_id))
        if kept is not None and kept[0] is decider:
            self._cache.move_to_end((organization_id, stream_id))
            return kept[1]
        loaded = await self.load(decider, organization_id, stream_id)
        self._remember(decider, organization_id, stream_id, loaded)
        return loaded

    async def _catch_up(
        self,
        decider: Decider[State, Command, Event],
        organization_id: UUID,
        stream_id: str,
        loaded: Loaded[State],
    ) -> Loaded[State]:
        fresh = await self._read_on(decider, organization_id, stream_id, loaded, None)
        self._remember(decider, organization_id, stream_id, fresh)
        return fresh

    async def _read_on(
        self,
        decider: Decider[State, Command, Event],
        organization_id: UUID,
        stream_id: str,
        start: Loaded[State],
        up_to_version: int | None,
    ) -> Loaded[State]:
        events = await self._log.read_stream(organization_id, stream_id, start.version, up_to_version)
        state = start.state
        for event in events:
            state = decider.evolve(state, _known(event))
        return Loaded(state, events[-1].version if events else start.version)

    async def finished(self, organization_id: UUID, command_id: UUID, fingerprint: bytes) -> Done | None:
        """The answer to a command that was carried out before. Raises CommandIdReusedError where it was another."""
        stored = await self._log.find_command(organization_id, command_id)
        if stored is None:
            return None
        if stored.fingerprint != fingerprint:
            raise CommandIdReusedError(command_id)
        return stored.done

    def _remember(
        self, decider: Decider[Any, Any, Any], organization_id: UUID, stream_id: str, loaded: Loaded[Any]
    ) -> None:
        self._cache[organization_id, stream_id] = (decider, loaded)
        self._cache.move_to_end((organization_id, stream_id))
        while len(self._cache) > self._cached_streams:
            self._cache.popitem(last=False)

    async def _snapshot(
        self,
        decider: Decider[State, Command, Event],
        organization_id: UUID,
        stream_id: str,
        before: int,
        after: Loaded[State],
    ) -> None:
        """Keep a snapshot whenever the stream has grown past a multiple of `snapshot_every`.

        The command is done by now: a snapshot that cannot be kept costs a longer reading later, no more.
        """
        every = decider.snapshot_every
        if every is not None and before // every != after.version // every:
            state = msgspec.json.encode(after.state).decode()
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
                await self._log.save_snapshot(organization_id, stream_id, after.version, decider.state_version, state)


def _new(events: Sequence[Struct]) -> list[NewEvent]:
    """An event that knows when it was true is dated by it."""
    return [NewEvent(event, _moment(getattr(event, "occurred_at", None))) for event in events]


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _known(event: RecordedEvent) -> Any:
    """Deciding on a stream one cannot fully read would be guessing."""
    if isinstance(event.data, UnknownEvent | UnreadableEvent):
        raise UnknownEventError(
            f"{event.stream_id} holds {event.type} version {event.schema_version}, which this release cannot read"
        )
    return event.data
