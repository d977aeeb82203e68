"""What the log promises about appending and reading, on a real PostgreSQL."""

import asyncio
import contextlib
from collections import Counter as Tally
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from okr_eventstore.database import Database
from okr_eventstore.errors import CommandIdReusedError, ConflictError, EventRejectedError
from okr_eventstore.log import EventLog
from okr_eventstore.model import NewEvent, Position, shard_of
from tests.support.shop import MINT, Added, added, codec, context

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OTHER = UUID("00000000-0000-4000-8000-00000000000b")


async def test_an_append_answers_with_the_version_and_the_position_it_was_given(log: EventLog) -> None:
    done = await log.append("counter-1", 0, added(1, 2), context())

    assert done.version == 2
    assert done.position == Position("shop", shard_of(MINT), 1, 2)
    assert not done.duplicate


async def test_versions_of_a_stream_and_positions_of_its_shard_have_no_hole(log: EventLog) -> None:
    async def write(stream: int) -> None:
        for version in range(20):
            await log.append(f"counter-{stream}", version, added(1), context())

    await asyncio.gather(*(write(stream) for stream in range(10)))

    events = await log.read_shard(shard_of(MINT))
    assert [event.position for event in events] == list(range(1, 201))
    for stream in range(10):
        versions = [event.version for event in events if event.stream_id == f"counter-{stream}"]
        assert versions == list(range(1, 21))


async def test_of_many_writers_on_one_version_exactly_one_wins(log: EventLog) -> None:
    answers = await asyncio.gather(
        *(log.append("counter-1", 0, added(n), context()) for n in range(64)), return_exceptions=True
    )

    assert Tally(type(answer).__name__ for answer in answers) == {"Done": 1, "ConflictError": 63}
    assert len(await log.read_stream(MINT, "counter-1")) == 1


async def test_a_conflict_tells_both_versions_and_harms_no_neighbour_in_its_batch(log: EventLog) -> None:
    await log.append("counter-1", 0, added(1), context())

    stale, fresh = await asyncio.gather(
        log.append("counter-1", 0, added(2), context()),
        log.append("counter-2", 0, added(3), context()),
        return_exceptions=True,
    )

    assert isinstance(stale, ConflictError)
    assert (stale.expected, stale.actual) == (0, 1)
    assert not isinstance(fresh, BaseException)
    assert fresh.version == 1


async def test_a_command_sent_again_takes_effect_once_and_answers_the_same(log: EventLog) -> None:
    command = uuid4()
    first = await log.append("counter-1", 0, added(5), context(command_id=command), reply=b"five")

    again = await log.append("counter-1", 0, added(5), context(command_id=command), reply=b"ignored")

    assert again.duplicate
    assert (again.version, again.position, again.reply) == (first.version, first.position, b"five")
    assert len(await log.read_stream(MINT, "counter-1")) == 1


async def test_the_same_command_many_times_at_once_takes_effect_once(log: EventLog) -> None:
    command = uuid4()
    answers = await asyncio.gather(
        *(log.append("counter-1", 0, added(5), context(command_id=command)) for _ in range(20))
    )

    assert {(answer.version, answer.position) for answer in answers} == {(1, answers[0].position)}
    assert sum(not answer.duplicate for answer in answers) == 1


async def test_a_command_id_with_another_body_is_refused(log: EventLog) -> None:
    command = uuid4()
    await log.append("counter-1", 0, added(5), context(command_id=command, body="five"))

    with pytest.raises(CommandIdReusedError, match=str(command)):
        await log.append("counter-1", 1, added(6), context(command_id=command, body="six"))


async def test_a_command_without_events_is_remembered_too(log: EventLog) -> None:
    command = uuid4()
    await log.append("counter-1", 0, added(1), context())
    nothing = await log.append("counter-1", 1, [], context(command_id=command))

    assert (nothing.version, nothing.position.position) == (1, 1)
    assert (await log.append("counter-1", 1, [], context(command_id=command))).duplicate


async def test_a_poisonous_event_fails_alone(log: EventLog) -> None:
    """PostgreSQL's json type takes no lone surrogate in an escape that it has to make text of; NUL in text neither."""
    poison = context()
    poison = type(poison)(
        organization_id=poison.organization_id,
        command_id=poison.command_id,
        fingerprint=poison.fingerprint,
        actor="nul \x00",
        correlation_id=poison.correlation_id,
    )
    answers = await asyncio.gather(
        log.append("counter-1", 0, added(1), context()),
        log.append("counter-2", 0, added(2), poison),
        log.append("counter-3", 0, added(3), context()),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers] == ["Done", "EventRejectedError", "Done"]
    assert isinstance(answers[1], EventRejectedError)
    assert [event.position for event in await log.read_shard(shard_of(MINT))] == [1, 2]


async def test_an_error_nobody_foresaw_is_told_to_its_caller_and_the_log_carries_on(database: Database) -> None:
    moments = iter([None, NOON])

    def clock() -> datetime:
        moment = next(moments, NOON)
        if moment is None:
            raise LookupError("no clock at hand")
        return moment

    log = EventLog("shop", database, codec(), clock=clock)
    await log.start()
    with pytest.raises(EventRejectedError, match="no clock at hand"):
        await log.append("counter-1", 0, added(1), context())

    assert (await log.append("counter-1", 0, added(1), context())).version == 1
    await log.close()


async def test_the_same_stream_id_in_two_organisations_is_two_streams(log: EventLog) -> None:
    await log.append("counter-1", 0, added(1), context(organization_id=MINT))
    await log.append("counter-1", 0, added(2), context(organization_id=OTHER))

    assert [event.data for event in await log.read_stream(MINT, "counter-1")] == [Added(1)]
    assert [event.data for event in await log.read_stream(OTHER, "counter-1")] == [Added(2)]


