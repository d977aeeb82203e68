"""A service over Kafka while its relays, consumers, broker, topic and PostgreSQL fail: nothing promised is broken.

Writers append through two logs, as of two processes; relays and consumers are processes of their own. After one to
three faults everybody catches up and is judged. CHAOS_SEED replays a run's decisions, CHAOS_SECONDS lengthens it.
"""

import asyncio
import time
from pathlib import Path

import pytest

from tests.chaos.kafka.faults import Faults
from tests.chaos.kafka.site import HURRIED, STREAMS, USUAL, Turns, at_work, site
from tests.chaos.run import Beat, Run
from tests.chaos.writers import Writers

pytestmark = pytest.mark.timeout(0)  # as long as asked; each step has a patience of its own
SECONDS = 25.0
"""The share within the ordinary tests: about half of the kinds, others each time. A longer run has them all."""
MOST_FAULTS_A_ROUND = 3
"""So many may follow each other before everybody has to catch up and is judged."""
WRITERS = 8
COMMANDS_PER_SECOND = 60.0
"""So few that a topic read and judged after each fault takes the machine little; the figure is about many."""


async def test_nothing_is_lost_doubled_or_reordered_over_kafka_whatever_fails(tmp_path: Path) -> None:
    run, beat, turns = Run("kafka", SECONDS), Beat(), Turns(WRITERS, COMMANDS_PER_SECOND)
    is_long = run.seconds > SECONDS
    with run.told():
        character = run.choices("character")
        # A long run may be one with the patience of production, which makes fewer faults an hour and others.
        patience = USUAL if is_long and character.random() < 0.5 else HURRIED
        async with site(tmp_path, patience=patience) as built:
            faults = Faults(
                *(run, beat, built, tmp_path / "data"),
                away_seconds=60.0 if is_long else 3.0,
                comings=8 if is_long else 2,
            )
            writers = Writers(STREAMS, beat, built.logs, turns.turn)
            async with at_work(writers, built, WRITERS, run) as writing:
                await beat.reach(10 * WRITERS)
                await turns.rest()
                await built.caught_up()  # everybody is there and at work
                turns.resume()
                began = time.monotonic()
                while time.monotonic() - began < run.seconds or not run.happened:
                    struck, already = time.monotonic(), len(run.happened)
                    for _ in range(character.randint(1, MOST_FAULTS_A_ROUND)):
                        await strike(run, faults, writing)
                    broken = time.monotonic()
                    await turns.rest()
                    await built.caught_up()
                    caught_up = time.monotonic()
                    assert await built.faults(writers.history) == []
                    print(
                        f"kafka: {' · '.join(run.happened[already:])} ({broken - struck:.1f} s),"
                        f" caught up in {caught_up - broken:.1f} s, judged in {time.monotonic() - caught_up:.1f} s",
                        flush=True,
                    )
                    turns.resume()
            statuses = (await built.statuses()).values()
            assert not any(any(status["halted"]) for status in statuses)
            print(
                f"kafka: {len(run.happened)} faults, {len(writers.history)} commands,"
                f" {len((await built.held()).events)} events, {writers.in_doubt} in doubt for their callers,"
                f" {sum(sum(status['duplicates']) for status in statuses)} repetitions dropped by those who live"
            )


async def strike(run: Run, faults: Faults, writing: "list[asyncio.Task[None]]") -> None:
    """One fault; a writer that fails meanwhile ends the run at once."""
    striking = asyncio.create_task(faults.strike())
    await asyncio.wait((striking, *writing), return_when=asyncio.FIRST_COMPLETED)
    for task in writing:
        if task.done():
            striking.cancel()
            task.result()
    run.note(await striking)
