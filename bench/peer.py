"""A whole domain command, from validation to commit, against the library `eventsourcing` doing the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID, uuid4

from bench.facts import ACTOR, EPOCH, NOTE, WORDS, named, organization
from bench.harness import Case, Meter, Rounds, Work, drive, quantiles
from bench.library import CheckIns, application
from bench.stage import running_log, schema
from okr_checkins.commands import OpenCheckIns, RecordCheckIn
from okr_checkins.decider import check_ins
from okr_eventstore.appender import uuid7
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.model import CommandContext, Done

IN_FLIGHT = 64
THREADS = (1, 8)
ORGANIZATIONS = 64
PEER_KEY_RESULTS = 400
LONG_AGO = date(2020, 1, 1)
LATER = EPOCH + timedelta(days=3650)
OURS = f"ours, {IN_FLIGHT} in flight"


async def measure(meter: Meter, dsn: str) -> Rounds:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(schema(dsn, "checkins"))
        log = await stack.enter_async_context(running_log("checkins", database))
        executor = CommandExecutor(log)
        ours = KeyResults("peer", meter.scale.streams)
        await asyncio.gather(*(ours.open(executor, number) for number in range(meter.scale.streams)))
        cases = [Case(OURS, lambda: drive(meter.scale.seconds, IN_FLIGHT, ours.recording(executor, IN_FLIGHT)))]

        await database.execute("CREATE SCHEMA peer")
        theirs = []
        for cached in (False, True):
            app = stack.enter_context(application(dsn, "peer", cached=cached))
            ids = await asyncio.to_thread(_open, app, min(PEER_KEY_RESULTS, meter.scale.streams))
            for threads in THREADS:
                name = f"eventsourcing, {'cached' if cached else 'loaded'}, {threads} threads"
                theirs.append(name)
                cases.append(Case(name, _peer(app, ids, threads, meter.scale.seconds)))
        found = await meter.rounds("Peer: a check-in from validation to commit", cases)
    best = found.best_of(theirs)
    found.compare("domain command / eventsourcing", OURS, best, ">= 20", unit="commands/s")
    return found


class KeyResults:
    """Open key results of several organisations, and callers that check in to their own."""

    def __init__(self, prefix: str, key_results: int, organizations: int = ORGANIZATIONS) -> None:
        self.ids = [named(f"{prefix} {number}") for number in range(key_results)]
        self._organizations = [organization(number) for number in range(organizations)]

    def organization(self, number: int) -> UUID:
        return self._organizations[number % len(self._organizations)]

    async def open(self, executor: CommandExecutor, number: int) -> None:
        key_result_id = self.ids[number]
        command = OpenCheckIns(key_result_id=key_result_id, objective_id=named("objective"), starts_on=LONG_AGO)
        await executor.execute(check_ins, check_ins.stream(key_result_id), command, self._context(number))

    def recording(self, executor: CommandExecutor, callers: int) -> Callable[[int], Awaitable[bool]]:
        """For callers that each go through key results of their own."""
        turns = [count(caller, callers) for caller in range(callers)]
        ask = self.asking(executor)

        async def attempt(caller: int) -> bool:
            await ask(next(turns[caller]))
            return True

        return attempt

    def asking(self, executor: CommandExecutor) -> Callable[[int], Awaitable[Done]]:
        """Carries out the n-th check-in, to the n-th key result and over again."""
        key_results = len(self.ids)

        async def ask(turn: int) -> Done:
            number = turn % key_results
            key_result_id = self.ids[number]
            command = RecordCheckIn(
                check_in_id=uuid7(), key_result_id=key_result_id, value=Decimal(turn % 1000) / 10,
                confidence=Decimal("0.7"), note=NOTE, occurred_at=EPOCH + timedelta(seconds=turn), at=LATER,
            )  # fmt: skip
            return await executor.execute(check_ins, check_ins.stream(key_result_id), command, self._context(number))

        return ask

    def _context(self, number: int) -> CommandContext:
        command_id = uuid7()
        return CommandContext(self.organization(number), command_id, command_id.bytes, ACTOR, command_id)


def _open(app: CheckIns, key_results: int) -> list[UUID]:
    return [app.open(named("objective"), EPOCH) for _ in range(key_results)]


def _peer(app: CheckIns, ids: list[UUID], threads: int, seconds: float) -> Callable[[], Awaitable[Work]]:
    """Each thread checks in to key results of its own, one after the other."""
    turns = count()

    def work(thread: int) -> list[float]:
        mine, latencies = ids[thread::threads], []
        deadline = time.perf_counter() + seconds
        while (at := time.perf_counter()) < deadline:
            turn = next(turns)
            app.record(
                mine[turn % len(mine)], check_in_id=uuid4(), value=Decimal(turn % 1000) / 10,
                confidence=Decimal("0.7"), note=WORDS, occurred_at=EPOCH + timedelta(seconds=turn), at=LATER,
            )  # fmt: skip
            latencies.append(time.perf_counter() - at)
        return latencies

    async def run() -> Work:
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(*(loop.run_in_executor(pool, work, thread) for thread in range(threads)))
        latencies = [latency for each in found for latency in each]
        return Work(len(latencies), time.perf_counter() - started, quantiles(latencies))

    return run
