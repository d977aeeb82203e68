"""Commands through a decider into the log: once each, whoever else writes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import pytest
from msgspec import Struct

from okr_eventstore.database import Database
from okr_eventstore.decider import Decider, Recall
from okr_eventstore.errors import CommandIdReusedError, ConflictError, UnknownEventError
from okr_eventstore.executor import SNAPSHOTS, CommandExecutor
from okr_eventstore.log import EventLog
from tests.support.shop import (
    MINT,
    Add,
    Added,
    Counter,
    Open,
    RefusedError,
    added,
    codec,
    context,
    counters,
    long_counters,
)


async def test_a_command_becomes_the_events_its_decider_says(executor: CommandExecutor, log: EventLog) -> None:
    await executor.execute(counters, "counter-1", Open("till"), context())
    done = await executor.execute(counters, "counter-1", Add(7), context())

    assert done.version == 2
    assert (await executor.load(counters, MINT, "counter-1")).state == Counter("till", 7)


async def test_an_event_that_knows_when_it_was_true_is_dated_by_it(executor: CommandExecutor, log: EventLog) -> None:
    moment = datetime(2026, 1, 5, 9, tzinfo=UTC)
    await executor.execute(counters, "counter-1", Add(7, moment), context())

    (event,) = await log.read_stream(MINT, "counter-1")
    assert event.occurred_at == moment


async def test_racing_commands_are_decided_again_on_what_the_winner_left(
    executor: CommandExecutor, log: EventLog
) -> None:
    """Two processes, each sure of its own memory, write to the same stream."""
    other = CommandExecutor(log)
    for _ in range(10):
        await asyncio.gather(
            executor.execute(counters, "counter-1", Add(1), context()),
            other.execute(counters, "counter-1", Add(1), context()),
        )

    assert (await executor.load(counters, MINT, "counter-1")).state.total == 20


async def test_a_refusal_on_a_stale_memory_is_thought_over(executor: CommandExecutor, log: EventLog) -> None:
    other = CommandExecutor(log)
    await executor.execute(counters, "counter-1", Add(995), context())
    await other.execute(counters, "counter-1", Add(-500), context())

    done = await executor.execute(counters, "counter-1", Add(100), context())

    assert done.version == 3


async def test_a_rule_holds_however_many_race(executor: CommandExecutor, log: EventLog) -> None:
    executors = [CommandExecutor(log) for _ in range(4)]
    answers = await asyncio.gather(
        *(executors[n % 4].execute(counters, "counter-1", Add(300), context()) for n in range(12)),
        return_exceptions=True,
    )

    assert (await executor.load(counters, MINT, "counter-1")).state.total == 900
    assert all(isinstance(answer, tuple | RefusedError | ConflictError) for answer in answers)


async def test_a_finished_command_sent_again_is_answered_even_where_it_would_be_refused_today(
    executor: CommandExecutor,
) -> None:
    command = uuid4()
    first = await executor.execute(counters, "counter-1", Open("till"), context(command_id=command))

    again = await executor.execute(counters, "counter-1", Open("till"), context(command_id=command))

    assert again == first._replace(duplicate=True)
    with pytest.raises(RefusedError):
        await executor.execute(counters, "counter-1", Open("till"), context())


async def test_a_refused_command_id_with_another_body_is_named_as_what_it_is(executor: CommandExecutor) -> None:
    command = uuid4()
    await executor.execute(counters, "counter-1", Open("till"), context(command_id=command, body="till"))

    with pytest.raises(CommandIdReusedError):
        await executor.execute(counters, "counter-1", Open("shelf"), context(command_id=command, body="shelf"))


async def test_a_stale_expected_version_is_a_conflict_and_a_resend_of_it_is_not(executor: CommandExecutor) -> None:
    command = uuid4()
    await executor.execute(counters, "counter-1", Open("till"), context())
    first = await executor.execute(counters, "counter-1", Add(1), context(command_id=command), expected_version=1)

    again = await executor.execute(counters, "counter-1", Add(1), context(command_id=command), expected_version=1)
    assert again.version == first.version
    with pytest.raises(ConflictError, match="expected version 1, found 2"):
        await executor.execute(counters, "counter-1", Add(1), context(), expected_version=1)


async def test_a_stream_is_read_as_it_was_at_a_version(executor: CommandExecutor) -> None:
    for amount in (1, 2, 3):
        await executor.execute(counters, "counter-1", Add(amount), context())

    assert (await executor.load(counters, MINT, "counter-1", at_version=2)).state.total == 3


async def test_long_streams_keep_snapshots_that_equal_the_full_fold_at_every_version(
    log: EventLog, database: Database
) -> None:
    executor = CommandExecutor(log)
    for amount in range(35):
        await executor.execute(long_counters, "counter-1", Add(amount + 1), context())

    kept = await database.fetch("SELECT version FROM snapshot ORDER BY version")
    assert [row["version"] for row in kept] == [10, 20, 30]
    for version in range(36):
        snapshotted = await executor.load(long_counters, MINT, "counter-1", at_version=version)
        folded = await executor.load(counters, MINT, "counter-1", at_version=version)
        assert snapshotted == folded


async def test_a_stream_of_any_length_has_a_bounded_number_of_snapshots_all_along_it(
    log: EventLog, database: Database
) -> None:
    executor = CommandExecutor(log)
    every = long_counters.snapshot_every or 0
    for _ in range(2 * SNAPSHOTS * every + every):
        await executor.execute(long_counters, "counter-1", Add(1), context())

    kept = [row["version"] for row in await database.fetch("SELECT version FROM snapshot ORDER BY version")]
    last = 2 * SNAPSHOTS * every + every
    assert kept == [*range(2 * every, last, 2 * every), last]
    for version in (1, 2 * every - 1, 2 * every, last - 1, last):
        snapshotted = await executor.load(long_counters, MINT, "counter-1", at_version=version)
        assert snapshotted == await executor.load(counters, MINT, "counter-1", at_version=version)


@dataclass(frozen=True)
class Again:
    """Add what was added by the event at `version`."""

    version: int


class Recalling(Struct, frozen=True):
    events: int = 0
    recalled: int = 0


def recalled(state: Recalling, events: Sequence[Added]) -> Recalling:
    return Recalling(state.events, sum(event.amount for event in events))


async def test_a_decision_is_given_the_events_it_recalls_and_its_state_forgets_them(log: EventLog) -> None:
    recalling: Decider[Recalling, Again, Added] = Decider(
        "counter",
        Recalling(),
        decide=lambda state, _: [Added(state.recalled)],
        evolve=lambda state, _: Recalling(state.events + 1, state.recalled),
        recall=Recall(lambda state, command: [command.version] if command.version <= state.events else [], recalled),
    )
    executor = CommandExecutor(log)
    await log.append("counter-1", 0, added(3, 5), context())

    for command in (Again(2), Again(1), Again(9)):
        await executor.execute(recalling, "counter-1", command, context())

    amounts = [cast(Added, event.data).amount for event in await log.read_stream(MINT, "counter-1")]
    assert amounts == [3, 5, 5, 3, 0]
    assert (await executor.load(recalling, MINT, "counter-1")).state == Recalling(5)
    assert recalling.decide_on([Added(7), Added(1)], Again(1)) == [Added(7)]


async def test_a_snapshot_of_an_older_state_version_is_passed_over(log: EventLog, database: Database) -> None:
    executor = CommandExecutor(log)
    for _ in range(12):
        await executor.execute(long_counters, "counter-1", Add(1), context())
    await database.execute("UPDATE snapshot SET state_version = 0, state = '{\"total\": 999}'")

    assert (await executor.load(long_counters, MINT, "counter-1")).state.total == 12


async def test_nothing_is_decided_on_a_stream_that_a_newer_release_has_written_to(log: EventLog) -> None:
    executor = CommandExecutor(log)
    await executor.execute(counters, "counter-1", Open("till"), context())
    older = EventLog("shop", log.database, codec().__class__([], {}))

    with pytest.raises(UnknownEventError, match="cannot read"):
        await CommandExecutor(older).load(counters, MINT, "counter-1")
