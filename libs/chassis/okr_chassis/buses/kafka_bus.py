"""Services that run apart hear of each other over Kafka."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from okr_chassis.buses.bus import PostgresBus
from okr_chassis.codecs import codec_of
from okr_chassis.kafka.owner import Owner, OwnersLog
from okr_chassis.kafka.reader import KafkaReader
from okr_chassis.kafka.relay import Relay
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.kafka.topics import BrokersAwayError, TopicsError, provision
from okr_chassis.rpc.peers import Peers
from okr_chassis.settings import Settings
from okr_chassis.telemetry import trail
from okr_eventstore.log import EventLog, read_page
from okr_eventstore.model import Head, RecordedEvent
from okr_eventstore.refolding import LogReader
from okr_eventstore.source import EventSource

PROVISION_AGAIN_SECONDS = 5.0

log = logging.getLogger(__name__)


class KafkaBus:
    """Others are heard from their topics, and what those lack is asked from the owners.

    One's own log is tailed as ever: a service sees its own writes, also while Kafka is away.
    """

    def __init__(
        self,
        settings: Settings,
        own: PostgresBus,
        logs: Mapping[str, EventLog],
        peers: Callable[[str], Peers],
    ) -> None:
        """`peers` are the ways of a service of this process to the others, asked for when they are needed."""
        self.relays: dict[str, Relay] = {}
        """By service, for those whose logs this process carries."""
        self._settings = settings
        self._own = own
        self._logs = logs
        self._peers = peers

    @asynccontextmanager
    async def carrying(self, services: Iterable[str], *, patient: bool) -> AsyncIterator[None]:
        topics = sorted({*services, *self._logs})
        async with AsyncExitStack() as stack:
            try:
                await self._provision(topics)
            except BrokersAwayError as error:
                if not patient:
                    raise
                log.warning("%s; commands are taken meanwhile", error)
                stack.push_async_callback(_cancel, asyncio.create_task(self._provision_later(topics), name="topics"))
            for name, event_log in self._logs.items():
                relay = self.relays[name] = self._relay(name, event_log)
                stack.push_async_callback(_finish, relay, asyncio.create_task(relay.run(), name=f"relay {name}"))
            yield

    async def subscribe(self, service: str, consumer: str, to: str) -> EventSource:
        if to == service:
            return await self._own.subscribe(service, consumer, to)
        group = consumer if consumer.startswith(f"{service}.") else f"{service}.{consumer}"
        return self._source(service, to, f"{self._settings.kafka_prefix}.{group}")

    async def listen(self, service: str, to: str) -> EventSource:
        return await self._own.listen(service, to) if to in self._logs else self._source(service, to, None)

    @asynccontextmanager
    async def reading(self, service: str, to: str) -> AsyncIterator[LogReader]:
        if to == service:
            async with self._own.reading(service, to) as reader:
                yield reader
        else:
            settings, owner = self._settings, self._owner(service, to)
            async with KafkaReader(
                to, settings.kafka, owner, codec_of(to), prefix=settings.kafka_prefix
            ) as from_the_topic:
                yield from_the_topic

    def _source(self, service: str, to: str, group: str | None) -> EventSource:
        settings = self._settings
        source = KafkaSource(
            to,
            settings.kafka,
            self._owner(service, to),
            codec_of(to),
            group=group,
            instance=settings.instance,
            prefix=settings.kafka_prefix,
            session_ms=int(settings.kafka_session_seconds * 1000),
        )
        return trail.over_bus(source, group or source.topic)

    def _owner(self, service: str, to: str) -> Owner:
        """The log itself where it is in this process, else the process that has it."""
        if to in self._logs:
            return _OwnLog(self._logs[to])
        return OwnersLog(to, service, self._peers(service).event_log(to), codec_of(to))

    def _relay(self, name: str, event_log: EventLog) -> Relay:
        settings = self._settings
        return Relay(
            name,
            event_log.database,
            settings.kafka,
            partitions=settings.kafka_partitions,
            owner=settings.instance,
            returning=True,
            log=event_log,
            prefix=settings.kafka_prefix,
        )

    async def _provision(self, services: Sequence[str]) -> None:
        settings = self._settings
        made = await provision(
            settings.kafka,
            services,
            partitions=settings.kafka_partitions,
            replication=settings.kafka_replication,
            prefix=settings.kafka_prefix,
        )
        for each in made:
            if each.created:
                log.info("made the topic %s with %s partitions", each.topic, each.partitions)

    async def _provision_later(self, services: Sequence[str]) -> None:
        """Until it is done. Relays and consumers wait by themselves for topics that are not there."""
        while True:
            await asyncio.sleep(PROVISION_AGAIN_SECONDS)
            try:
                await self._provision(services)
            except BrokersAwayError as error:
                log.debug("%s", error)
            except TopicsError as error:
                log.critical("%s", error)
            else:
                return


class _OwnLog:
    """The owner of a log that this process has itself."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log

    async def heads(self) -> dict[int, Head]:
        return await self._log.heads()

    async def read(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        return await read_page(self._log.database, self._log.codec, shard, after, up_to - after)


async def _finish(relay: Relay, running: "asyncio.Task[None]") -> None:
    """Let it send what is under way and give its leases back."""
    await relay.close()
    await asyncio.gather(running, return_exceptions=True)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
