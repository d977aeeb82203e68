"""Who may publish which partitions of a service's log: leases in the log's own database, by its clock.

An advisory lock would outlive a process that was stopped, and would know nothing of one that wakes. A lease runs out
by itself, and every write is fenced by `lease_epoch`, which grows with each owner: who wakes too late writes nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import uuid4

from okr_chassis.kafka.topics import partition_of
from okr_eventstore.database import Database
from okr_eventstore.model import SHARDS

LEASE_SECONDS = 6.0
"""How long after its last sign of life a dead process keeps its partitions."""

_PREPARE = """
    WITH cursors AS (
        INSERT INTO relay (sink, shard) SELECT $1, generate_series(0, $2::int - 1) ON CONFLICT DO NOTHING
    ), groups AS (
        INSERT INTO relay_lease (sink, partition) SELECT $1, generate_series(0, $3::int - 1) ON CONFLICT DO NOTHING
    )
    DELETE FROM relay_member WHERE sink = $1 AND alive_until < clock_timestamp() - interval '1 hour'
"""
# A lease that has run out is not renewed, even if nobody took it meanwhile: what is owned was owned all the time.
_RENEW = """
    WITH me AS (
        INSERT INTO relay_member AS m (sink, owner, alive_until)
        VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
            ON CONFLICT (sink, owner) DO UPDATE SET alive_until = excluded.alive_until
    ), kept AS (
        UPDATE relay_lease l SET leased_until = clock_timestamp() + make_interval(secs => $3)
          FROM unnest($4::int[], $5::bigint[]) AS held(partition, lease_epoch)
         WHERE l.sink = $1 AND l.partition = held.partition AND l.lease_epoch = held.lease_epoch
           AND l.leased_until > clock_timestamp()
        RETURNING l.partition
    )
    SELECT (SELECT array_agg(owner) FROM relay_member
             WHERE sink = $1 AND owner <> $2 AND alive_until > clock_timestamp()) AS others,
           (SELECT array_agg(partition) FROM kept) AS kept
"""
_TAKE_BACK = """
    WITH gone AS (
        DELETE FROM relay_member WHERE sink = $1 AND owner <> $2 AND starts_with(owner, $3)
    )
    UPDATE relay_lease SET leased_until = '-infinity' WHERE sink = $1 AND owner <> $2 AND starts_with(owner, $3)
"""
_ACQUIRE = """
    WITH free AS (
        SELECT partition, owner FROM relay_lease
         WHERE sink = $1 AND partition < $4 AND leased_until <= clock_timestamp()
         ORDER BY partition LIMIT $5 FOR UPDATE SKIP LOCKED
    )
    UPDATE relay_lease l SET owner = $2, lease_epoch = l.lease_epoch + 1,
                             leased_until = clock_timestamp() + make_interval(secs => $3)
      FROM free f WHERE l.sink = $1 AND l.partition = f.partition
    RETURNING l.partition, l.lease_epoch, f.owner AS previous
"""
# A statement of its own, after the leases are ours: it sees whatever their last owner wrote under his.
_STANDING = """
    SELECT n.partition, l.next_offset, r.shard, r.position, s.epoch
      FROM unnest($2::int[], $3::smallint[]) AS n(partition, shard)
      JOIN relay_lease l ON l.sink = $1 AND l.partition = n.partition
      JOIN relay r ON r.sink = $1 AND r.shard = n.shard
      JOIN shard s ON s.shard = n.shard
"""
# The lease's row is locked first: either this write is seen by the next owner, or it finds the next owner's epoch.
_STORE = """
    WITH held AS (
        UPDATE relay_lease l SET next_offset = n.next_offset
          FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS n(partition, lease_epoch, next_offset)
         WHERE l.sink = $1 AND l.partition = n.partition AND l.lease_epoch = n.lease_epoch
           AND l.leased_until > clock_timestamp()
        RETURNING l.partition
    ), moved AS (
        UPDATE relay r SET position = n.position
          FROM unnest($5::int[], $6::smallint[], $7::bigint[]) AS n(partition, shard, position)
          JOIN held USING (partition)
         WHERE r.sink = $1 AND r.shard = n.shard
    )
    SELECT partition FROM held
