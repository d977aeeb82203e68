"""Commands through a decider into the log: once each, whoever else writes."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from okr_eventstore.database import Database
from okr_eventstore.errors import CommandIdReusedError, ConflictError, UnknownEventError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from tests.support.shop import MINT, Add, Counter, Open, RefusedError, codec, context, counters, long_counters


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

    assert await database.fetchval("SELECT version FROM snapshot") == 30
    for version in range(36):
        snapshotted = await executor.load(long_counters, MINT, "counter-1", at_version=version)
        folded = await executor.load(counters, MINT, "counter-1", at_version=version)
        assert snapshotted == folded


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
