"""What piles up while the broker is down, and how fast relay and consumer work it off once it is back."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from bench.harness import Case, Rounds, Work
from bench.history import Town, towns_apart, write_check_ins
from bench.kafka.members import applied, members
from bench.kafka.stage import KEY_RESULTS, ORGANIZATIONS, PARTITIONS, SERVICE, Stage, forget, running, until, watch
from bench.stage import codec_of, fresh_database, schema
from okr_chassis.kafka.relay import Relay
from okr_eventstore.database import Database
from okr_eventstore.tables import ensure
from okr_insights.read_model import check_ins
from tools.kafka.broker import LocalBroker

RATE = 1_000
"""Events a second that are supposed to have come in meanwhile."""


async def measure(stage: Stage) -> Rounds:
    """The consumer is a process of its own; the relay is in this one. Once: an outage takes its time."""
    broker = stage.broker
    assert broker is not None, "a broker of somebody else is not ours to stop"
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(stage.dsn))
        log = await stack.enter_async_context(schema(dsn, SERVICE))
        reading = await stack.enter_async_context(schema(dsn, "reading"))
        await ensure(reading, [check_ins])
        prefix = await stage.new_prefix()
        relay = Relay(SERVICE, log, stage.bootstrap, partitions=PARTITIONS, owner="bench", prefix=prefix)
        await stack.enter_async_context(running(relay))
        await (await stack.enter_async_context(members(stage, prefix, reading, 1, dsn)))()
        await until(lambda: len(relay.leases.held) == PARTITIONS)
        each = max(1, stage.meter.scale.bus_backlog // (ORGANIZATIONS * KEY_RESULTS))
        towns = towns_apart(ORGANIZATIONS, KEY_RESULTS, each)
        events = sum(town.events for town in towns)
        name = f"{events:,} events after the broker is back"
        found = await stage.meter.rounds(
            "Catching up: what the log took while the broker was down, until it is in the consumer's tables",
            [Case(name, _outage(stage, broker, log, reading, towns))], at_most=1,
        )  # fmt: skip
    found.within(
        f"catch-up after {events / RATE:.0f} s at {RATE:,} events/s / that rate", name, RATE, ">= 5",
        read=lambda sample: sample.rate, unit="events/s", limit_name="as they came in",
    )  # fmt: skip
    return found


def _outage(
    stage: Stage, broker: LocalBroker, log: Database, reading: Database, towns: Sequence[Town]
) -> Callable[[], Awaitable[Work]]:
    """A minute's events are written in a moment: who waits has not more to do for having waited longer."""
    events = sum(town.events for town in towns)

    async def run() -> Work:
        forget(stage.meter, broker)
        await broker.stop()
        await write_check_ins(log, codec_of(SERVICE), towns)
        await broker.start()
        watch(stage.meter, broker)
        with stage.meter.counted() as span:
            await applied(reading, events)
        return span.work(events)

    return run
