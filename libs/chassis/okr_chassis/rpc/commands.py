"""From an accepted request to a finished command, exactly once in effect."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID, uuid5

from google.protobuf.message import Message
from msgspec import Struct

from okr_chassis.identity.auth import SERVICE_PREFIX, caller
from okr_chassis.rpc.errors import EtagMismatchError
from okr_chassis.rpc.fields import uuid_in
from okr_chassis.rpc.messages import expected_version, id_of
from okr_chassis.telemetry.correlation import correlation_id
from okr_eventstore.decider import Decider
from okr_eventstore.errors import ConflictError
from okr_eventstore.executor import CommandExecutor, Loaded
from okr_eventstore.handling import handling
from okr_eventstore.model import CommandContext, Done, RecordedEvent

State = TypeVar("State", bound=Struct)
Command = TypeVar("Command")
Event = TypeVar("Event", bound=Struct)
Answer = TypeVar("Answer")


_in_good_hands: ContextVar[bool] = ContextVar("in_good_hands", default=False)


def carry_to_the_end() -> None:
    """Say that the running task is cancelled for nobody who leaves: its commands need no other task to outlive it."""
    _in_good_hands.set(True)


class Execute:
    """Runs deciders on behalf of callers and of events.

    A call that is cancelled, by its deadline or by a client that went away, does not stop the append
    half-way: it is carried to its end, and a resend with the same request id gets the stored answer.
    """

    def __init__(self, service: str, executor: CommandExecutor) -> None:
        self.service = service
        self._executor = executor
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(
        self,
        decider: Decider[State, Command, Event],
        stream_id: str,
        command: Command,
        request: Message,
        *,
        reply: bytes | None = None,
    ) -> Done:
        """Carry out the command a request asked for, once, however often the request is sent.

        `request.request_id` makes it one command; `request.etag`, where given, is the version the
        caller last saw. `reply` is kept with the command and comes back in `Done.reply`.
        """
        who = caller()
        expected = expected_version(getattr(request, "etag", ""))
        context = CommandContext(
            organization_id=who.organization_id,
            command_id=_command_id(request),
            fingerprint=fingerprint(request, who.actor),
            actor=who.actor,
            correlation_id=correlation_id(),
        )
        try:
            return await self._to_its_end(
                self._executor.execute(decider, stream_id, command, context, expected_version=expected, reply=reply)
            )
        except ConflictError as error:
            if expected is not None and error.expected == expected and error.actual != expected:
                raise EtagMismatchError(error.stream_id, error.expected, error.actual) from error
            raise

    async def or_as_before(self, request: Message, work: Awaitable[Done]) -> Done:
        """`work` for a request; where it is refused on the way, the answer of an earlier time counts more.

        For what is looked up before there is a command: a rule's own refusals are weighed so already.
        """
        try:
            return await work
        except Exception:
            who = caller()
            stored = await self._executor.finished(
                who.organization_id, id_of(request, "request_id"), fingerprint(request, who.actor)
            )
            if stored is None:
                raise
            return stored

    async def for_event(
        self,
        event: RecordedEvent,
        decider: Decider[State, Command, Event],
        stream_id: str,
        command: Command,
        purpose: str,
        *,
        reply: bytes | None = None,
    ) -> Done:
        """Carry out a command that an event caused. The same event, purpose and stream make the same command,
        so that an event that is delivered again changes nothing."""
        name = f"{self.service}:{purpose}:{stream_id}"
        context = CommandContext(
            organization_id=event.organization_id,
            command_id=uuid5(event.event_id, name),
            fingerprint=sha256(f"{event.event_id}:{name}".encode()).digest(),
            actor=f"{SERVICE_PREFIX}{self.service}",
            correlation_id=event.correlation_id,
            causation_id=event.event_id,
        )
        with handling(event):
            return await self._to_its_end(self._executor.execute(decider, stream_id, command, context, reply=reply))

    async def load(
        self,
        decider: Decider[State, Command, Event],
        stream_id: str,
        *,
        organization_id: UUID | None = None,
        at_version: int | None = None,
    ) -> Loaded[State]:
        """A stream of the caller's organisation, or of the one named by an event's reaction, as the log has it now."""
        organization = organization_id or caller().organization_id
        return await self._executor.load(decider, organization, stream_id, at_version)

    async def drain(self) -> None:
        """Wait for commands whose callers have gone."""
        if self._running:
            await asyncio.wait(self._running)

    async def _to_its_end(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if _in_good_hands.get():
            return await work
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: its caller may have gone, and the refusal with it


def _command_id(request: Any) -> UUID:
    """The handler has looked at the whole request before; only where it has not is there more to find."""
    return uuid_in(request.request_id) or id_of(request, "request_id")


def fingerprint(request: Message, actor: str) -> bytes:
    """What makes two requests the same: who asks, and everything but the request id."""
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    question = (body.DESCRIPTOR.full_name.encode(), actor.encode(), body.SerializeToString(deterministic=True))
    return sha256(b"\x00".join(question)).digest()
