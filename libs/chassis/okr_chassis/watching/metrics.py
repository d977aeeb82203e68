"""What a process tells Prometheus about itself.

Nothing here is touched while commands run: what is counted on the way is counted in plain numbers by
whoever does the work, and this module reads them when somebody scrapes. No label names an
organisation, a person or a stream, so the number of series depends on the code alone.
"""

import asyncio
import platform as python_platform
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector, CollectorRegistry

from okr_chassis.service import Running
from okr_chassis.telemetry.calls import BOUNDS_SECONDS, Calls
from okr_chassis.telemetry.loop_lag import LoopLag
from okr_eventstore.model import Head
from okr_eventstore.runner import Runner

if TYPE_CHECKING:
    from okr_chassis.kafka.relay import (
        Relay,  # whose clients take a second to import, which only those wait for who have Kafka
    )

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
ANSWER_SECONDS = 2.0
"""How long a scrape waits for the heads of a log, before it goes on without the lag behind it."""
Answer = TypeVar("Answer")

BATCH_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200)


class Metric(NamedTuple):
    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


_CONSUMER = ("service", "consumer", "source")

BUILD_INFO = Metric("okr_build_info", "gauge", "Which release runs here; always 1.", ("version", "python"))
READY = Metric("okr_ready", "gauge", "Whether this process takes commands: 1, or 0 while /readyz says why not.")

CONSUMER_LAG = Metric(
    "okr_consumer_lag_events",
    "gauge",
    "Events of the source's log that this consumer has not applied yet, in the shards it reads. Exact when scraped; "
    "absent while the log cannot be asked.",
    _CONSUMER,
)
CONSUMER_STILL = Metric(
    "okr_consumer_still_seconds",
    "gauge",
    "How long ago the consumer's loop came round: seconds as a rule, and far more when it hangs. Absent when halted.",
    _CONSUMER,
)
CONSUMER_HALTED = Metric(
    "okr_consumer_halted", "gauge", "1 when the consumer has given up and somebody must look; else 0.", _CONSUMER
)
CONSUMER_EVENTS = Metric("okr_consumer_events_total", "counter", "Events the consumer has applied.", _CONSUMER)
CONSUMER_BATCHES = Metric(
    "okr_consumer_batches_total", "counter", "Transactions in which the consumer has applied events.", _CONSUMER
)
CONSUMER_GAPS = Metric(
    "okr_consumer_gaps_total",
    "counter",
    "How often the bus skipped events, so that they were fetched from the log of their owner.",
    _CONSUMER,
)
CONSUMER_DUPLICATES = Metric(
    "okr_consumer_duplicates_total", "counter", "Events that came again and were dropped.", _CONSUMER
)
CONSUMER_FILLED = Metric(
    "okr_consumer_filled_events_total",
    "counter",
    "Events that the topic did not bring, although they are in the log, and that were asked from its owner.",
    _CONSUMER,
)
CONSUMER_FOREIGN = Metric(
    "okr_consumer_foreign_records_total",
    "counter",
    "Records in the topic that no relay of ours has written, which were passed over.",
    _CONSUMER,
)
CONSUMER_ZOMBIES = Metric(
    "okr_consumer_zombies_total",
    "counter",
    "Batches thrown away because another copy of the consumer, or a rebuild, had been there first.",
    _CONSUMER,
)
CONSUMER_RETRIES = Metric(
    "okr_consumer_retries_total",
    "counter",
    "How often the consumer waited for something that was away and tried again.",
    _CONSUMER,
)
CONSUMER_UNKNOWN = Metric(
    "okr_consumer_unknown_events_total",
    "counter",
    "Events of types this release does not know, which were passed over.",
    _CONSUMER,
)
PARKED_STREAMS = Metric(
    "okr_parked_streams",
    "gauge",
    "Streams set aside because an event of theirs could not be applied; `okr parked list` names them.",
    _CONSUMER,
)

APPEND_COMMANDS = Metric(
    "okr_append_commands_total",
    "counter",
    "Commands that reached the log, by what became of them: ok, duplicate (answered as before), conflict (somebody was "
    "faster), reused_id, rejected (the data were refused), unavailable (PostgreSQL was away).",
    ("service", "outcome"),
)
APPEND_BATCH = Metric(
    "okr_append_batch_commands",
    "histogram",
    "How many commands went to PostgreSQL in one batch. Larger under load, which is what keeps it fast.",
    ("service",),
)
APPEND_WAITING = Metric(
    "okr_append_waiting_commands", "gauge", "Commands that wait for their answer from the log.", ("service",)
)
LOG_EVENTS = Metric("okr_log_events", "gauge", "Events in the service's log.", ("service",))