async def test_a_command_id_of_another_organisation_is_no_duplicate(log: EventLog) -> None:
    command = uuid4()
    await log.append("counter-1", 0, added(1), context(organization_id=MINT, command_id=command))

    done = await log.append("counter-1", 0, added(1), context(organization_id=OTHER, command_id=command))

    assert not done.duplicate


@pytest.mark.parametrize("statement", ["UPDATE event SET actor = 'x'", "DELETE FROM event", "TRUNCATE event"])
async def test_stored_events_can_be_neither_changed_nor_deleted(
    log: EventLog, database: Database, statement: str
) -> None:
    await log.append("counter-1", 0, added(1), context())

    with pytest.raises(asyncpg.RaiseError, match="never changed or deleted"):
        await database.execute(statement)


async def test_recorded_time_never_goes_back_inside_a_shard_whatever_the_clock_does(database: Database) -> None:
    now = [NOON]
    log = EventLog("shop", database, codec(), clock=lambda: now[0])
    await log.start()
    for version, step in enumerate((0, 60, -3600, -7200, 120)):
        now[0] = NOON + timedelta(seconds=step)
        await log.append("counter-1", version, added(1), context())
    await log.close()

    times = [event.recorded_at for event in await log.read_shard(shard_of(MINT))]
    assert times == [NOON + timedelta(seconds=seconds) for seconds in (0, 60, 60, 60, 120)]


async def test_an_event_may_have_happened_before_it_was_recorded(log: EventLog) -> None:
    await log.append("counter-1", 0, [NewEvent(Added(1), NOON)], context())

    (event,) = await log.read_stream(MINT, "counter-1")
    assert event.occurred_at == NOON
    assert event.recorded_at > NOON


async def test_a_stream_is_read_up_to_a_version_and_a_shard_page_by_page(log: EventLog) -> None:
    for version in range(5):
        await log.append("counter-1", version, added(version), context())

    assert [e.version for e in await log.read_stream(MINT, "counter-1", 1, 3)] == [2, 3]
    assert [e.position for e in await log.read_shard(shard_of(MINT), after=2, limit=2)] == [3, 4]
    assert (await log.heads())[shard_of(MINT)].position == 5


async def test_a_listener_hears_which_shards_grew_after_the_commit(log: EventLog) -> None:
    heard: list[set[int]] = []
    stop = log.listen(heard.append)
    await log.append("counter-1", 0, added(1), context())
    stop()
    await log.append("counter-1", 1, added(1), context())

    assert heard == [{shard_of(MINT)}]


async def test_commands_that_arrive_together_share_transactions(log: EventLog, database: Database) -> None:
    await asyncio.gather(*(log.append(f"counter-{n}", 0, added(1), context()) for n in range(100)))

    transactions = await database.fetchval("SELECT count(DISTINCT xmin::text) FROM event")
    assert transactions < 20


async def test_commands_of_one_stream_keep_their_order_while_two_connections_write(log: EventLog) -> None:
    """Each asks for the version that the one before it leaves behind: whichever went ahead of it would conflict."""
    asked = [
        log.append(f"counter-{stream}", version, added(1), context()) for version in range(12) for stream in range(40)
    ]

    done = await asyncio.gather(*asked)

    assert Tally(each.version for each in done) == Tally(dict.fromkeys(range(1, 13), 40))
    assert [event.position for event in await log.read_shard(shard_of(MINT))] == list(range(1, 481))


async def test_a_batch_that_waits_for_its_shard_does_not_hold_up_the_next_one(
    log: EventLog, database: Database
) -> None:
    assert shard_of(OTHER) != shard_of(MINT)
    await log.append("counter-0", 0, added(1), context())
    async with database.transaction() as elsewhere:
        await elsewhere.execute("SELECT 1 FROM shard WHERE shard = $1 FOR UPDATE", shard_of(OTHER))
        waits = asyncio.create_task(log.append("counter-1", 0, added(1), context(organization_id=OTHER)))
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
        while not await elsewhere.fetchval(blocked, f"okr {database.schema}"):
            await elsewhere.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.gather(*(log.append(f"counter-{n}", 0, added(1), context()) for n in range(1, 50)))
        assert not waits.done()

    assert (await waits).version == 1


async def test_other_processes_hear_of_commits_also_after_the_connection_that_tells_them_died(
    log: EventLog, database: Database
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = await database.connect()
    await listening.add_listener(log.channel, lambda *told: heard.put_nowait(str(told[-1])))

    await log.append("counter-1", 0, added(1), context())
    assert await asyncio.wait_for(heard.get(), 10) == str(shard_of(MINT))
    killed = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = $1 AND query LIKE 'SELECT pg_notify%'"""
    assert await database.fetchval(killed, f"okr {database.schema}") == 1
    for version in range(1, 100):  # a wake-up may be lost with the connection, and costs its readers one poll
        await log.append("counter-1", version, added(1), context())
        with contextlib.suppress(TimeoutError):
            assert await asyncio.wait_for(heard.get(), 0.1) == str(shard_of(MINT))
            break
    else:
        pytest.fail("nothing was heard any more")
    await listening.close()


async def test_answers_older_than_thirty_days_are_forgotten_and_the_events_stay(database: Database) -> None:
    command = uuid4()
    long_ago = EventLog("shop", database, codec(), clock=lambda: datetime.now(UTC) - timedelta(days=31))
    await long_ago.start()
    await long_ago.append("counter-1", 0, added(1), context(command_id=command))
    assert await long_ago.find_command(MINT, command) is not None

    await long_ago.expire_commands()

    assert await long_ago.find_command(MINT, command) is None
    assert len(await long_ago.read_stream(MINT, "counter-1")) == 1
    await long_ago.close()
