"""For those who run the platform: compare, rebuild, look after consumers and what they set aside."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import asyncpg
from grpc import aio

from okr.operations.v1 import operations_pb2 as pb
from okr.operations.v1 import operations_pb2_grpc
from okr_chassis.rpc.peers import may_answer_later
from okr_chassis.service import Running
from okr_chassis.settings import Settings
from okr_contracts.errors import DomainError, InvalidInputError, Violation
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.parking import list_parked, retry_parked
from okr_eventstore.projection import Projection
from okr_eventstore.rebuild import Progress, RebuildError, Rebuilt, TableVerdict, Verdict, rebuild, verify
from okr_eventstore.runner import Runner

if TYPE_CHECKING:
    from okr_chassis.kafka.relay import Relay

log = logging.getLogger(__name__)

Context = aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

ANSWER_SECONDS = 2.0
"""How long a status waits for each thing it tells of."""


class OperationsService(operations_pb2_grpc.OperationsServiceServicer):
    """Works on the services of this process. The gate lets operators in and nobody else."""

    def __init__(
        self,
        settings: Settings,
        services: Mapping[str, Running],
        relays: Mapping[str, "Relay"] | None = None,
        ready: Callable[[], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """`ready` tells why this process takes no commands now; nothing when it does."""
        self._settings = settings
        self._services = services
        self._relays = relays if relays is not None else {}
        self._ready = ready

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> AsyncIterator[pb.VerifyResponse]:
        for each in self._projections(request.service):
            name = each.projection.name
            comparison = _Reported(each.verify)
            async for done, total in comparison.progress():
                yield pb.VerifyResponse(service=each.service, projection=name, events_done=done, events_total=total)
            found = await comparison.result()
            if not found.equal:
                log.error("%s.%s differs from its log: %s", each.service, name, found)
            yield pb.VerifyResponse(
                service=each.service,
                projection=name,
                events_done=found.events,
                events_total=found.events,
                verdict=pb.VerifyResponse.Verdict(
                    equal=found.equal,
                    events=found.events,
                    heads=[str(position) for position in found.heads],
                    tables=[_table(table) for table in found.tables],
                    problem=found.problem,
                ),
            )

    async def Rebuild(self, request: pb.RebuildRequest, context: Context) -> AsyncIterator[pb.RebuildResponse]:
        if not request.service:
            raise InvalidInputError([Violation("service", "is required", "REQUIRED")])
        for each in self._projections(request.service):
            name = each.projection.name
            rebuilding = _Reported(each.rebuild)
            async for done, total in rebuilding.progress():
                yield pb.RebuildResponse(projection=name, events_done=done, events_total=total)
            built = await rebuilding.result()
            yield pb.RebuildResponse(
                projection=name,
                events_done=built.events,
                events_total=built.events,
                switched=True,
                equal=built.equal,
                rows=built.rows,
            )

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """What can be told is told, whatever is away: it is asked for most when something is."""
        faults = list(await self._ready()) if self._ready is not None else []
        answer = pb.GetStatusResponse(
            version=version("okr-platform"), environment=self._settings.env, ready=not faults, not_ready_because=faults
        )
        if self._services:
            first = next(iter(self._services.values()))
            answer.postgres_version = await _answered(first.host.database.fetchval("SHOW server_version")) or ""
        runners = [(name, runner) for name, running in self._services.items() for runner in running.runners]
        answer.consumers.extend(await asyncio.gather(*(_consumer(name, runner) for name, runner in runners)))
        logs = [running.host.log for running in self._services.values() if running.host.log is not None]
        answer.logs.extend(await asyncio.gather(*map(_log, logs)))
        answer.relays.extend(await asyncio.gather(*(_relay(name, relay) for name, relay in self._relays.items())))
        answer.bus.CopyFrom(await self._bus())
        return answer

    async def _bus(self) -> pb.GetStatusResponse.BusStatus:
        servers = self._settings.kafka
        if not servers:
            return pb.GetStatusResponse.BusStatus(kind="postgres", reachable=True)
        from okr_chassis.kafka.reach import fault_of  # takes a second, which only those wait for who have Kafka

        fault = await fault_of(servers)
        return pb.GetStatusResponse.BusStatus(kind="kafka", servers=servers, reachable=not fault, problem=fault)

    async def ListParked(self, request: pb.ListParkedRequest, context: Context) -> pb.ListParkedResponse:
        answer = pb.ListParkedResponse()
        for name, running in self._asked(request.service):
            for stream in await list_parked(running.host.database):
                answer.streams.append(
                    pb.ListParkedResponse.ParkedStream(
                        service=name,
                        consumer=stream.consumer,
                        source=stream.source,
                        organization_id=str(stream.organization_id),
                        stream_id=stream.stream_id,
                        first_position=stream.first_position,
                        events=stream.events,
                        attempts=stream.attempts,
                        error=stream.error,
                    )
                )
        return answer

    async def RetryParked(self, request: pb.RetryParkedRequest, context: Context) -> pb.RetryParkedResponse:
        answer = pb.RetryParkedResponse()
        for _, running in self._asked(request.service):
            for runner in running.runners:
                retried = await retry_parked(
                    runner.subscription, running.host.database, runner.source, transient=may_answer_later
                )
                answer.healed_streams += retried.healed_streams
                answer.still_parked_streams += retried.still_parked_streams
        return answer

    def _asked(self, service: str) -> Iterable[tuple[str, Running]]:
        """The service that is named, or all."""
        if not service:
            return self._services.items()
        if service not in self._services:
            message = f"must be one of {', '.join(sorted(self._services))}"
            raise InvalidInputError([Violation("service", message, "UNKNOWN_SERVICE")])
        return [(service, self._services[service])]

    def _projections(self, service: str) -> list["_Projected"]:
        return [
            _Projected(name, each.projection, running)
            for name, running in self._asked(service)
            for each in running.service.subscriptions
            if each.projection is not None
        ]


async def _consumer(service: str, runner: Runner) -> pb.GetStatusResponse.ConsumerStatus:
    lag = await _answered(runner.lag())
    return pb.GetStatusResponse.ConsumerStatus(
        service=service,
        consumer=runner.name,
        source=runner.subscription.to,
        lag_events=lag or 0,
        lag_unknown=lag is None,
        parked_streams=runner.parked_streams,
        halted=runner.halted,
        reason=runner.reason,
        gaps=runner.counters.gaps,
        duplicates=runner.duplicates,
        retries=runner.counters.retries,
        zombies=runner.counters.zombies,
    )


async def _log(event_log: EventLog) -> pb.GetStatusResponse.LogStatus:
    heads = await _answered(event_log.heads()) or {}
    events = sum(head.position for head in heads.values())
    return pb.GetStatusResponse.LogStatus(service=event_log.service, events=events, shards_used=len(heads))


async def _relay(service: str, relay: "Relay") -> pb.GetStatusResponse.RelayStatus:
    behind, reason = await _answered(relay.behind()), relay.reason
    return pb.GetStatusResponse.RelayStatus(
        service=service,
        lag_events=behind or 0,
        lag_unknown=behind is None,
        partitions=len(relay.leases.held),
        published_events=relay.published,
        rewinds=relay.rewinds,
        takeovers=relay.takeovers,
        fenced=relay.fenced,
        reason=reason.code if reason is not None else "",
        message=reason.message if reason is not None else "",
    )


async def _answered(question: Awaitable[Result]) -> Result | None:
    """None where who was asked is away, or takes too long."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await question
    except (StoreUnavailableError, asyncpg.PostgresError, TimeoutError):
        return None


