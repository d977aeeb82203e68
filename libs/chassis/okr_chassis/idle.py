"""When everything is done: what tests and tellers of stories wait for."""

import asyncio
from collections.abc import Mapping, Sequence

from okr_eventstore.log import EventLog
from okr_eventstore.model import Head
from okr_eventstore.runner import Runner


class IdleError(Exception):
    """The platform did not come to rest: a consumer halted, or events keep causing events."""


async def wait_idle(
    logs: Mapping[str, EventLog], runners: Sequence[tuple[str, Runner]], timeout_seconds: float
) -> None:
    """Wait until every consumer has applied every event of these logs, those caused by reactions included.

    Raises IdleError naming the consumer that halted or stays behind.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    heads = await _heads(logs)
    while True:
        for name, runner in runners:
            for shard, head in heads.get(runner.subscription.to, {}).items():
                if not await runner.caught_up(shard, head.position, max(0.0, deadline - loop.time())):
                    why = runner.reason or f"not there after {timeout_seconds:.0f} s"
                    where = f"{runner.subscription.to}:{shard}:{head.epoch}:{head.position}"
                    raise IdleError(f"{name}: {runner.name} has not reached {where} ({why})")
        again = await _heads(logs)
        if again == heads:
            return
        heads = again


async def _heads(logs: Mapping[str, EventLog]) -> Mapping[str, Mapping[int, Head]]:
    return {name: await event_log.heads() for name, event_log in logs.items()}
