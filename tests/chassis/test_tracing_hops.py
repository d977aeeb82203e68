"""One command over a real Kafka is one trace of five hops: call, append, relay, Kafka, projection."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from okr.checkins.v1 import checkins_pb2
from okr_chassis.clock import ManualClock
from okr_chassis.platform import Platform
from okr_chassis.settings import Settings
from okr_chassis.telemetry import tracing
from tests.journeys.town import FEBRUARY, NEW_YEAR, SERVICES, organization_of_a_new_shard, settle_in
from tests.support.house import House, new_id
from tests.support.kafka import Topics

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Traces are on, and stay here. Where a caller says nothing, nothing is recorded."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


async def test_a_check_in_is_one_trace_from_the_call_over_kafka_to_the_board(
    fresh_dsn: str, tmp_path: Path, kafka_bootstrap: str, topics: Topics, spans: InMemorySpanExporter
) -> None:
    clock = ManualClock(NEW_YEAR)
    settings = Settings(
        data_dir=tmp_path / "data", grpc_port=0, kafka=tuple(kafka_bootstrap.split(",")), kafka_prefix=topics.prefix
    )
    async with Platform(settings, fresh_dsn, SERVICES, clock=clock) as platform:
        house = House(platform)
        place = await settle_in(house, clock, organization_of_a_new_shard())
        await place.settle()
        clock.set(FEBRUARY)
        assert spans.get_finished_spans() == ()
        await place.ana.checkins.RecordCheckIn(
            checkins_pb2.RecordCheckInRequest(
                request_id=new_id(), check_in_id=new_id(), key_result_id=place.key_result_id, value="26"
            ),
            metadata=((tracing.HEADER, f"00-{TRACE}-b7ad6b7169203331-01"),),
        )
        await place.settle()
        for desk in house.desks:
            await desk.channel.close()

    finished = spans.get_finished_spans()
    assert {span.context.trace_id for span in finished} == {int(TRACE, 16)}, "nothing of it is in another trace"

    def only(name: str) -> ReadableSpan:
        [span] = [span for span in finished if span.name == name and _of_the_check_in(span)]
        return span

    call = only("okr.checkins.v1.CheckInsService/RecordCheckIn")
    append = only("append checkins")
    relay = only("relay checkins")
    kafka = only(f"receive {topics.prefix}.insights.checkins")
    projection = only("project insights.checkins")

    hops = [call, append, relay, kafka, projection]
    assert [hop.kind.name for hop in hops] == ["SERVER", "INTERNAL", "PRODUCER", "CONSUMER", "INTERNAL"]
    assert append.parent == call.context
    for hop in hops[2:]:
        assert hop.parent is not None
        assert hop.parent.span_id == append.context.span_id, "the event carries the span it was recorded in"
    begun = [hop.start_time or 0 for hop in hops]
    assert begun == sorted(begun)
    [raised] = [span for span in finished if span.name == "append notifications"]
    assert raised.context.trace_id == int(TRACE, 16), "what it caused belongs to it as well"


def _of_the_check_in(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get("okr.event_type", "CheckInRecorded") == "CheckInRecorded"
