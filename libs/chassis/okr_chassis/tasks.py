"""What a process does for as long as it lives, beside answering calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from okr_chassis.telemetry.running import in_service

log = logging.getLogger(__name__)

JOB_PAUSE_SECONDS = 1.0
"""Before a job that failed is started again."""


class Tasks:
    """Keeps tasks until they end, or until all are cancelled. One that ends by an error is told of, loudly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def keep_job(self, service: str, job: Callable[[], Awaitable[None]]) -> None:
        self.keep(_work(service, job), f"{service} job")

    async def cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s ended by an error nobody foresaw", task.get_name(), exc_info=task.exception())


async def _work(service: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run a job; after an error again, since what failed was most likely a neighbour."""
    in_service(service)
    while True:
        try:
            await job()
            return
        except Exception as error:
            log.error("a job of %s failed and starts again", service, exc_info=error)
        await asyncio.sleep(JOB_PAUSE_SECONDS)