class _Projected(NamedTuple):
    """A projection of a running service."""

    service: str
    projection: Projection
    running: Running

    async def verify(self, progress: Progress) -> Verdict:
        async with self.running.reading(self.projection.source) as reader:
            return await verify(self.projection, self.running.host.database, reader, progress)

    async def rebuild(self, progress: Progress) -> Rebuilt:
        async with self.running.reading(self.projection.source) as reader:
            return await rebuild(self.projection, self.running.host.database, reader, progress)


class _Reported(Generic[Result]):
    """Work that tells how far it is. Who reads slowly misses steps, never the end."""

    def __init__(self, work: Callable[[Progress], Awaitable[Result]]) -> None:
        self._latest: tuple[int, int] | None = None
        self._news = asyncio.Event()
        self._task = asyncio.ensure_future(work(self._report))
        self._task.add_done_callback(lambda _: self._news.set())

    def _report(self, done: int, total: int) -> None:
        self._latest = (done, total)
        self._news.set()

    async def progress(self) -> AsyncIterator[tuple[int, int]]:
        """The steps as they come. Whoever stops reading stops the work."""
        try:
            while not self._task.done():
                await self._news.wait()
                self._news.clear()
                if self._latest is not None:
                    latest, self._latest = self._latest, None
                    yield latest
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    async def result(self) -> Result:
        try:
            return await self._task
        except RebuildError as error:
            raise DomainError("REBUILD_REFUSED", str(error)) from error


def _table(verdict: TableVerdict) -> pb.TableDigest:
    return pb.TableDigest(
        table=verdict.table,
        live_rows=verdict.live.rows,
        fresh_rows=verdict.fresh.rows,
        live_digest=verdict.live.digest,
        fresh_digest=verdict.fresh.digest,
    )
