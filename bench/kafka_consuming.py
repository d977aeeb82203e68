"""A consumer in a process of its own, as services have them. Started by kafka/members.py.

Tells on stdout, a line each time, how many shards are its own, and applies nothing before a line comes on stdin. Ends
when stdin does.
"""

import asyncio
import json
import logging
import sys
from typing import NamedTuple

import uvloop

from bench.kafka.stage import LogOwner
from bench.stage import codec_of
from okr_chassis.kafka.source import KafkaSource
from okr_chassis.memory import settle_memory
from okr_eventstore.database import Database
from okr_eventstore.model import ShardBatch
from okr_eventstore.runner import Runner, Subscription
from okr_insights.read_model import check_ins

SESSION_MS = 6000


class Task(NamedTuple):
    """Where everything is."""

    dsn: str
    log: str
    """The schema of the log; its service has the same name."""
    schema: str
    """Where the tables of the projection are."""
    bootstrap: list[str]
    prefix: str
    group: str
    instance: str


class _Gated(KafkaSource):
    """Hands nothing over before everybody is there."""

    opened = False

    async def fetch(self, timeout_seconds: float) -> list[ShardBatch]:
        if self.opened:
            return await super().fetch(timeout_seconds)
        await asyncio.sleep(0.02)
        return []

    async def assignments(self) -> frozenset[int]:
        before = len(self._told)
        found = await super().assignments()
        if len(found) != before:
            print(len(found), flush=True)
        return found


async def consume(task: Task) -> None:
    log = await Database.open(task.dsn, task.log)
    reading = await Database.open(task.dsn, task.schema)
    source = _Gated(
        task.log, task.bootstrap, LogOwner(log), codec_of(task.log), group=task.group, instance=task.instance,
        prefix=task.prefix, session_ms=SESSION_MS,
    )  # fmt: skip
    runner = Runner(Subscription(check_ins.name, to=task.log, projection=check_ins), reading, source)
    running = asyncio.create_task(runner.run())
    await asyncio.to_thread(sys.stdin.readline)
    source.opened = True
    await asyncio.to_thread(sys.stdin.read)
    await runner.close()
    await running
    await log.close()
    await reading.close()


if __name__ == "__main__":
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    settle_memory()
    uvloop.run(consume(Task(*json.loads(sys.argv[1]))))
