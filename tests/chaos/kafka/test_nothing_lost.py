"""Sixteen writers, a reader at full speed, relay and broker killed twice: nothing is lost and nothing out of order.

The reader fills no gaps, so what the topic lacks it lacks too. A relay that moves its cursors before the
acknowledgement goes through the same, and is caught.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from okr_chassis.kafka.source import KafkaSource
from okr_eventstore.errors import StoreUnavailableError
from tests.chaos.history import disagreements, missed
from tests.chaos.kafka.site import ORGANIZATIONS, PARTITIONS, STREAMS, Site, Turns, at_work, site
from tests.chaos.run import PATIENCE_SECONDS, Beat, Run
from tests.chaos.writers import Writers
from tests.eventstore.garden import watered
from tests.support.relay_process import BEFORE_SEND, MOMENTS, HeldRelay, RecklessRelay
from tests.support.relays import held, whole_log
from tests.support.waiting import look_again

pytestmark = pytest.mark.timeout(0)  # as many events as asked; each step has a patience of its own
LONG = "CHAOS_SECONDS" in os.environ
EVENTS = 50_000 if LONG else 3_000
WRITERS = 16
COMMANDS_PER_SECOND = 100_000.0 if LONG else 150.0
"""The small load has to last as long as the faults do."""
AGAIN = ("CHAOS_SECONDS=1 " if LONG else "") + ".venv/bin/pytest -s tests/chaos/kafka/test_nothing_lost.py"
EVENTS_A_COMMAND = 2
"""On average."""


class Reader:
    """Reads one consumer's share of the topic as it comes, and remembers in which order."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source
        self.seen: list[tuple[int, int]] = []
        self.reached: dict[int, int] = {}

    async def read(self) -> None:
        assigned: frozenset[int] = frozenset()
        started = False
        while True:
            try:
                if not started:
                    await self.source.start()
                    started = True
                mine = await self.source.assignments()
                for shard in mine - assigned:
                    await self.source.seek(shard, self.reached.get(shard, 0))
                assigned = mine
                for batch in await self.source.fetch(1.0):
                    self.seen += [(batch.shard, event.position) for event in batch.events]
                    self.reached[batch.shard] = batch.events[-1].position
            except StoreUnavailableError:
                await look_again()  # as a runner waits


@dataclass
class Outcome:
    faults: list[str]
    commands: int
    events: int
    repeated: int
    """Records that the topic holds more than once."""
    dropped: int
    """Repetitions that the reader did not hand over."""
    seconds: float


async def under_fire(run: Run, directory: Path, kind: type[HeldRelay], deaths: int) -> Outcome:
    """Relay and broker die so many times; the judge's word on topic and reader afterwards."""
    beat, turns = Beat(), Turns(WRITERS, COMMANDS_PER_SECOND)
    second_death = run.choices("faults").choice(MOMENTS)
    began = time.monotonic()
    async with site(directory, relays=0, consumers=0) as built, reading(built) as reader:
        relay = await built.add_relay(kind, held_at=BEFORE_SEND, free_events=EVENTS // 10)
        writers = Writers(STREAMS, beat, built.logs, turns.turn)
        async with at_work(writers, built, WRITERS, run):
            for next_death in [second_death, ""][-deaths:]:
                run.note(f"kill -9 of the relay {await relay.held()}")
                await relay.kill()
                relay = await built.add_relay(kind, held_at=next_death, free_events=EVENTS // 4)
                while (await relay.status())["published"] == 0:
                    pass  # asking takes long enough
                await beat.reach(beat.count + EVENTS // 100)
                run.note("kill -9 of the broker")
                await built.broker.kill()
                await built.broker.start()
            await beat.reach(EVENTS // EVENTS_A_COMMAND)
        told = disagreements(writers.history, await built.held())
        await built.carried()
        await last_words(built, reader)
        log = await built.held()
        found = await held(built.broker.bootstrap, built.topics.of("garden"), built.garden, PARTITIONS)
        return Outcome(
            [*told, *missed(reader.seen, log), *found.against(await whole_log(built.garden))],
            len(writers.history),
            len(log.events),
            found.repeated,
            reader.source.duplicates,
            time.monotonic() - began,
        )


@asynccontextmanager
async def reading(built: Site) -> AsyncIterator[Reader]:
    source = KafkaSource(
        "garden", built.topics.servers, built.owner, built.garden.codec, group="okr.reader", instance="1"
    )
    reader = Reader(source)
    task = asyncio.create_task(reader.read())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.close()


async def last_words(built: Site, reader: Reader) -> None:
    """One more event in each shard, so that it shows how far the reader is, whatever it lacks."""
    for organization_id in ORGANIZATIONS:
        await built.garden.append("last words", watered(1), organization_id=organization_id)
    heads = {shard: head.position for shard, head in (await built.garden.log.heads()).items()}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while reader.reached != heads:
            await built.behind()  # asking takes long enough


async def test_sixteen_writers_lose_nothing_while_relay_and_broker_are_killed_twice(tmp_path: Path) -> None:
    run = Run("figure", 0, AGAIN)
    with run.told():
        outcome = await under_fire(run, tmp_path, HeldRelay, deaths=2)
        assert outcome.faults == []
        print(
            f"figure: {outcome.events} events of {outcome.commands} commands by {WRITERS} writers,"
            f" {' · '.join(run.happened)}: 0 lost, 0 out of order, {outcome.repeated} repeated in the topic,"
            f" {outcome.dropped} dropped by the reader, {outcome.seconds:.0f} s"
        )


async def test_a_relay_that_moves_its_cursors_before_the_acknowledgement_is_caught(tmp_path: Path) -> None:
    run = Run("figure", 0, AGAIN)
    with run.told():
        outcome = await under_fire(run, tmp_path, RecklessRelay, deaths=1)
        assert any("is lost" in fault for fault in outcome.faults), "in the topic"
        assert any("was never handed" in fault for fault in outcome.faults), "by the reader"
        assert not any("command" in fault for fault in outcome.faults), "the log itself is whole"
