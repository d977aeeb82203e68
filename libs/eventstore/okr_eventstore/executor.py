"""From a command to events in the log: load the state, decide, append; decide again when somebody was faster."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from okr_eventstore.decider import Decider
from okr_eventstore.errors import CommandIdReusedError, ConflictError, StoreUnavailableError
from okr_eventstore.log import EventLog, Fact, Snapshot
from okr_eventstore.model import CommandContext, Done, NewEvent

CACHED_STREAMS = 10_000
SNAPSHOTS = 32
"""About as many of a stream are kept; when it grows further, every other one goes."""
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
                state = await self._with_recalled(decider, organization_id, stream_id, loaded.state, command)
                events = decider.decide(state, command)
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
        if decider.snapshot_every is None:
            return await self._read_on(decider, organization_id, stream_id, Loaded(decider.initial, 0), at_version)
        kept, facts = await self._log.read_from_snapshot(organization_id, stream_id, decider.state_version, at_version)
        start = Loaded(decider.initial, 0)
        if kept is not None:
            start = Loaded(msgspec.json.decode(kept.state, type=type(decider.initial)), kept.version)
        return _folded(decider, start, facts)

    async def _with_recalled(
        self,
        decider: Decider[State, Command, Event],
        organization_id: UUID,
        stream_id: str,
        state: State,
        command: Command,
    ) -> State:
        """With what the decision needs of earlier events. They stand in the log for ever, so no race is lost here."""
        if decider.recall is None or not (wanted := decider.recall.wanted(state, command)):
            return state
        facts = await self._log.read_versions(organization_id, stream_id, wanted)
        return decider.recall.at_hand(state, [cast(Event, fact.data) for fact in facts])

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
        return _folded(
            decider, start, await self._log.read_facts(organization_id, stream_id, start.version, up_to_version)
        )

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
        """Keep a snapshot whenever the stream has grown past a multiple of `snapshot_every`, and thin the older ones.

        So the past is as near as the present, and a stream of any length has a bounded number of them.

        The command is done by now: a snapshot that cannot be kept costs a longer reading later, no more.
        """
        every = decider.snapshot_every
        if every is not None and before // every != after.version // every:
            kept = Snapshot(after.version, msgspec.json.encode(after.state).decode())
            slot, thinned = after.version // every, 1
            while slot // thinned > SNAPSHOTS:
                thinned *= 2
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
                await self._log.save_snapshot(organization_id, stream_id, decider.state_version, kept, slot, thinned)


def _new(events: Sequence[Struct]) -> list[NewEvent]:
    """An event that knows when it was true is dated by it."""
    return [NewEvent(event, _moment(getattr(event, "occurred_at", None))) for event in events]


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _folded(decider: Decider[State, Command, Event], start: Loaded[State], facts: Sequence[Fact]) -> Loaded[State]:
    state = start.state
    for fact in facts:
        state = decider.evolve(state, cast(Event, fact.data))
    return Loaded(state, facts[-1].version if facts else start.version)
