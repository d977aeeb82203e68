"""What is done to a running store, drawn from a seed and timed by acknowledgements."""

import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from okr_chassis.storage.postgres import EmbeddedPostgres
from tests.chaos.run import PATIENCE_SECONDS, Beat, Run
from tests.support.proxy import Proxy

BETWEEN = (40, 250)
"""How many acknowledgements lie between two faults, at least and at most."""

Fault = Callable[[], Awaitable[str]]


class Faults:
    """Breaks the network and PostgreSQL in turn, and sees that acknowledgements come again each time."""

    def __init__(self, run: Run, beat: Beat, proxy: Proxy, postgres: EmbeddedPostgres, data_dir: Path) -> None:
        self._run = run
        self._beat = beat
        self._proxy = proxy
        self._postgres = postgres
        self._cluster = data_dir / "postgres"
        self._choices: random.Random = run.choices("faults")
        self._weighted: list[tuple[Fault, int]] = [
            (self._latency, 3),
            (self._cut, 3),
            (self._cut_in_mid_append, 4),
            (self._lose_answers, 5),
            (self._slow_close, 2),
            (self._half_open, 2),
            (self._reset, 3),
            (self._refuse, 2),
            (self._end_a_backend, 5),
            (self._kill_a_backend, 2),
            (self._kill_the_postmaster, 2),
            (self._kill_postgresql, 1),
        ]

    async def strike(self) -> None:
        """Wait for some acknowledgements, then do one thing."""
        await self._beat.reach(self._beat.count + self._choices.randint(*BETWEEN))
        self._proxy.heal()
        kinds, weights = zip(*self._weighted, strict=True)
        (fault,) = self._choices.choices(kinds, weights)
        self._run.note(await fault())

    # --- the network -----------------------------------------------------------------------------

    async def _latency(self) -> str:
        self._proxy.latency_seconds = self._choices.uniform(0.001, 0.02)
        return f"latency {self._proxy.latency_seconds * 1000:.0f} ms"

    async def _cut(self) -> str:
        self._proxy.cut()
        return "cut"

    async def _cut_in_mid_append(self) -> str:
        after = self._choices.randint(1, 6000)
        self._proxy.cut_after(after)
        return f"cut after {after} bytes"

    async def _lose_answers(self) -> str:
        self._proxy.lose_answers()
        return "lost answers"

    async def _slow_close(self) -> str:
        self._proxy.slow_close_seconds = self._choices.uniform(0.05, 0.5)
        return f"slow close, {await self._end_a_backend()}"

    async def _half_open(self) -> str:
        self._proxy.swallow()
        return "half-open"

    async def _reset(self) -> str:
        self._proxy.reset()
        return "reset"

    async def _refuse(self) -> str:
        """Nobody gets through until a number of attempts have failed."""
        self._proxy.refuse(self._choices.randint(1, 6))
        self._proxy.cut()
        return "refused"

    # --- PostgreSQL ------------------------------------------------------------------------------

    async def _end_a_backend(self) -> str:
        backends = await self._backends()
        if backends:
            await self._ask("SELECT pg_terminate_backend($1::int)", self._choices.choice(backends))
        return "backend ended"

    async def _kill_a_backend(self) -> str:
        """PostgreSQL then takes all others down as well and recovers."""
        backends = await self._backends()
        if backends:
            _kill(self._choices.choice(backends))
        return "kill -9 of a backend"

    async def _kill_the_postmaster(self) -> str:
        with contextlib.suppress(OSError, ValueError, IndexError):
            _kill(int((self._cluster / "postmaster.pid").read_text().splitlines()[0]))
        return "kill -9 of the postmaster"

    async def _kill_postgresql(self) -> str:
        for pid in processes_in(self._cluster):
            _kill(pid)
        return "kill -9 of PostgreSQL as a whole"

    async def _backends(self) -> list[int]:
        """Who serves the store, by pid."""
        rows = await self._ask("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'okr %' ORDER BY pid")
        return [row["pid"] for row in rows]

    async def _ask(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Past the proxy. A server that recovers answers nothing, and then there is nobody to end."""
        try:
            connection = await asyncpg.connect(self._postgres.dsn, timeout=PATIENCE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
            return []
        try:
            return await connection.fetch(sql, *args)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return []
        finally:
            connection.terminate()


def processes_in(cluster: Path) -> list[int]:
    """The processes that work in a cluster's directory, and so are its server's."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == cluster:
                found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