"""
_RELEASE = """
    WITH released AS (
        UPDATE relay_lease l SET leased_until = '-infinity'
          FROM unnest($2::int[], $3::bigint[]) AS held(partition, lease_epoch)
         WHERE l.sink = $1 AND l.partition = held.partition AND l.lease_epoch = held.lease_epoch
    ), gone AS (
        DELETE FROM relay_member WHERE sink = $1 AND owner = $4
    )
    SELECT pg_notify($5, '')
"""
_HEADS = """
    SELECT s.shard, s.head, s.head - coalesce(r.position, 0) AS behind
      FROM shard s LEFT JOIN relay r ON r.shard = s.shard AND r.sink = $1 WHERE s.head > 0
"""


class Lease(NamedTuple):
    """One partition as its new owner finds it."""

    partition: int
    epoch: int
    previous: str | None
    """Who had it before; None for the first owner of all."""


class Cursor(NamedTuple):
    """How far a shard has come, and the epoch its log is in."""

    position: int
    epoch: int


class Standing(NamedTuple):
    """How far a partition had come when its cursors were stored last, and where in Kafka its next record was due."""

    next_offset: int
    cursors: dict[int, Cursor]


class ShardHead(NamedTuple):
    """Where a shard's log ends, and how many of its events the sink does not have."""

    shard: int
    position: int
    behind: int


class Progress(NamedTuple):
    """What a partition has come to: the offset after its last record, and the shards that moved."""

    next_offset: int
    positions: Mapping[int, int]


