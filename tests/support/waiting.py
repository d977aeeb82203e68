"""The one place where tests let time pass: until something is so, or until the next beat of a load.

Nothing here waits for a length of time and hopes. A condition is looked at again after a moment, and a
load that keeps its pace begins each command when it is due.
"""

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.01


async def eventually(true: Callable[[], object], what: str = "") -> None:
    """Wait until something this process can see, and no event tells of, is so."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not true():
                await look_again()
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_SECONDS:.0f} seconds: {what or true}") from None


async def look_again() -> None:
    """A moment, between two looks at what has no event of its own."""
    await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def due(moment: float) -> None:
    """Until a moment of the loop's clock: the next beat of an open loop, which is late rather than skipped."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
