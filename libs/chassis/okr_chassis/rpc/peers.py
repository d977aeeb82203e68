"""The other services, as typed stubs. A call made here acts for whoever the running call acts for."""

from collections.abc import Callable, Mapping
from functools import cached_property

from grpc import StatusCode, aio

from okr.alignment.v1.alignment_pb2_grpc import AlignmentServiceStub
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr.commands.v1.commands_pb2_grpc import CommandsServiceStub
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.directory.v1.vault_pb2_grpc import VaultServiceStub
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr.goals.v1.goals_pb2_grpc import GoalsServiceStub
from okr.insights.v1.insights_pb2_grpc import InsightsServiceStub
from okr.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from okr_chassis.identity.auth import caller
from okr_chassis.identity.issuer import InternalIssuer
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.errors import CommandRefusedError

WAITED_OUT = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED})
"""What reactions wait out when a peer answers so: it is away, it is slow, it lost a race."""


def may_answer_later(error: BaseException) -> bool:
    """Whether a reaction should wait for a peer rather than call its event poison."""
    if isinstance(error, CommandRefusedError):
        return error.refusal.code in WAITED_OUT
    return isinstance(error, aio.AioRpcError) and error.code() in WAITED_OUT


class Peers:
    """One service's way to the others. Reactions to events use it inside `acting_for(…)`."""

    def __init__(
        self,
        service: str,
        issuer: InternalIssuer,
        address: Callable[[], str],
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        """`address` tells where a service is that `addresses` does not name; asked at the first call."""
        self._service = service
        self._issuer = issuer
        self._address = address
        self._addresses = dict(addresses or {})
        self._channels: dict[str, aio.Channel] = {}

    @cached_property
    def directory(self) -> DirectoryServiceStub:
        return DirectoryServiceStub(self._channel("directory"))

    @cached_property
    def vault(self) -> VaultServiceStub:
        """Directory's keys of authors; okr_chassis.sealing is what uses it."""
        return VaultServiceStub(self._channel("directory"))

    @cached_property
    def goals(self) -> GoalsServiceStub:
        return GoalsServiceStub(self._channel("goals"))

    @cached_property
    def checkins(self) -> CheckInsServiceStub:
        return CheckInsServiceStub(self._channel("checkins"))

    @cached_property
    def alignment(self) -> AlignmentServiceStub:
        return AlignmentServiceStub(self._channel("alignment"))

    @cached_property
    def notifications(self) -> NotificationsServiceStub:
        return NotificationsServiceStub(self._channel("notifications"))

    @cached_property
    def insights(self) -> InsightsServiceStub:
        return InsightsServiceStub(self._channel("insights"))

    def commands(self, service: str) -> CommandsServiceStub:
        """Many commands to a service in one call; see okr_chassis.rpc.bulk."""
        return CommandsServiceStub(self._channel(service))

    def event_log(self, service: str) -> EventLogServiceStub:
        """A service's own log, from the process that writes it; see okr_chassis.kafka.owner."""
        return EventLogServiceStub(self._channel(service))

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, service: str) -> aio.Channel:
        address = self._addresses.get(service) or self._address()
        if address not in self._channels:
            self._channels[address] = connect(
                address,
                lambda: self._issuer.issue(self._service, caller()),
                among_copies=service in self._addresses,
            )
        return self._channels[address]
