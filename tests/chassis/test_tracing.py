"""Traces: one command is one trace, from the call to the rows it ends in; and nothing at all while they are off."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from okr.directory.v1 import directory_pb2 as pb
from okr_chassis.telemetry import tracing, trail
from okr_eventstore.log import EventLog
from okr_eventstore.model import RecordedEvent
from okr_eventstore.runner import unseen
from tests.chassis.conftest import Client, Site, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED, UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-00"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Traces are on, and stay here. Where a caller says nothing, nothing is recorded."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


async def add(client: Client, name: str, traceparent: str | None = None) -> None:
    request = pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=name)
    metadata = ((tracing.HEADER, traceparent),) if traceparent is not None else ()
    await client.directory.AddUnit(request, metadata=metadata)


async def found(client: Client) -> None:
    await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))


async def events(site: Site) -> list[RecordedEvent]:
    log = site.house.host.log
    assert log is not None
    return [event for shard in await log.heads() for event in await log.read_shard(shard)]


async def test_a_command_and_what_it_causes_are_one_trace(
    fresh_dsn: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        await found(client)
        await add(client, "chain-1", SAMPLED)
        await site.platform.wait_idle()
        recorded = await events(site)

    finished = spans.get_finished_spans()
    by_name: dict[str, list[ReadableSpan]] = {}
    for span in finished:
        by_name.setdefault(span.name, []).append(span)
    [call] = by_name["okr.directory.v1.DirectoryService/AddUnit"]
    first, caused = sorted(by_name["append directory"], key=lambda span: span.start_time or 0)
    assert {span.context.trace_id for span in finished} == {int(TRACE, 16)}
    assert call.parent is not None and f"{call.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert first.parent == call.context
    assert caused.parent is not None and caused.parent.span_id == first.context.span_id
    projected = by_name["project directory.structure"]
    assert {span.parent.span_id for span in projected if span.parent} == {first.context.span_id, caused.context.span_id}
    assert len(by_name["react directory.chain"]) == 2
    attributes = projected[0].attributes or {}
    assert (attributes["okr.event_type"], attributes["okr.source"]) == ("UnitAdded", "directory")

    founded, added, chained = recorded
    assert founded.metadata == {}, "nobody asked for a trace of that"
    assert added.metadata == {"traceparent": f"00-{TRACE}-{first.context.span_id:016x}-01"}
    assert chained.metadata == {"traceparent": f"00-{TRACE}-{caused.context.span_id:016x}-01"}


async def test_a_service_that_asks_another_hands_its_trace_on(
    fresh_dsn: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    on = tracing.tracing()
    assert on is not None
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        await found(client)
        with on.around("asks", "CLIENT", SAMPLED, {}):
            assert (on.trace_id(), (on.traceparent() or "")[3:35]) == (TRACE, TRACE)
            await add(client, "Sales")
    by_name = {span.name: span for span in spans.get_finished_spans()}
    answered = by_name["okr.directory.v1.DirectoryService/AddUnit"]
    assert answered.parent is not None
    assert answered.parent.span_id == by_name["asks"].context.span_id


async def test_a_trace_that_nobody_records_leaves_nothing_behind(
    fresh_dsn: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        await found(client)
        await add(client, "chain-1", UNSAMPLED)
        await site.platform.wait_idle()
        assert [event.metadata for event in await events(site)] == [{}, {}, {}]
    assert spans.get_finished_spans() == ()


async def test_while_traces_are_off_nothing_stands_in_the_way(fresh_dsn: str, tmp_path: Path) -> None:
    async def handle(request: object, context: object) -> None: ...

    assert tracing.tracing() is None
    assert trail.unary("/okr.x.v1.X/Y", handle) is handle
    assert trail.event_log() is EventLog
    assert trail.witness() is unseen
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        await found(client)
        await add(client, "Sales", SAMPLED)
        assert [event.metadata for event in await events(site)] == [{}, {}]


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_traces_are_on_where_somebody_collects_them(environment: dict[str, str], on: bool) -> None:
    assert tracing.wanted(environment) is on


@pytest.mark.parametrize("damaged", ["", "nonsense", f"00-{TRACE}-00f067aa0ba902b7-", "é"])
def test_a_damaged_traceparent_is_not_recorded_and_breaks_nothing(damaged: str) -> None:
    assert not tracing.sampled(damaged)
