"""Copies of a service share what its consumers do: each applies some of the shards, by lease.

Without it every copy would fold every event, and all but one would do so for nothing: the checkpoint's
compare-and-swap lets one through. It is that which keeps the rows right, so nothing here must be exact:
two copies that both think a shard theirs for a moment waste a batch, and no more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

import asyncpg

from okr_chassis.kafka.leases import Leases
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError

GROUPS = 16
"""The shards are shared in so many groups of neighbours, and so among as many copies at most."""
LEASE_SECONDS = 4.0
"""How long after its last sign of life a dead copy keeps its shards."""
LOOK_SECONDS = 1.0
"""How often a copy gives a sign of life, and looks whether others came or went."""
SINK = "consumers"

log = logging.getLogger(__name__)


class Assignable(Protocol):
    """A source whose shards somebody else decides."""

    def assign(self, shards: Iterable[int]) -> None: ...


class Shares:
    """One copy's shards of one service, for every source that is added."""

    def __init__(self, database: Database, instance: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._leases = Leases(database, SINK, instance, GROUPS, lease_seconds=lease_seconds, returning=True)
        self._sources: WeakSet[Assignable] = WeakSet()
        self._told: frozenset[int] | None = None

    @property
    def shards(self) -> frozenset[int]:
        """What is ours now."""
        return frozenset(shard for group in self._leases.held for shard in self._leases.shards[group])

    def add(self, source: Assignable) -> None:
        """From now on the source is told which shards are ours; until we have some, none."""
        self._sources.add(source)
        source.assign(self.shards)

    async def start(self) -> None:
        """Join the other copies and take our share, so far as it is free."""
        await self._leases.prepare()
        await self._leases.join()
        await self._look()

    async def run(self) -> None:
        """Keep our share until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # While PostgreSQL is away nobody can apply anything either.
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
                await self._look()

    async def close(self) -> None:
        """Leave our shards to the others at once. Consumers should be closed by now."""
        with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
            await self._leases.release(self._leases.held, leave=True)

    async def _look(self) -> None:
        await self._leases.renew()
        if self._leases.excess:
            excess = self._leases.excess
            self._tell(self.shards - {shard for group in excess for shard in self._leases.shards[group]})
            await self._leases.release(excess)
        if self._leases.wanting:
            await self._leases.acquire()
        self._tell(self.shards)

    def _tell(self, shards: frozenset[int]) -> None:
        if shards == self._told:
            return
        log.debug("%s: %s shards are ours", self._leases.owner, len(shards))
        self._told = shards
        for source in self._sources:
            source.assign(shards)
