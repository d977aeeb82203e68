"""The platform as commands see it: typed stubs wherever its services are, deadlines, and retries that never do a
thing twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from copy import copy
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from uuid import uuid4

from google.protobuf.message import Message
from grpc import RpcError, StatusCode, aio

from okr.alignment.v1.alignment_pb2_grpc import AlignmentServiceStub
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.checkins.v1.rhythm_pb2_grpc import RhythmServiceStub
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr.goals.v1.cycles_pb2_grpc import CyclesServiceStub
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.goals.v1.practice_pb2_grpc import PracticeServiceStub
from okr.insights.v1.insights_pb2_grpc import InsightsServiceStub
from okr.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from okr.operations.v1.operations_pb2_grpc import OperationsServiceStub
from okr_chassis.rpc.channels import target_of
from okr_chassis.rpc.errors import Refusal, refusal_of
from okr_cli.failures import CommandError, RefusedError, SetupError, TryAgainError

SERVICES = ("directory", "goals", "checkins", "alignment", "notifications", "insights")
CONNECT_SECONDS = 3.0
CALL_SECONDS = 10.0
TOTAL_SECONDS = 30.0
"""How long a call is tried again before the command gives up."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
PAGE_SIZE = 500


class Mutation(Protocol):
    """What every request that changes something has."""

    request_id: str


Request = TypeVar("Request")
Change = TypeVar("Change", bound=Mutation)
Response = TypeVar("Response", bound=Message)


class Process(NamedTuple):
    """An address where services of the platform are, and what operators ask there."""

    address: str
    services: tuple[str, ...]
    operations: OperationsServiceStub


class Client:
    """A connection to the platform in the name of one token: all of it at one address, or `peers` service by service.

    `ask` and `tell` try again while the platform is unavailable, always with the very same request: the
    request id in it makes the platform answer a command that was done already instead of doing it again.
    """

    def __init__(self, address: str, token: str, peers: Mapping[str, str] | None = None) -> None:
        self._addresses = {service: (peers or {}).get(service, address) for service in SERVICES}
        self._channels: dict[str, aio.Channel] = {}
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.directory = DirectoryServiceStub(self._channel_to("directory"))
        self.goals = GoalsServiceStub(self._channel_to("goals"))
        self.cycles = CyclesServiceStub(self._channel_to("goals"))
        self.practice = PracticeServiceStub(self._channel_to("goals"))
        self.check_ins = CheckInsServiceStub(self._channel_to("checkins"))
        self.rhythm = RhythmServiceStub(self._channel_to("checkins"))
        self.alignment = AlignmentServiceStub(self._channel_to("alignment"))
        self.notifications = NotificationsServiceStub(self._channel_to("notifications"))
        self.insights = InsightsServiceStub(self._channel_to("insights"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()

    @property
    def address(self) -> str:
        """Where the platform is, for people."""
        return ", ".join(dict.fromkeys(self._addresses.values()))

    def event_log(self, service: str) -> EventLogServiceStub:
        """The log of one service, where that service is."""
        return EventLogServiceStub(self._channel_to(service))

    def processes(self, service: str = "") -> list[Process]:
        """Where operators have to ask to have asked all services, or the one that is named.

        Copies behind one address are one here: what they keep, they keep together.
        """
        asked = [service] if service in SERVICES else SERVICES
        found: dict[str, list[str]] = {}
        for each in asked:
            found.setdefault(self._addresses[each], []).append(each)
        return [self._process(address, services) for address, services in found.items()]

    def copies(self) -> list[Process]:
        """Every single process that an address names, for what each has to say of itself."""
        return [
            self._process(address.strip(), each.services)
            for each in self.processes()
            for address in each.address.split(",")
        ]

    def _process(self, address: str, services: Iterable[str]) -> Process:
        return Process(address, tuple(services), OperationsServiceStub(self._channel_at(address)))

    def _channel_to(self, service: str) -> aio.Channel:
        return self._channel_at(self._addresses.get(service, self._addresses["directory"]))

    def _channel_at(self, address: str) -> aio.Channel:
        if address not in self._channels:
            self._channels[address] = aio.insecure_channel(
                target_of(address),
                options=[
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.enable_retries", 0),
                    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                ],
            )
        return self._channels[address]

    def acting(self, token: str) -> Self:
        """The same connection in the name of another token."""
        other = copy(self)
        other.metadata = (("authorization", f"Bearer {token}"),)
        return other

    async def connect(self) -> None:
        """Wait a moment for the platform. Raises SetupError naming the addresses where nobody answers."""
        answers = await asyncio.gather(*map(_answers, self._channels.values()))
        silent = [address for address, answered in zip(self._channels, answers, strict=True) if not answered]
        if silent and len(self._channels) == 1:
            raise SetupError(
                f"no platform answers at {silent[0]}; start one with `okr up`, or name another with OKR_GRPC_HOST "
                "and OKR_GRPC_PORT",
                reason="NOT_REACHABLE",
            )
        if silent:
            told = ", ".join(
                f"{' and '.join(each.services)} at {each.address}"
                for each in self.processes()
                if each.address in silent
            )
            raise SetupError(
                f"nobody answers for {told}; start what is missing, or correct OKR_PEERS", reason="NOT_REACHABLE"
            )

    async def ask(
        self,
        method: "aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        *,
        patience_seconds: float = TOTAL_SECONDS,
    ) -> Response:
        """The answer to a question, or a CommandError that says why there is none."""
        deadline = time.monotonic() + patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await method(request, metadata=self.metadata, timeout=min(CALL_SECONDS, patience_seconds))
            except RpcError as error:
                refusal = refusal_of(error)
                if refusal.code not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
                    raise failure(refusal) from None
                if time.monotonic() + pause > deadline:
                    raise failure(refusal) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def tell(self, method: "aio.UnaryUnaryMultiCallable[Change, Response]", request: Change) -> Response:
        """The answer to a command. Its request id is made here, unless the caller derived one."""
        request.request_id = request.request_id or str(uuid4())
        return await self.ask(method, request)

    async def pages(
        self,
        method: "aio.UnaryUnaryMultiCallable[Any, Response]",
        request: Any,
        follow: Callable[[Response], str] = lambda response: str(getattr(response, "next_page_token", "")),
    ) -> AsyncIterator[Response]:
        """All pages of a list, one after the other."""
        request.page.size = request.page.size or PAGE_SIZE
        while True:
            response = await self.ask(method, request)
            yield response
            token = follow(response)
            if not token:
                return
            request.page.token = token


async def _answers(channel: aio.Channel) -> bool:
    try:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
    except TimeoutError:
        return False
    return True


def failure(refusal: Refusal) -> CommandError:
    """How a command ends on a refusal: one line, and every violation behind it."""
    details = [f"{each.field}: {each.message}" for each in refusal.violations]
    if refusal.code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
        said = refusal.message if refusal.reason != refusal.code.name else "the platform does not answer now"
        return TryAgainError(f"{said}; give the same command again", reason=refusal.reason)
    if refusal.code == StatusCode.UNIMPLEMENTED:
        return SetupError("the platform at this address does not know this call; is it of another release?")
    if refusal.code == StatusCode.FAILED_PRECONDITION:
        return RefusedError(refusal.message, reason=refusal.reason, details=details)
    if len(details) == 1:
        return RefusedError(details[0], reason=refusal.reason)
    message = f"{len(details)} things must be put right" if details else refusal.message or refusal.code.name.lower()
    return RefusedError(message, reason=refusal.reason, details=details)
