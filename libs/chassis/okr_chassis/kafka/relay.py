"""From a service's log to its topic: everything, in order, at least once, by one process a partition.

A round reads what follows the cursors of all shards that grew, and sends each partition one batch. Only when all
replicas have acknowledged it do the cursors move, in one fenced statement. While a round is on its way the next one is
read, so a partition has one batch under way at most, and nothing can overtake.

Whatever goes wrong with Kafka, the relay gives its leases back, throws its producer away and begins anew from what
Kafka holds. Commands are taken meanwhile: the log does not know that anybody carries it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg
import structlog

from okr_chassis.kafka.batches import RecordBatch
from okr_chassis.kafka.leases import LEASE_SECONDS, Lease, Leases, Progress, Standing
from okr_chassis.kafka.publishing import Publisher, PublishError, TooLargeError
from okr_chassis.kafka.stored import find_unknown, read_pages
from okr_chassis.kafka.tail import Tail, TailReader
from okr_chassis.kafka.topics import PREFIX, partition_of, topic_of
from okr_chassis.telemetry import trail
from okr_eventstore.database import Database, is_transient
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.log import EventLog, channel_of

ROUND_EVENTS = 4000
ROUND_EVENTS_A_SHARD = 500
ROUND_BYTES = 8 * 1024 * 1024
"""Of event data; two rounds are in memory at a time. One event is taken along whatever its size."""
BATCH_BYTES = 1_000_000
"""A batch before it is compressed. Below the 1 MiB that a topic takes unless it was told otherwise."""
POLL_SECONDS = 0.25
"""The backstop behind wake-ups, which may be lost."""
CHECK_SECONDS = 10.0
"""How often an idle relay looks whether Kafka still holds what was sent."""
HURRY_SECONDS = 0.25
"""How soon leases are looked at again while partitions wait for a change of hands."""
BACK_OFF_SECONDS = (0.05, 5.0)
TOO_LARGE_SECONDS = (5.0, 60.0)
"""How long a shard waits whose next record the topic does not take, at first and at most."""

logger = structlog.get_logger(__name__)


class Reason(NamedTuple):
    """Why a relay stands still, wholly or in part: a word for programs, a sentence for people."""

    code: str
    message: str


class ForeignTopicError(Exception):
    """The topic was filled from another log. Going on would leave out whatever that one had in the same places."""


class _Carried(NamedTuple):
    """One partition's part of a round."""

    batch: RecordBatch
    positions: dict[int, int]
    """The last position of each shard in it."""
    steps: list[trail.Step]


class _TooLarge(NamedTuple):
    position: int
    wait_seconds: float
    again_at: float


Round = dict[Lease, _Carried]


