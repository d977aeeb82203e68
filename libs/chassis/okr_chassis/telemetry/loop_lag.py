"""How late the event loop is: what is ready to run waits for so long, and so does every call."""

import asyncio
from time import monotonic

TICK_SECONDS = 0.25
WINDOW_SECONDS = 15.0
"""The worst of the last one to two windows is told, so that a scraper who comes by now and then misses nothing."""


class LoopLag:
    """Measures how much later than asked for the loop comes round. Costs four wake-ups a second."""

    def __init__(self) -> None:
        self._now = self._before = 0.0
        self._since = monotonic()

    @property
    def seconds(self) -> float:
        """The worst delay of the last 15 to 30 seconds."""
        return max(self._now, self._before)

    async def watch(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.was_late(loop.time() - due, monotonic())

    def was_late(self, seconds: float, at: float) -> None:
        if at - self._since >= WINDOW_SECONDS:
            self._before, self._now, self._since = self._now, 0.0, at
        self._now = max(self._now, seconds)
