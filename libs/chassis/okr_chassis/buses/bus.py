"""Where a service's events come from: its own from its log, those of others over a bus."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from okr_chassis.buses.sharing import Shares
from okr_chassis.codecs import codec_of
from okr_chassis.storage.schemas import Schemas
from okr_eventstore.log import EventLog
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.refolding import LogReader
from okr_eventstore.source import EventSource

if TYPE_CHECKING:
    from okr_chassis.kafka.relay import Relay


class Bus(Protocol):
    """What carries the events of one service to another."""

    @property
    def relays(self) -> Mapping[str, "Relay"]:
        """By service, for those whose logs this process carries to Kafka."""

    def carrying(self, services: Iterable[str], *, patient: bool) -> AbstractAsyncContextManager[None]:
        """While inside, the logs of this process are carried, and those of `services` can be heard.

        Who is `patient` begins without the bus where that is away, and has it once it is back.
        """

    async def subscribe(self, service: str, consumer: str, to: str) -> EventSource:
        """The log of `to` for a consumer of `service`. Copies of a process share the shards among themselves."""

    async def listen(self, service: str, to: str) -> EventSource:
        """The whole log of `to`, for each copy of a process by itself."""

    def reading(self, service: str, to: str) -> AbstractAsyncContextManager[LogReader]:
        """The log of `to` from its beginning, for a rebuild or a comparison by `service`."""


class PostgresBus:
    """Everybody's logs lie in one PostgreSQL, and consumers tail them there.

    `shares` are of the services of which other processes may run copies.
    """

    def __init__(self, schemas: Schemas, logs: Mapping[str, EventLog], shares: Mapping[str, Shares]) -> None:
        self.relays: Mapping[str, Relay] = {}
        self._schemas = schemas
        self._logs = logs
        self._shares = shares

    @asynccontextmanager
    async def carrying(self, services: Iterable[str], *, patient: bool) -> AsyncIterator[None]:
        yield

    async def subscribe(self, service: str, consumer: str, to: str) -> EventSource:
        source = await self._tail(to)
        if service in self._shares:
            self._shares[service].add(source)
        return source

    async def listen(self, service: str, to: str) -> EventSource:
        return await self._tail(to)

    @asynccontextmanager
    async def reading(self, service: str, to: str) -> AsyncIterator[LogReader]:
        yield await self._tail(to)

    async def _tail(self, to: str) -> PostgresSource:
        """A log, whoever runs it: woken by calls where it is ours, by NOTIFY where others write it."""
        return PostgresSource(
            to,
            await self._schemas.open(to),
            codec_of(to),
            log=self._logs.get(to),
            written_elsewhere=to in self._shares,
        )
