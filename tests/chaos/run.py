"""A run's seed and length, and the beat by which its faults are timed."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

RUNS = 3
"""The runs that share CHAOS_SECONDS: the store's, the platform's and that over Kafka."""
PATIENCE_SECONDS = 40.0
"""How long anything may take to come back after a fault before the run says that it hangs."""


class Run:
    """One seeded run. Everybody who decides anything draws from a source of their own, so that the same
    seed makes each of them decide the same again, whatever the machine interleaves."""

    def __init__(self, name: str, seconds: float, again: str = "") -> None:
        """`seconds` is the share within the ordinary tests; CHAOS_SECONDS asks for more, CHAOS_SEED for a replay.

        `again` is the command that repeats the run, where it is not `make chaos` for as many seconds.
        """
        self.seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
        asked = os.environ.get("CHAOS_SECONDS")
        self.seconds = float(asked) / RUNS if asked else seconds
        self.name = name
        self._again = again or f"CHAOS_SECONDS={self.seconds * RUNS:g} make chaos"
        self.happened: list[str] = []
        """The faults so far, in words."""

    def choices(self, who: str) -> random.Random:
        return random.Random(f"{self.seed}:{self.name}:{who}")

    def note(self, fault: str) -> None:
        self.happened.append(fault)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say the seed before anything happens; when it fails say it again, with what led there."""
        replay = f"CHAOS_SEED={self.seed} {self._again}"
        print(f"{self.name}: replay with {replay}", flush=True)
        try:
            yield
        except BaseException as error:
            error.add_note(f"replay with {replay}; faults: {' · '.join(self.happened) or 'none'}")
            raise


class Beat:
    """Counts acknowledgements; faults wait for counts, never for time."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_silence_seconds = 0.0
        self._last = time.monotonic()
        self._grown = asyncio.Event()

    def tick(self) -> None:
        now = time.monotonic()
        self.longest_silence_seconds = max(self.longest_silence_seconds, now - self._last)
        self._last = now
        self.count += 1
        self._grown.set()

    async def reach(self, count: int) -> None:
        """Raises AssertionError when nothing is acknowledged any more."""
        while self.count < count:
            self._grown.clear()
            before = self.count
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._grown.wait()
            except TimeoutError:
                raise AssertionError(f"nothing was acknowledged for {PATIENCE_SECONDS:.0f} s after {before}") from None