RELAY_LAG = Metric(
    "okr_relay_lag_events",
    "gauge",
    "Events of the service's log that Kafka has not acknowledged yet, whoever carries them: every copy of a service "
    "tells the same, so take the greatest. Exact when scraped.",
    ("service",),
)
RELAY_PARTITIONS = Metric(
    "okr_relay_partitions", "gauge", "Partitions of its topic that this process carries events to now.", ("service",)
)
RELAY_TROUBLE = Metric(
    "okr_relay_trouble",
    "gauge",
    "1 while the relay cannot carry everything, with a word for the reason, such as KAFKA_AWAY; absent otherwise.",
    ("service", "reason"),
)
RELAY_PUBLISHED = Metric("okr_relay_published_events_total", "counter", "Events Kafka has acknowledged.", ("service",))
RELAY_BATCHES = Metric("okr_relay_batches_total", "counter", "Record batches Kafka has acknowledged.", ("service",))
RELAY_REWINDS = Metric(
    "okr_relay_rewinds_total",
    "counter",
    "How often publishing failed, so that the relay began again with a new producer behind its cursor.",
    ("service",),
)
RELAY_TAKEOVERS = Metric(
    "okr_relay_takeovers_total",
    "counter",
    "How often this process took a partition over from another one.",
    ("service",),
)
RELAY_FENCED = Metric(
    "okr_relay_fenced_total",
    "counter",
    "How often this process moved a cursor too late, after another had taken its partition over. It changed nothing.",
    ("service",),
)
RELAY_REFILLED = Metric(
    "okr_relay_refilled_total",
    "counter",
    "Partitions of which Kafka held less than it had acknowledged, so that they were filled again from the log.",
    ("service",),
)

GRPC_REQUESTS = Metric(
    "okr_grpc_requests_total", "counter", "Calls that have ended, by what they were answered.", ("method", "code")
)
GRPC_SECONDS = Metric(
    "okr_grpc_request_seconds", "histogram", "How long calls with one answer took, in this process.", ("method",)
)

POOL_CONNECTIONS = Metric(
    "okr_postgres_pool_connections",
    "gauge",
    "Connections to PostgreSQL that reads share, by whether somebody uses them now: used or idle.",
    ("service", "state"),
)
POOL_LIMIT = Metric(
    "okr_postgres_pool_limit", "gauge", "How many connections the pool may open; beyond it reads wait.", ("service",)
)

