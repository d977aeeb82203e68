"""What is done to a service over Kafka, drawn from a seed: one fault a round, all kinds before any comes again."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from tests.bus.buses import SESSION_MS
from tests.chaos.kafka.consumer_process import MOMENTS
from tests.chaos.kafka.hostile import hostile, swapped
from tests.chaos.kafka.site import PARTITIONS, Site, one_of
from tests.chaos.run import PATIENCE_SECONDS, Beat, Run

BETWEEN = (10, 60)
"""How many acknowledgements lie before a fault, at least and at most."""
REDELIVERED = 0.2
COME_AND_GO_SECONDS = 2.0
LONG_AWAY_SECONDS = 30.0
"""Whoever has a broker away for longer has time for a long silence as well."""
TOPIC = "garden"

Fault = Callable[[], Awaitable[str]]


class Faults:
    """Breaks one thing at a time, and mends what a supervisor would mend: whatever was killed is started again."""

    def __init__(self, run: Run, beat: Beat, site: Site, data_dir: Path, *, away_seconds: float, comings: int) -> None:
        self._beat = beat
        self._site = site
        self._cluster = data_dir / "postgres"
        self._choices: random.Random = run.choices("faults")
        self._away_seconds = away_seconds
        self._comings = comings
        self._deck: list[Fault] = []

    @property
    def kinds(self) -> list[Fault]:
        return [
            self._kill_a_relay,
            self._freeze_a_relay,
            self._kill_a_consumer,
            self._freeze_a_consumer,
            self._double_a_consumer,
            self._come_and_go,
            self._kill_the_broker,
            self._take_the_broker_away,
            self._silence_the_broker,
            self._stop_postgresql,
            self._redeliver,
            self._replay,
            self._delete_the_topic,
            self._shuffle_the_topic,
            self._cut_the_topic,
            self._rebuild,
        ]

    async def strike(self) -> str:
        """Wait for some acknowledgements, then do one thing."""
        await self._some_more()
        if not self._deck:
            self._deck = self.kinds
            self._choices.shuffle(self._deck)
        fault = self._deck.pop()
        try:
            return await fault()
        except BaseException as error:
            error.add_note(f"in the midst of{fault.__name__.replace('_', ' ')}")
            raise

    async def _some_more(self) -> None:
        await self._beat.reach(self._beat.count + self._choices.randint(*BETWEEN))

    async def _for_seconds(self, seconds: float) -> None:
        """Commands are taken all the while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await self._beat.reach(self._beat.count + 1)

    # --- relays --------------------------------------------------------------------------------------

    async def _kill_a_relay(self) -> str:
        await self._site.relays.pop(one_of(self._choices, self._site.relays)).kill()
        await self._some_more()
        await self._site.add_relay()
        return "kill -9 of a relay"

    async def _freeze_a_relay(self) -> str:
        """Past its lease, until others have all it had. It wakes in the belief that no time went by."""
        owner = one_of(self._choices, self._site.relays)
        self._site.relays[owner].stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (
                sum([await self._site.leases_of(other) for other in self._site.relays if other != owner]) < PARTITIONS
            ):
                pass  # asking takes long enough
        await self._some_more()
        self._site.relays[owner].wake()
        return "SIGSTOP of a relay past its leases"

    # --- consumers -----------------------------------------------------------------------------------

    async def _kill_a_consumer(self) -> str:
        moment, again = self._choices.choice(MOMENTS), self._choices.random() < 0.5
        victim = one_of(self._choices, self._site.consumers)
        await self._site.consumers[victim].hold(moment)
        await self._site.consumers.pop(victim).kill()
        await self._site.add_consumer(victim if again else None)
        return f"kill -9 of a consumer {moment} a batch, {'the same' if again else 'another'} in its place"

    async def _freeze_a_consumer(self) -> str:
        """In the midst of a batch, until Kafka has given its partitions to others and they have gone on."""
        moment = self._choices.choice(MOMENTS)
        victim = one_of(self._choices, self._site.consumers)
        await self._site.consumers[victim].hold(moment)
        await self._for_seconds(SESSION_MS / 1000 + 1)
        self._site.consumers[victim].wake()
        return f"SIGSTOP of a consumer {moment} a batch, past its session"

    async def _double_a_consumer(self) -> str:
        """It sleeps, somebody starts another under its name, and it wakes: for a while both believe to be the one."""
        name = one_of(self._choices, self._site.consumers)
        elder = self._site.consumers.pop(name)
        await elder.hold(self._choices.choice(MOMENTS))
        await self._site.add_consumer(name)
        await self._some_more()
        elder.wake()
        await self._for_seconds(COME_AND_GO_SECONDS)
        await elder.kill()
        return "two consumers of one name"

    async def _come_and_go(self) -> str:
        """All are slower than Kafka waits for a sign of life while others come and go."""
        for consumer in self._site.consumers.values():
            await consumer.be_slow(1)
        for _ in range(self._comings):
            newcomer = await self._site.add_consumer()
            await self._site.consumers[newcomer].be_slow(1)
            await self._for_seconds(COME_AND_GO_SECONDS)
            if self._choices.random() < 0.5:
                leaver, orderly = newcomer, self._choices.random() < 0.5
            else:
                leaver, orderly = one_of(self._choices, self._site.consumers), False
            if orderly:
                await self._site.consumers.pop(leaver).leave()
            else:
                await self._site.consumers.pop(leaver).kill()
        return f"{self._comings} consumers came and went, all slower than their sessions"

    # --- Kafka ---------------------------------------------------------------------------------------

    async def _kill_the_broker(self) -> str:
        await self._site.broker.kill()
        await self._site.broker.start()
        return "kill -9 of the broker"

    async def _take_the_broker_away(self) -> str:
        await self._site.broker.kill()
        before = self._beat.count
        await self._for_seconds(self._away_seconds)
        taken = self._beat.count - before
        await self._site.broker.start()
        return f"no broker for {self._away_seconds:.0f} s, {taken} commands taken meanwhile"

    async def _silence_the_broker(self) -> str:
        """Its connections stay. When it wakes it finds old questions, and members that it heard nothing of."""
        seconds = self._choices.uniform(1, 3 * SESSION_MS / 1000 if self._away_seconds > LONG_AWAY_SECONDS else 3)
        self._site.broker.pause()
        try:
            await self._for_seconds(seconds)
        finally:
            self._site.broker.resume()
        return f"the broker silent for {seconds:.0f} s"

    async def _redeliver(self) -> str:
        """A fifth of all records once more, neighbours swapped."""
        async with hostile(self._site.topics) as producer:
            records = await producer.records()
            again = [record for record in records if self._choices.random() < REDELIVERED]
            await producer.write(swapped(again, self._choices))
        return f"{len(again)} of {len(records)} records written again, in another order"

    async def _replay(self) -> str:
        async with hostile(self._site.topics) as producer:
            records = await producer.records()
            await producer.write(records)
        return f"all {len(records)} records written again"

    async def _delete_the_topic(self) -> str:
        await self._make_the_topic_anew()
        return "the topic deleted and made anew"

    async def _shuffle_the_topic(self) -> str:
        """Most of what the topic held comes back in another order, beside what the relays send again."""
        async with hostile(self._site.topics) as producer:
            records = await producer.records()
            await self._make_the_topic_anew()
            left = [record for record in records if self._choices.random() > REDELIVERED]
            await producer.write(swapped(left, self._choices))
        return f"the topic made anew, {len(left)} of {len(records)} records back in another order"

    async def _make_the_topic_anew(self) -> None:
        await self._site.topics.delete()
        await self._some_more()
        await self._site.topics.provision(TOPIC, partitions=PARTITIONS)

    async def _cut_the_topic(self) -> str:
        """What lies before some offset is deleted, as a retention that nobody wanted would."""
        async with hostile(self._site.topics) as producer:
            ends = {TopicPartition(each.topic, each.partition): each.offset + 1 for each in await producer.records()}
        cuts = {at: RecordsToDelete(before_offset=self._choices.randint(0, end)) for at, end in ends.items()}
        if cuts:
            async with self._site.topics.admin() as admin:
                await admin.delete_records(cuts)
        return f"{len(cuts)} partitions cut at some offset, what lay before it deleted"

    async def _rebuild(self) -> str:
        """From the topic, whatever state it is in, while consumers go on with the old rows and then with the new."""
        rebuilt = await self._site.rebuild()
        return f"generation {rebuilt.generation} built from the topic"

    # --- PostgreSQL ----------------------------------------------------------------------------------

    async def _stop_postgresql(self) -> str:
        """As `pg_ctl stop -m immediate` does. What consumers wrote last is lost, and what was acknowledged is not."""
        restarted = self._site.postgres.restarted
        restarted.clear()
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int((self._cluster / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await restarted.wait()
        return "PostgreSQL stopped at once"
