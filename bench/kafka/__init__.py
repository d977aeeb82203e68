"""The way over Kafka: what relay, consumers and rebuilds make of it, beside plain clients of the same broker."""

from collections.abc import AsyncIterator

from bench.harness import Meter, Rounds
from bench.kafka import catch_up, consumer, freshness, members, rebuild, relay
from bench.kafka.stage import NoKafkaError, kafka


async def measure(meter: Meter, dsn: str) -> AsyncIterator[Rounds]:
    """All figures over one broker. None, and a line that says so, where there is no broker to be had."""
    try:
        async with kafka(meter, dsn) as stage:
            yield await relay.measure_rate(stage)
            yield await relay.measure_latency(stage)
            yield await consumer.measure(stage)
            yield await members.measure(stage)
            yield await rebuild.measure(stage)
            yield await freshness.measure(stage)
            if stage.broker is not None:
                yield await catch_up.measure(stage)
            else:
                print("\nNOT MEASURED: the broker of KAFKA_BOOTSTRAP is not ours to stop, so nothing caught up with it")
    except NoKafkaError as error:
        print(f"\nNOT MEASURED: no figure of Kafka: {error}", flush=True)
