"""A process is asked to end: by Ctrl-C, by a supervisor, by a closed terminal."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Serve = Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]]
"""Given `asked`, which it waits for once all is up, and `serves`, which it sets then."""


async def until_asked(serve: Serve, too_early: Callable[[], None] = lambda: None) -> None:
    """Serve until somebody asks for the end, then let `serve` take everything down in order.

    Signals are caught by the loop: a process that a script starts in the background has SIGINT ignored
    from birth, and no KeyboardInterrupt would ever come. They are caught until all is down: a second Ctrl-C, or
    a supervisor's SIGTERM after that of the terminal, must not cut short what is being finished. One that comes
    before everything is up cancels the start, which takes down what is up so far, and `too_early` is told.
    """
    loop = asyncio.get_running_loop()
    asked, serves = asyncio.Event(), asyncio.Event()
    for each in SIGNALS:
        loop.add_signal_handler(each, asked.set)
    work = asyncio.create_task(serve(asked, serves))
    watch = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if not serves.is_set():
            if not work.done():
                too_early()
            work.cancel()
        await work
    finally:
        watch.cancel()
        for each in SIGNALS:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(each)