class Leases:
    """One relay's leases on the partitions of one sink. Its name is its own: a restarted process is somebody else.

    Unless `returning`: then `owner` belongs to one process at a time, and what its predecessor left it takes back at
    once, instead of waiting for leases that nobody renews. Should the predecessor live after all, it is fenced.
    """

    def __init__(
        self,
        database: Database,
        sink: str,
        owner: str,
        partitions: int,
        *,
        lease_seconds: float = LEASE_SECONDS,
        returning: bool = False,
    ) -> None:
        self.owner = f"{owner}:{uuid4().hex[:8]}"
        self._returning = returning
        self._name = f"{owner}:"
        self.partitions = partitions
        self.lease_seconds = lease_seconds
        self.shards = {
            partition: tuple(shard for shard in range(SHARDS) if partition_of(shard, partitions) == partition)
            for partition in range(partitions)
        }
        self._database = database
        self._sink = sink
        self._held: dict[int, Lease] = {}
        self._until = -1.0
        self._share = 0
        # One statement at a time: two of ours over the same rows could wait for each other for ever.
        self._turn = asyncio.Lock()

    @property
    def channel(self) -> str:
        """The NOTIFY channel on which relays of this schema hear that somebody joined or left."""
        return f"okr_relay_{self._database.schema}"

    @property
    def held(self) -> frozenset[int]:
        return frozenset(self._held)

    @property
    def excess(self) -> list[int]:
        """What is held beyond the fair share, for others to take over."""
        return sorted(self._held)[self._share :]

    @property
    def wanting(self) -> int:
        """How many partitions are missing to the fair share."""
        return max(0, self._share - len(self._held))

    def lease(self, partition: int) -> Lease:
        return self._held[partition]

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is surely still ours, by a clock that goes on while this process is stopped.

        Counted from before the statement that renewed it, so never longer than the database counts.
        """
        return self._held.get(lease.partition) == lease and _now() < self._until

    async def prepare(self) -> None:
        """Make the rows that are missing."""
        await self._database.execute(_PREPARE, self._sink, SHARDS, self.partitions)

    async def renew(self) -> frozenset[int]:
        """Say that we are alive, renew all leases, and learn the fair share. Returns the partitions that were lost."""
        async with self._turn:
            asked_at = _now()
            held = dict(self._held)
            epochs = [lease.epoch for lease in held.values()]
            row = await self._database.fetchrow(_RENEW, self._sink, self.owner, self.lease_seconds, list(held), epochs)
            assert row is not None
            others, kept = frozenset(row["others"] or ()), frozenset(row["kept"] or ())
            rank = sum(other < self.owner for other in others)
            share, left_over = divmod(self.partitions, len(others) + 1)
            self._share = share + (rank < left_over)
            lost = frozenset(held) - kept
            self._forget(held[partition] for partition in lost)
            self._until = asked_at + self.lease_seconds
            return lost

    async def join(self) -> None:
        """Be counted from now on, and let the others know at once."""
        if self._returning:
            await self._database.execute(_TAKE_BACK, self._sink, self.owner, self._name)
            self._returning = False  # two living processes of one name take from each other once, not for ever
        await self.renew()
        await self._database.execute("SELECT pg_notify($1, '')", self.channel)

    async def acquire(self) -> list[Lease]:
        """Take what is free, up to the fair share."""
        async with self._turn:
            asked_at = _now()
            rows = await self._database.fetch(
                _ACQUIRE, self._sink, self.owner, self.lease_seconds, self.partitions, self.wanting
            )
            if not self._held:
                self._until = asked_at + self.lease_seconds
            leases = [Lease(*row) for row in rows]
            self._held |= {lease.partition: lease for lease in leases}
            return leases

    async def standing(self, partitions: Iterable[int]) -> dict[int, Standing]:
        """How far these partitions have come, read after they became ours."""
        asked = [(partition, shard) for partition in partitions for shard in self.shards[partition]]
        rows = await self._database.fetch(
            _STANDING, self._sink, [partition for partition, _ in asked], [shard for _, shard in asked]
        )
        found: dict[int, Standing] = {}
        for partition, next_offset, shard, position, epoch in rows:
            found.setdefault(partition, Standing(next_offset, {})).cursors[shard] = Cursor(position, epoch)
        return found

    async def store(self, progress: Mapping[Lease, Progress]) -> frozenset[Lease]:
        """Write the cursors of all partitions in one statement. Returns the leases that no longer hold: theirs stay."""
        moved = [
            (lease.partition, shard, position)
            for lease, (_, positions) in progress.items()
            for shard, position in positions.items()
        ]
        async with self._turn:
            rows = await self._database.fetch(
                _STORE,
                self._sink,
                [lease.partition for lease in progress],
                [lease.epoch for lease in progress],
                [next_offset for next_offset, _ in progress.values()],
                [partition for partition, _, _ in moved],
                [shard for _, shard, _ in moved],
                [position for _, _, position in moved],
            )
            stored = {row["partition"] for row in rows}
            fenced = frozenset(lease for lease in progress if lease.partition not in stored)
            self._forget(fenced)
            return fenced

    async def release(self, partitions: Iterable[int], *, leave: bool = False) -> None:
        """Give partitions back at once; with `leave` be counted no longer. What is not written by now never will be."""
        async with self._turn:
            leases = [self._held[partition] for partition in partitions if partition in self._held]
            self._forget(leases)
            if leave:
                self._share = 0
            await self._database.execute(
                _RELEASE,
                self._sink,
                [lease.partition for lease in leases],
                [lease.epoch for lease in leases],
                self.owner if leave else None,
                self.channel,
            )

    async def heads(self) -> list[ShardHead]:
        """Every shard that holds anything, whoever carries it."""
        return [ShardHead(*row) for row in await self._database.fetch(_HEADS, self._sink)]

    def _forget(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            if self._held.get(lease.partition) == lease:
                del self._held[lease.partition]


def _now() -> float:
    """A clock that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