class Relay:
    """Carries one service's log to Kafka, together with any number of copies of itself in other processes."""

    def __init__(
        self,
        service: str,
        database: Database,
        bootstrap: Sequence[str],
        *,
        partitions: int,
        owner: str,
        sink: str = "kafka",
        log: EventLog | None = None,
        prefix: str = PREFIX,
        lease_seconds: float = LEASE_SECONDS,
        returning: bool = False,
    ) -> None:
        """`returning` says that `owner` is a name that stays over a restart and is nobody else's."""
        self.service = service
        self.topic = topic_of(service, prefix)
        self.leases = Leases(database, sink, owner, partitions, lease_seconds=lease_seconds, returning=returning)
        self.published = 0
        """Events that Kafka has acknowledged, or was found to hold."""
        self.batches = 0
        self.rewinds = 0
        """How often publishing failed and began anew from the cursors."""
        self.takeovers = 0
        """Partitions taken over from another owner."""
        self.fenced = 0
        """Cursor writes that came too late and changed nothing."""
        self.refilled = 0
        """Partitions of which Kafka held less than it had acknowledged, filled again from the log."""
        self.lag = 0
        """Events of the whole log that Kafka does not have, as of the last poll; `behind` asks anew."""

        self._database = database
        self._bootstrap = list(bootstrap)
        self._log = log
        self._settled: dict[int, Lease] = {}
        self._offsets: dict[int, int] = {}
        self._after: dict[int, int] = {}
        self._grown: set[int] = set()
        self._last_shard = -1
        self._batch_bytes = BATCH_BYTES
        self._too_large: dict[int, _TooLarge] = {}
        self._trouble: Reason | None = None
        self._polled_at = self._checked_at = 0.0
        self._told: set[int] = set()
        self._woken = asyncio.Event()
        self._poked = asyncio.Event()
        self._closing = asyncio.Event()
        self._storing: asyncio.Task[None] | None = None

    @property
    def reason(self) -> Reason | None:
        """Why not everything is carried at the moment; None while all is well."""
        if self._trouble is not None:
            return self._trouble
        for shard, found in self._too_large.items():
            return Reason(
                "RECORD_TOO_LARGE",
                f"topic {self.topic} refuses the event at {self.service}:{shard}:{found.position} for its size; "
                "raise max.message.bytes of the topic, its shard waits and is tried again",
            )
        return None

    async def behind(self) -> int:
        """How many events of the whole log Kafka does not have at this moment, whoever carries them."""
        return sum(head.behind for head in await self.leases.heads())

    async def run(self) -> None:
        """Carry until closed. Nothing that happens to Kafka or PostgreSQL ends it."""
        stop_listening = self._log.listen(self._committed) if self._log is not None else None
        listening = asyncio.create_task(self._listen(), name=f"relay hears {self.service}")
        pause, longest = BACK_OFF_SECONDS
        try:
            while not self._closing.is_set():
                published = self.published
                try:
                    await self._session()
                except TooLargeError:
                    self.rewinds += 1  # what is to blame waits, nothing else has to
                    continue
                except Exception as error:  # whatever it was, the log waits to be carried
                    self._report(error)
                if self.published > published:
                    pause = BACK_OFF_SECONDS[0]
                await self._back_off(pause)
                pause = min(2 * pause, longest)
        finally:
            if stop_listening is not None:
                stop_listening()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def close(self) -> None:
        """Finish what is under way, give the leases back at once, and end `run`."""
        self._closing.set()
        self._woken.set()
        self._poked.set()

    # --- one producer's life -----------------------------------------------------------------------

    async def _session(self) -> None:
        publisher = Publisher(self._bootstrap, self.topic)
        tails = TailReader(self._bootstrap, self.topic)
        keeping: asyncio.Task[None] | None = None
        try:
            # First Kafka, then leases: who cannot reach it leaves the work to others.
            await publisher.start(self.leases.partitions)
            await tails.start()
            await self.leases.prepare()
            await self.leases.join()
            self._checked_at = 0.0
            keeping = asyncio.create_task(self._keep(), name=f"relay leases {self.service}")
            await self._carry(publisher, tails, keeping)
        finally:
            await self._end_session(publisher, tails, keeping)

    async def _end_session(self, publisher: Publisher, tails: TailReader, keeping: "asyncio.Task[None] | None") -> None:
        """Send nothing more, and only then let others."""
        tasks = [task for task in (keeping, self._storing) if task is not None]
        if keeping is not None:
            keeping.cancel()
        await asyncio.gather(publisher.close(), tails.close(), *tasks, return_exceptions=True)
        self._storing = None
        self._settled.clear()
        if keeping is not None:
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):  # then they run out
                await self.leases.release(self.leases.held, leave=True)

    async def _carry(self, publisher: Publisher, tails: TailReader, keeping: "asyncio.Task[None]") -> None:
        under_way: asyncio.Task[None] | None = None
        try:
            while not self._closing.is_set():
                if keeping.done():
                    keeping.result()
                if self._hands_change() or self._check_is_due():
                    await _done(under_way)
                    await self._change_hands(tails)
                    await self._check(tails)
                await self._poll_when_due()
                following = await self._next_round()
                await _done(under_way)
                under_way = None
                if following:
                    under_way = asyncio.create_task(self._publish(publisher, following))
                else:
                    await self._wait()
            await _done(under_way)
            await _done(self._storing)
        finally:
            if under_way is not None:
                under_way.cancel()
                await asyncio.gather(under_way, return_exceptions=True)

    # --- leases ------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew the leases, take what is free, and see who else is there."""
        while True:
            self._poked.clear()
            try:
                lost = await self.leases.renew()
                if lost:
                    logger.warning("relay lost partitions", service=self.service, partitions=sorted(lost))
                if self.leases.wanting:
                    taken = await self.leases.acquire()
                    self.takeovers += sum(lease.previous is not None for lease in taken)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._trouble = Reason("STORE_AWAY", str(error))
            else:
                if self._trouble is not None and self._trouble.code == "STORE_AWAY":
                    self._trouble = None
            if self._hands_change():
                self._woken.set()
            unrest = self.leases.wanting or self.leases.excess
            await _set_within(self._poked, HURRY_SECONDS if unrest else self.leases.lease_seconds / 3)

    def _hands_change(self) -> bool:
        return bool(self.leases.excess) or self._settled.keys() != self.leases.held or self._overtaken()

    def _overtaken(self) -> bool:
        return any(self.leases.lease(partition) != lease for partition, lease in self._settled.items())

    async def _change_hands(self, tails: TailReader) -> None:
        """Forget what is no longer ours, give back what is too much, and look at what is new before it is touched."""
        await _done(self._storing)
        if excess := self.leases.excess:
            await self.leases.release(excess)
        held = {partition: self.leases.lease(partition) for partition in self.leases.held}
        self._settled = {each: lease for each, lease in self._settled.items() if held.get(each) == lease}
        new = [lease for partition, lease in held.items() if partition not in self._settled]
        if not new:
            return
        standing = await self.leases.standing(lease.partition for lease in new)
        found: dict[Lease, Progress] = {}
        events: dict[int, tuple[int, UUID]] = {}
        for lease in new:
            tail = await self._look(tails, lease.partition, standing[lease.partition])
            if not tail.intact:
                self.refilled += 1
                logger.warning(
                    "Kafka holds less than it acknowledged; the rest is sent again from the log",
                    topic=self.topic, partition=lease.partition, offset=tail.progress.next_offset,
                )  # fmt: skip
            found[lease] = tail.progress
            events |= tail.events
        if unknown := await find_unknown(self._database, events):
            shard, position = unknown
            raise ForeignTopicError(
                f"topic {self.topic} holds an event at {self.service}:{shard}:{position} that is not in this log: it "
                "belongs to another, or to this one before it was restored. Delete the topic and the relay fills it "
                "again, or set another OKR_KAFKA_PREFIX"
            )
        await self._store(found)
        for lease, progress in found.items():
            if not self.leases.holds(lease):
                continue
            self._settled[lease.partition] = lease
            self._offsets[lease.partition] = progress.next_offset
            for shard, cursor in standing[lease.partition].cursors.items():
                self._after[shard] = progress.positions.get(shard, cursor.position)
                self.published += max(0, self._after[shard] - cursor.position)
                self._grown.add(shard)

    async def _look(self, tails: TailReader, partition: int, standing: Standing) -> Tail:
        return await tails.look(partition, standing)

    def _check_is_due(self) -> bool:
        return time.monotonic() - self._checked_at >= CHECK_SECONDS

    async def _check(self, tails: TailReader) -> None:
        """See that the topic was not emptied behind our back, also while nothing happens."""
        if not self._check_is_due():
            return
        if self._settled:
            for partition, end in (await tails.ends(self._settled)).items():
                self._see_offset(partition, end)
        self._checked_at = time.monotonic()
        self._trouble = None

    def _see_offset(self, partition: int, offset: int) -> None:
        if offset < self._offsets[partition]:
            raise PublishError(
                f"topic {self.topic}, partition {partition}: expected offset {self._offsets[partition]} or more, found "
                f"{offset}: it was emptied, or made anew"
            )

    # --- rounds ------------------------------------------------------------------------------------

    async def _next_round(self) -> Round:
        """What the shards that grew have to send, one batch a partition."""
        shards = self._due_shards()
        if not shards:
            return {}
        self._grown.difference_update(shards)  # whoever grows during the query is added again
        # Round and round: with always the lowest first, a busy shard would keep the others of its partition waiting.
        shards.sort(key=lambda shard: (shard <= self._last_shard, shard))
        pages = await read_pages(
            self._database,
            self.service,
            {shard: self._after[shard] for shard in shards},
            limit=min(ROUND_EVENTS_A_SHARD, max(1, ROUND_EVENTS // len(shards))),
            limit_bytes=ROUND_BYTES // len(shards),
        )
        following: Round = {}
        for shard, after, head, bodies, steps in pages:
            lease = self._settled[partition_of(shard, self.leases.partitions)]
            part = following.get(lease)
            if part is None:
                part = following[lease] = _Carried(RecordBatch(self._batch_bytes), {}, [])
            if taken := part.batch.take(bodies):
                self._after[shard] = part.positions[shard] = after + taken
                self._last_shard = shard
                part.steps.extend(steps[:taken])
            if after + taken < head:
                self._grown.add(shard)
        return following

    def _still_ours(self, parts: Round) -> Round:
        """What may be sent, asked last of all: this process may have been stopped anywhere before.

        A partition whose lease may have run out meanwhile is looked at again from its cursors.
        """
        for lease in parts:
            if not self.leases.holds(lease):
                self._settled.pop(lease.partition, None)
        return {lease: part for lease, part in parts.items() if lease.partition in self._settled}

    def _due_shards(self) -> list[int]:
        now = time.monotonic()
        return [
            shard
            for shard in self._grown
            if partition_of(shard, self.leases.partitions) in self._settled
            and (shard not in self._too_large or self._too_large[shard].again_at <= now)
        ]

    async def _publish(self, publisher: Publisher, parts: Round) -> None:
        parts = self._still_ours(parts)
        if not parts:
            return
        began_ns = time.time_ns()
        try:
            ends = await self._send(publisher, {lease.partition: part.batch for lease, part in parts.items()})
        except TooLargeError as error:
            self._set_aside(error, next(part for lease, part in parts.items() if lease.partition == error.partition))
            raise
        for lease, part in parts.items():
            end = ends[lease.partition]
            self._see_offset(lease.partition, end - len(part.batch))
            self._offsets[lease.partition] = end
            self.published += len(part.batch)
            self.batches += 1
            trail.published(part.steps, began_ns)
            for shard in part.positions.keys() & self._too_large.keys():
                del self._too_large[shard]
        self._trouble = None
        # The next batches are on their way while this is written; one write follows the other.
        await _done(self._storing)
        self._storing = asyncio.create_task(
            self._store({lease: Progress(ends[lease.partition], part.positions) for lease, part in parts.items()})
        )

    async def _send(self, publisher: Publisher, batches: Mapping[int, RecordBatch]) -> dict[int, int]:
        return await publisher.send(batches)

    async def _store(self, progress: Mapping[Lease, Progress]) -> None:
        fenced = await self.leases.store(progress)
        if fenced:
            self.fenced += len(fenced)
            self._poked.set()
            logger.warning(
                "relay came too late", service=self.service, partitions=sorted(lease.partition for lease in fenced)
            )

    def _set_aside(self, error: TooLargeError, part: _Carried) -> None:
        """One record too large stops its shard alone; several together go on in smaller batches."""
        if error.records > 1:
            self._batch_bytes = part.batch.size() // 2
            return
        (shard,) = part.positions
        first, longest = TOO_LARGE_SECONDS
        before = self._too_large.get(shard)
        wait = first if before is None else min(2 * before.wait_seconds, longest)
        self._too_large[shard] = _TooLarge(part.positions[shard], wait, time.monotonic() + wait)
        logger.critical("Kafka refuses an event for its size", topic=self.topic, shard=shard,
                        position=part.positions[shard], way_out="raise max.message.bytes of the topic")  # fmt: skip

    # --- waiting -----------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Until something grows or changes hands, or it is time to look."""
        self._woken.clear()
        if not self._due_shards() and not self._hands_change() and not self._closing.is_set():
            await _set_within(self._woken, POLL_SECONDS)

    async def _poll_when_due(self) -> None:
        now = time.monotonic()
        if now - self._polled_at < POLL_SECONDS:
            return
        heads = await self.leases.heads()
        self.lag = sum(head.behind for head in heads)
        self._grown.update(head.shard for head in heads if head.position > self._after.get(head.shard, head.position))
        self._grown.update(self._too_large)
        self._polled_at = time.monotonic()

    def _committed(self, shards: set[int]) -> None:
        self._told |= shards
        self._grown |= shards
        self._woken.set()

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        """A commit of any process, ours included, of which we know already; or relays that come and go."""
        if channel == self.leases.channel:
            self._poked.set()
            return
        shards = {int(shard) for shard in str(payload).split(",") if shard}
        if news := shards - self._told:
            self._grown |= news
            self._woken.set()
        self._told -= shards

    async def _listen(self) -> None:
        """Hear other processes; a broken connection costs the poll's quarter of a second."""
        while True:
            with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError):
                lost = asyncio.Event()
                connection = await self._database.connect()
                try:
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(channel_of(self._database.schema), self._heard)
                    await connection.add_listener(self.leases.channel, self._heard)
                    await lost.wait()
                finally:
                    await connection.close(timeout=1)
            await asyncio.sleep(POLL_SECONDS)

    # --- trouble -----------------------------------------------------------------------------------

    def _report(self, error: Exception) -> None:
        if isinstance(error, PublishError):
            self.rewinds += 1
            code = "KAFKA_AWAY"
        elif isinstance(error, ForeignTopicError):
            code = "TOPIC_OF_ANOTHER_LOG"
        elif is_transient(error):
            code = "STORE_AWAY"
        else:
            code = "RELAY_FAILED"
            logger.exception("relay failed", service=self.service)
        if self._trouble is None or self._trouble.code != code:
            write = logger.critical if code == "TOPIC_OF_ANOTHER_LOG" else logger.warning
            write("relay begins anew", service=self.service, reason=code, error=str(error))
        self._trouble = Reason(code, str(error))

    async def _back_off(self, seconds: float) -> None:
        # Spread a little, so that all relays do not come back in the same instant.
        await _set_within(self._closing, seconds * random.uniform(0.8, 1.2))
        with contextlib.suppress(StoreUnavailableError, asyncpg.PostgresError):
            self.lag = await self.behind()


async def _done(task: "asyncio.Task[None] | None") -> None:
    """Wait for what is under way, if anything is; its error is ours."""
    if task is not None:
        await task


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
