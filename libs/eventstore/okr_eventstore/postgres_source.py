"""A consumer's events straight from the log in PostgreSQL: the bus of the embedded platform."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.lines import Lines
from okr_eventstore.log import EventLog, channel_of, decode_rows, read_heads, read_page
from okr_eventstore.model import SHARDS, Head, RecordedEvent, ShardBatch
from okr_eventstore.projection import ProjectedEvent

POLL_SECONDS = 0.25
"""The backstop behind wake-ups, which may be lost."""
FETCH_SHARDS = 64
FETCH_EVENTS = 2000
FETCH_EVENTS_A_SHARD = 500

_FETCH = """
    SELECT w.shard, s.epoch, e.*
      FROM unnest($1::smallint[], $2::bigint[]) AS w(shard, after)
      JOIN shard s ON s.shard = w.shard
      CROSS JOIN LATERAL (
          SELECT position, organization_id, stream_id, version, event_id, type, schema_version, recorded_at,
                 occurred_at, command_id, causation_id, correlation_id, actor, data, metadata
            FROM event WHERE shard = w.shard AND position > w.after ORDER BY position LIMIT $3) e
     ORDER BY w.shard, e.position
"""


class PostgresSource:
    """Tails one service's log. Within a shard nothing is skipped or repeated: positions are commit order.

    With a `log` of this process wake-ups are plain calls; without one, or where other processes append to it too
    (`written_elsewhere`), they come by LISTEN.
    """

    def __init__(
        self,
        service: str,
        database: Database,
        codec: Codec,
        *,
        log: EventLog | None = None,
        written_elsewhere: bool = False,
        shards: Iterable[int] = range(SHARDS),
    ) -> None:
        self.service = service
        self._database = database
        self._codec = codec
        self._lines = Lines(database, codec)
        self._log = log
        self._listens = log is None or written_elsewhere
        self._shards = frozenset(shards)
        self._after: dict[int, int] = {}
        self._grown: set[int] = set()
        self._last = -1
        self._reassigned = False
        self._woken = asyncio.Event()
        self._stop_listening: Any = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._log is not None:
            self._stop_listening = self._log.listen(self._wake)
        if self._listens:
            self._listening = asyncio.create_task(self._listen(), name=f"listen {self.service}")

    async def close(self) -> None:
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def assignments(self) -> frozenset[int]:
        return self._shards

    def assign(self, shards: Iterable[int]) -> None:
        """From now on only these shards are this consumer's; whoever fetches is told at once by an empty answer."""
        self._shards = frozenset(shards)
        self._after = {shard: after for shard, after in self._after.items() if shard in self._shards}
        self._grown &= self._shards
        self._reassigned = True
        self._woken.set()

    async def seek(self, shard: int, after: int) -> None:
        if shard not in self._shards:
            return  # given away since the runner looked
        self._after[shard] = after
        self._grown.add(shard)  # whether it has grown shows at the next fetch
        self._woken.set()

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            if self._reassigned:
                self._reassigned = False
                return []
            batches = await self._fetch_grown()
            left = deadline - loop.time()
            if batches or left <= 0:
                return batches
            if not self._grown and not await self._wait(min(left, POLL_SECONDS)):
                await self._poll()

    async def commit(self, positions: dict[int, int]) -> None:
        """Nothing to hint: the consumer's own checkpoint is all there is."""

    async def heads(self) -> dict[int, Head]:
        return {shard: head for shard, head in (await read_heads(self._database)).items() if shard in self._shards}

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]:
        return await read_page(self._database, self._codec, shard, after, up_to - after)

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        """The same events with what a fold may know of them, which a rebuild reads faster."""
        return await self._lines.page(shard, after, up_to)

    async def _fetch_grown(self) -> list[ShardBatch]:
        # Round and round: with always the lowest first, many busy shards would keep the highest waiting for ever.
        shards = sorted(self._grown, key=lambda shard: (shard <= self._last, shard))[:FETCH_SHARDS]
        if not shards:
            return []
        self._last = shards[-1]
        self._grown.difference_update(shards)  # whoever grows during the query is added again
        limit = min(FETCH_EVENTS_A_SHARD, max(1, FETCH_EVENTS // len(shards)))
        batches = self._at_hand(shards, limit)
        missing = [shard for shard in shards if shard not in {batch.shard for batch in batches}]
        if missing:
            try:
                batches += await self._read(missing, limit)
            except BaseException:
                self._grown.update(shard for shard in shards if shard in self._after)
                raise
            batches = [batch for batch in batches if batch.shard in self._after]  # others were given away meanwhile
        for batch in batches:
            self._after[batch.shard] = batch.events[-1].position
            if len(batch.events) == limit:
                self._grown.add(batch.shard)
        return batches

    def _at_hand(self, shards: Sequence[int], limit: int) -> list[ShardBatch]:
        """What this process has appended itself and need not read back."""
        if self._log is None:
            return []
        batches = []
        for shard in shards:
            batch = self._log.recent.after(shard, self._after[shard], limit)
            if batch is not None:
                batches.append(batch)
                if batch.events[-1].position < self._log.recent.last(shard):
                    self._grown.add(shard)  # another process appended in between: the rest comes from the log
        return batches

    async def _read(self, shards: Sequence[int], limit: int) -> list[ShardBatch]:
        rows = await self._database.fetch(_FETCH, shards, [self._after[shard] for shard in shards], limit)
        by_shard: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            by_shard.setdefault(row["shard"], []).append(row)
        return [ShardBatch(shard, found[0]["epoch"], self._decode(shard, found)) for shard, found in by_shard.items()]

    def _decode(self, shard: int, rows: Sequence[asyncpg.Record]) -> list[RecordedEvent]:
        return decode_rows(self._codec, shard, [tuple(row)[2:] for row in rows])

    async def _wait(self, timeout_seconds: float) -> bool:
        self._woken.clear()
        if self._grown or self._reassigned:
            return True
        expiry = asyncio.get_running_loop().call_later(timeout_seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            expiry.cancel()
        return bool(self._grown) or self._reassigned

    async def _poll(self) -> None:
        # Consumers beside the log share a look at it: sixteen would ask sixty times a second while nothing happens.
        heads = await (self._log.heads_lately(POLL_SECONDS / 2) if self._log else read_heads(self._database))
        for shard, head in heads.items():
            if shard in self._after and head.position > self._after[shard]:
                self._grown.add(shard)

    def _wake(self, shards: set[int]) -> None:
        if mine := shards & self._after.keys():
            self._grown |= mine
            self._woken.set()

    async def _listen(self) -> None:
        """Hear other processes' commits; a broken connection costs the poll's quarter of a second."""
        while True:
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._listen_until_lost()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen_until_lost(self) -> None:
        lost = asyncio.Event()
        connection = await self._database.connect()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(channel_of(self._database.schema), self._heard)
            await lost.wait()
        finally:
            await connection.close(timeout=1)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._wake({int(shard) for shard in str(payload).split(",") if shard})
