"""One relay a partition at a time, by the database's clock, whatever becomes of processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from okr_chassis.kafka.leases import Lease, Leases, Progress
from okr_chassis.kafka.topics import partition_of
from okr_eventstore.database import Database
from okr_eventstore.model import SHARDS

Join = Callable[..., Any]


@pytest.fixture
async def join(database: Database) -> AsyncIterator[Join]:
    """Makes relays that know of each other, as far as leases go."""

    async def make(owner: str = "relay", **options: Any) -> Leases:
        leases = Leases(database, "kafka", owner, 8, **options)
        await leases.prepare()
        await leases.join()
        return leases

    yield make


async def run_out(database: Database) -> None:
    """Let time go by as far as the database's clock is concerned: every lease ends, everybody has been silent."""
    await database.execute("UPDATE relay_lease SET leased_until = least(leased_until, clock_timestamp())")
    await database.execute("UPDATE relay_member SET alive_until = clock_timestamp()")


async def take_turns(*relays: Leases) -> None:
    """Each renews, gives back what is too much and takes what is free, until nobody wants anything."""
    for _ in range(2):
        for leases in relays:
            await leases.renew()
            if leases.excess:
                await leases.release(leases.excess)
            await leases.acquire()


def moved(lease: Lease, position: int) -> dict[Lease, Progress]:
    """Progress of a partition's first shard."""
    return {lease: Progress(position, {lease.partition * SHARDS // 8: position})}


async def cursor(database: Database, partition: int) -> int:
    found: int = await database.fetchval("SELECT position FROM relay WHERE shard = $1", partition * SHARDS // 8)
    return found


async def test_who_is_alone_carries_everything(join: Join) -> None:
    leases = await join()
    taken = await leases.acquire()
    assert leases.held == frozenset(range(8))
    assert [lease.previous for lease in taken] == [None] * 8
    assert all(leases.holds(lease) for lease in taken)
    assert not leases.excess and not leases.wanting


async def test_a_group_is_all_shards_of_one_partition(join: Join) -> None:
    leases: Leases = await join()
    assert sorted(shard for shards in leases.shards.values() for shard in shards) == list(range(SHARDS))
    for partition, shards in leases.shards.items():
        assert {partition_of(shard, 8) for shard in shards} == {partition}


@pytest.mark.parametrize(("members", "shares"), [(2, [4, 4]), (3, [2, 3, 3]), (9, [0, 1, 1, 1, 1, 1, 1, 1, 1])])
async def test_copies_share_the_partitions_fairly_and_completely(join: Join, members: int, shares: list[int]) -> None:
    relays = [await join() for _ in range(members)]
    await take_turns(*relays)
    assert sorted(len(leases.held) for leases in relays) == shares
    assert frozenset.union(*(leases.held for leases in relays)) == frozenset(range(8))
    await take_turns(*relays)  # and then it stays so
    assert not any(leases.excess or leases.wanting for leases in relays)


async def test_who_joins_gets_nothing_before_it_is_given_back(join: Join) -> None:
    first = await join()
    await first.acquire()
    second = await join()
    assert await second.acquire() == []
    assert second.wanting == 4
    await first.renew()
    await first.release(first.excess)
    assert len(await second.acquire()) == 4
    assert not first.held & second.held


async def test_who_leaves_gives_back_at_once_and_counts_no_more(join: Join, database: Database) -> None:
    first, second = await join(), await join()
    await take_turns(first, second)
    await first.release(first.held, leave=True)
    await second.renew()
    taken = await second.acquire()
    assert second.held == frozenset(range(8))
    assert {lease.previous for lease in taken} == {first.owner}


async def test_the_dead_are_followed_when_their_leases_have_run_out_and_not_before(
    join: Join, database: Database
) -> None:
    dead = await join()
    before = {lease.partition: lease.epoch for lease in await dead.acquire()}
    heir = await join()
    assert await heir.acquire() == []
    await run_out(database)
    await heir.renew()
    taken = await heir.acquire()
    assert heir.held == frozenset(range(8))
    assert {lease.partition: lease.epoch - 1 for lease in taken} == before


async def test_a_lease_ends_by_the_databases_clock_whatever_this_process_believes(join: Join) -> None:
    eternal = await join(lease_seconds=10**6)
    brief = await join(lease_seconds=0.0)
    await take_turns(eternal, brief)
    async with asyncio.timeout(20):
        while len(eternal.held) < 8:  # brief's leases are over as soon as they begin
            await eternal.renew()
            await eternal.acquire()
    assert not any(brief.holds(brief.lease(partition)) for partition in brief.held)


async def test_a_lease_that_ran_out_is_not_renewed_even_if_nobody_took_it(join: Join, database: Database) -> None:
    leases = await join()
    await leases.acquire()
    await run_out(database)
    assert await leases.renew() == frozenset(range(8))
    assert leases.held == frozenset()


async def test_cursors_move_under_a_lease(join: Join, database: Database) -> None:
    leases = await join()
    lease, other, *_ = await leases.acquire()
    assert await leases.store(moved(lease, 7) | moved(other, 3)) == frozenset()
    standing = (await leases.standing([lease.partition]))[lease.partition]
    assert standing.next_offset == 7
    assert len(standing.cursors) == 32
    assert standing.cursors[lease.partition * 32].position == 7
    assert await cursor(database, other.partition) == 3


async def test_who_wakes_after_somebody_took_over_writes_nothing(join: Join, database: Database) -> None:
    stopped = await join()
    lease, *_ = await stopped.acquire()
    await stopped.store(moved(lease, 5))
    await run_out(database)
    heir = await join()
    mine, *_ = await heir.acquire()
    assert await heir.store(moved(mine, 9)) == frozenset()
    assert await stopped.store(moved(lease, 6)) == {lease}
    assert await cursor(database, lease.partition) == 9
    assert (await heir.standing([mine.partition]))[mine.partition].next_offset == 9
    assert lease.partition not in stopped.held


async def test_who_wakes_after_the_lease_ran_out_writes_nothing_even_if_nobody_took_over(
    join: Join, database: Database
) -> None:
    stopped = await join()
    lease, *_ = await stopped.acquire()
    await run_out(database)
    assert await stopped.store(moved(lease, 6)) == {lease}
    assert await cursor(database, lease.partition) == 0


async def test_one_partition_that_was_lost_does_not_keep_the_others_from_moving(join: Join, database: Database) -> None:
    leases = await join()
    lost, kept, *_ = await leases.acquire()
    await database.execute("UPDATE relay_lease SET lease_epoch = lease_epoch + 1 WHERE partition = $1", lost.partition)
    assert await leases.store(moved(lost, 4) | moved(kept, 4)) == {lost}
    assert await cursor(database, lost.partition) == 0
    assert await cursor(database, kept.partition) == 4


async def test_the_next_owner_sees_every_cursor_that_was_written(join: Join, database: Database) -> None:
    """A write and a takeover at the same moment: either the write was in time, or it says that it was not."""
    outcomes = set()
    owner: Leases = await join()
    await owner.acquire()
    for position in range(1, 101):
        heir = await join()
        lease = owner.lease(0)

        async def take_over(heir: Leases = heir) -> Lease:
            await run_out(database)
            await heir.renew()
            while 0 not in heir.held:  # a row that is being written is passed over
                await heir.acquire()
            return heir.lease(0)

        fenced, mine = await asyncio.gather(owner.store(moved(lease, position)), take_over())
        seen = (await heir.standing([0]))[0].cursors[0].position
        assert (seen == position) == (not fenced)
        outcomes.add(bool(fenced))
        assert await heir.store(moved(mine, position)) == frozenset()
        owner = heir
    assert False in outcomes


async def test_no_partition_is_ever_leased_to_two(join: Join) -> None:
    relays = [await join() for _ in range(4)]
    for _ in range(10):
        await asyncio.gather(*(leases.renew() for leases in relays))
        await asyncio.gather(*(leases.acquire() for leases in relays))
        held = [partition for leases in relays for partition in leases.held]
        assert len(held) == len(set(held))
        await asyncio.gather(*(leases.release(sorted(leases.held)[:1]) for leases in relays))


async def test_a_process_that_starts_again_under_its_old_name_is_somebody_else(join: Join) -> None:
    before: Leases = await join("goals-0")
    lease, *_ = await before.acquire()
    after: Leases = await join("goals-0")
    assert await after.acquire() == []
    assert await after.renew() == frozenset()
    assert await before.store(moved(lease, 1)) == frozenset()


async def test_others_are_told_when_somebody_joins_or_leaves(join: Join, database: Database) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    connection: asyncpg.Connection[Any] = await database.connect()
    try:
        await connection.add_listener(
            f"okr_relay_{database.schema}", lambda _connection, _pid, channel, _payload: told.put_nowait(str(channel))
        )
        leases = await join()
        async with asyncio.timeout(10):
            await told.get()
            await leases.release([], leave=True)
            await told.get()
    finally:
        await connection.close()


class Counted:
    """A database that counts what it is asked."""

    def __init__(self, database: Database) -> None:
        self.statements = 0
        self._database = database

    def __getattr__(self, name: str) -> Any:
        if name in ("fetch", "fetchrow", "fetchval", "execute"):
            self.statements += 1
        return getattr(self._database, name)


async def test_all_partitions_and_shards_take_one_statement(database: Database) -> None:
    counted = Counted(database)
    leases = Leases(counted, "kafka", "relay", 64)  # type: ignore[arg-type]  # it asks the real one
    await leases.prepare()
    for ask in (leases.renew, leases.acquire, lambda: leases.standing(range(64)), leases.heads):
        before = counted.statements
        await ask()
        assert counted.statements == before + 1
    before = counted.statements
    every_shard = {
        leases.lease(partition): Progress(1, dict.fromkeys(leases.shards[partition], 1)) for partition in leases.held
    }
    assert await leases.store(every_shard) == frozenset()
    assert counted.statements == before + 1
    assert await database.fetchval("SELECT sum(position) FROM relay") == SHARDS


async def test_a_process_that_returns_under_its_name_takes_back_at_once_what_it_left_and_nothing_of_others(
    join: Join,
) -> None:
    killed, other = await join("goals-1"), await join("goals-10")
    await take_turns(killed, other)
    left, others = killed.held, other.held
    assert len(left) == len(others) == 4
    returned = await join("goals-1", returning=True)
    await returned.acquire()
    assert returned.held == left
    await other.renew()
    assert other.held == others


async def test_a_predecessor_that_lives_after_all_is_fenced_and_two_of_one_name_share_from_then_on(
    join: Join, database: Database
) -> None:
    sleeper = await join("goals-1")
    [lease, *_] = await sleeper.acquire()
    returned = await join("goals-1", returning=True)
    assert len(await returned.acquire()) == 8
    assert await sleeper.store(moved(lease, 5)) == {lease}
    assert await cursor(database, lease.partition) == 0
    await take_turns(sleeper, returned, sleeper)
    assert len(sleeper.held) == len(returned.held) == 4
    await returned.join()
    assert not await sleeper.renew(), "what it has by now is its own"