LOOP_LAG = Metric(
    "okr_event_loop_lag_seconds",
    "gauge",
    "The worst delay of the event loop in the last 15 to 30 seconds; every call waits at least so long.",
)
SCRAPE_FAILURES = Metric(
    "okr_scrape_failures_total",
    "counter",
    "How often a scrape went without a figure because its source did not answer.",
    ("source",),
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of ours, in the order in which they stand here."""


class Metrics:
    """One page of figures, made when it is asked for."""

    def __init__(self, services: Mapping[str, Running], calls: Calls, loop_lag: LoopLag) -> None:
        self.relays: Mapping[str, Relay] = {}
        """By service, as far as this process carries logs to Kafka."""
        self._services = services
        self._calls = calls
        self._loop_lag = loop_lag
        self._failures: dict[str, int] = {}
        self._process: Sequence[Collector] = (
            ProcessCollector(registry=CollectorRegistry()),
            PlatformCollector(registry=CollectorRegistry()),
            GCCollector(registry=CollectorRegistry()),
        )

    async def page(self, *, ready: bool) -> bytes:
        """In Prometheus' text format; `ready` as health.py found it."""
        heads, behind = await asyncio.gather(self._heads(), self._behind())
        families = [
            *self._families(heads, behind, ready),
            *(family for each in self._process for family in each.collect()),
        ]
        return generate_latest(_Collected(families))

    async def _heads(self) -> dict[str, Mapping[int, Head]]:
        """The heads of every log that somebody here reads or writes: asked once, however many consumers it has."""
        askers: dict[str, Any] = {}
        for running in self._services.values():
            if running.host.log is not None:
                askers[running.service.name] = running.host.log
        for _, runner in self._runners():
            askers.setdefault(runner.subscription.to, runner.source)
        answers = await asyncio.gather(*(self._asked(f"log {name}", each.heads()) for name, each in askers.items()))
        return {name: heads for name, heads in zip(askers, answers, strict=True) if heads is not None}

    async def _behind(self) -> dict[str, int]:
        """How far Kafka is behind each log that this process carries."""
        relays = self.relays
        answers = await asyncio.gather(*(self._asked(f"relay {name}", each.behind()) for name, each in relays.items()))
        return {name: behind for name, behind in zip(relays, answers, strict=True) if behind is not None}

    async def _asked(self, name: str, question: Awaitable[Answer]) -> Answer | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question
        except Exception:  # a page with a hole says more than none, whatever it was
            self._failures[name] = self._failures.get(name, 0) + 1
            return None

    def _runners(self) -> Iterator[tuple[str, Runner]]:
        for name, running in self._services.items():
            for runner in running.runners:
                yield name, runner

    def _families(
        self, heads: Mapping[str, Mapping[int, Head]], behind: Mapping[str, int], ready: bool
    ) -> list[Family]:
        page = _Page()
        page.add(BUILD_INFO, 1, version("okr-platform"), python_platform.python_version())
        page.add(READY, ready)
        for name, runner in self._runners():
            self._consumer(page, name, runner, heads.get(runner.subscription.to))
        for name, running in self._services.items():
            self._log(page, name, running, heads.get(name))
            pool = running.host.database.pool_use
            page.add(POOL_CONNECTIONS, pool.open - pool.idle, name, "used")
            page.add(POOL_CONNECTIONS, pool.idle, name, "idle")
            page.add(POOL_LIMIT, pool.most, name)
        for name, relay in self.relays.items():
            if name in behind:
                page.add(RELAY_LAG, behind[name], name)
            page.add(RELAY_PARTITIONS, len(relay.leases.held), name)
            if relay.reason is not None:
                page.add(RELAY_TROUBLE, 1, name, relay.reason.code)
            page.add(RELAY_PUBLISHED, relay.published, name)
            page.add(RELAY_BATCHES, relay.batches, name)
            page.add(RELAY_REWINDS, relay.rewinds, name)
            page.add(RELAY_TAKEOVERS, relay.takeovers, name)
            page.add(RELAY_FENCED, relay.fenced, name)
            page.add(RELAY_REFILLED, relay.refilled, name)
        for method, calls in self._calls.methods.items():
            if calls.ok:
                page.add(GRPC_REQUESTS, calls.ok, method, "OK")
            for code, count in calls.codes.items():
                page.add(GRPC_REQUESTS, count, method, code)
            if sum(calls.within):
                page.histogram(GRPC_SECONDS, BOUNDS_SECONDS, calls.within, calls.seconds, method)
        page.add(LOOP_LAG, self._loop_lag.seconds)
        for source, count in self._failures.items():
            page.add(SCRAPE_FAILURES, count, source)
        return page.families

    def _consumer(self, page: "_Page", name: str, runner: Runner, heads: Mapping[int, Head] | None) -> None:
        labels = (name, runner.name, runner.subscription.to)
        counters = runner.counters
        if heads is not None:
            page.add(CONSUMER_LAG, runner.lag_behind(heads), *labels)
        still = runner.still_seconds
        if still is not None:
            page.add(CONSUMER_STILL, still, *labels)
        page.add(CONSUMER_HALTED, runner.halted, *labels)
        page.add(CONSUMER_EVENTS, counters.events, *labels)
        page.add(CONSUMER_BATCHES, counters.batches, *labels)
        page.add(CONSUMER_GAPS, counters.gaps, *labels)
        page.add(CONSUMER_DUPLICATES, runner.duplicates, *labels)
        page.add(CONSUMER_FILLED, getattr(runner.source, "filled", 0), *labels)  # only a topic needs filling
        page.add(CONSUMER_FOREIGN, getattr(runner.source, "foreign", 0), *labels)
        page.add(CONSUMER_ZOMBIES, counters.zombies, *labels)
        page.add(CONSUMER_RETRIES, counters.retries, *labels)
        page.add(CONSUMER_UNKNOWN, counters.skipped_unknown, *labels)
        page.add(PARKED_STREAMS, runner.parked_streams, *labels)

    def _log(self, page: "_Page", name: str, running: Running, heads: Mapping[int, Head] | None) -> None:
        if running.host.log is None:
            return
        appender = running.host.log.appender
        for outcome, count in appender.outcomes.items():
            page.add(APPEND_COMMANDS, count, name, outcome)
        sizes = appender.batch_sizes
        within = [
            sum(sizes[low + 1 : high + 1])
            for low, high in zip((0, *BATCH_BOUNDS), (*BATCH_BOUNDS, len(sizes)), strict=False)
        ]
        page.histogram(APPEND_BATCH, BATCH_BOUNDS, within, sum(size * count for size, count in enumerate(sizes)), name)
        page.add(APPEND_WAITING, appender.waiting_commands, name)
        if heads is not None:
            page.add(LOG_EVENTS, sum(head.position for head in heads.values()), name)


class _Page:
    """The families of one scrape. Those without a figure stand there too, so that a page tells what there is."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {
            metric.name: _KINDS[metric.kind](metric.name, metric.help, labels=metric.labels) for metric in METRICS
        }

    @property
    def families(self) -> list[Family]:
        return list(self._by_name.values())

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        self._by_name[metric.name].add_metric(labels, float(value))

    def histogram(
        self, metric: Metric, bounds: Sequence[float], within: Sequence[int], total: float, *labels: str
    ) -> None:
        """`within` counts what lies between a bound and the one before it; the last, what lies above all."""
        names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._by_name[metric.name].add_metric(labels, list(zip(names, accumulate(within), strict=True)), total)


_KINDS = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}


class _Collected(Collector):
    """Families that are there already."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Sequence[Family]:
        return self._families
