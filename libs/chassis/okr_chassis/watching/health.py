"""Whether a process lives and whether it is ready, with a reason for each answer.

*Live* means that restarting would not help: the loop turns, consumers move, the writers of the logs are there. No
neighbour counts, because killing us would not mend it. *Ready* means that commands are taken now: everything is
started, PostgreSQL answers, and we are not leaving. Kafka and halted consumers are told of and do not count: while
Kafka is away commands are accepted all the same, and their events go out when it is back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from okr_chassis.service import Running
from okr_chassis.watching.probes import Answer
from okr_eventstore.database import Database

STILL_SECONDS = 300.0
"""A consumer's loop comes round every few seconds; one batch of slow reactions may take minutes and is no fault."""
ANSWER_SECONDS = 2.0
"""How long PostgreSQL may take to answer a probe."""
KEPT_SECONDS = 0.5
"""PostgreSQL's answers are good for so long, however many ask."""
LOOK_SECONDS = 2.0
"""How often health over gRPC is brought up to date."""

log = logging.getLogger(__name__)


class Check(NamedTuple):
    """One thing that was looked at. Where `counts` is false, it is told of and decides nothing."""

    name: str
    ok: bool
    reason: str = ""
    counts: bool = True


class Verdict(NamedTuple):
    good: bool
    checks: list[Check]


Extra = Callable[[], Iterable[Check]]


class Health:
    """What probes are told. `services` fills as the process starts; `extra` adds what somebody else can tell."""

    def __init__(self, services: Mapping[str, Running], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.extra: list[Extra] = []
        self._services = services
        self._monotonic = monotonic
        self._step = "starting"
        self._leaving = False
        self._kept: tuple[float, list[Check]] | None = None
        self._looking: asyncio.Task[list[Check]] | None = None

    def steps(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """`say`, heard here too: what the start is at, for whoever asks why it takes so long."""

        def said(step: str) -> None:
            self._step = step
            say(step)

        return said

    def started(self) -> None:
        self._step, self._kept = "", None  # the services are there by now

    def leave(self) -> None:
        """Not ready from now on: whoever sends calls should send them elsewhere, before we take none any more."""
        self._leaving = True

    # --- what is looked at -----------------------------------------------------------------------

    def live(self) -> Verdict:
        checks = [Check("event loop", True, "it answered this"), *self._consumers_move(), *self._writers()]
        return _verdict(checks)

    async def ready(self) -> Verdict:
        """Asks PostgreSQL, once for all who ask at the same time."""
        databases = await self._databases()
        return _verdict(
            [
                Check("started", not self._step, self._step or "everything is up"),
                Check("staying", not self._leaving, "it stops; send calls elsewhere" if self._leaving else "it stays"),
                *databases,
                *self._writers(),
                *self._consumers_work(),
                *(check for extra in self.extra for check in extra()),
            ]
        )

    async def faults(self) -> list[str]:
        """Why this process is not ready, a line each; nothing when it is."""
        return [f"{each.name}: {each.reason}" for each in _faults(await self.ready())]

    async def _databases(self) -> list[Check]:
        kept = self._kept
        if kept is not None and self._monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> list[Check]:
        databases = {name: running.host.database for name, running in self._services.items()}
        checks = list(await asyncio.gather(*(_answers(name, database) for name, database in databases.items())))
        self._kept = (self._monotonic(), checks)
        return checks

    def _writers(self) -> Iterable[Check]:
        for name, running in self._services.items():
            if running.host.log is not None:
                runs = running.host.log.appender.is_running
                yield Check(f"log {name}", runs, "takes commands" if runs else "nobody writes it any more")

    def _consumers_move(self) -> Iterable[Check]:
        for name, running in self._services.items():
            for runner in running.runners:
                still, subject = runner.still_seconds, f"consumer {name} {runner.name}"
                if still is not None:
                    yield Check(subject, still < STILL_SECONDS, f"its loop came round {still:.0f} s ago")
                elif runner.halted:
                    yield Check(subject, True, "has halted; a restart alone mends nothing", counts=False)
                elif self._step or self._leaving:
                    yield Check(subject, True, "does not run now", counts=False)
                else:
                    yield Check(subject, False, "has ended, and nobody told it to")

    def _consumers_work(self) -> Iterable[Check]:
        for name, running in self._services.items():
            for runner in running.runners:
                faults = []
                if runner.halted:
                    faults.append("has halted")
                elif runner.reason:
                    faults.append("waits for something that is away")
                if runner.parked_streams:
                    faults.append(f"has set {runner.parked_streams} streams aside")
                why = f"{' and '.join(faults)}; `okr status` tells more" if faults else "applies events"
                yield Check(f"consumer {name} {runner.name}", not faults, why, counts=False)

    # --- telling ---------------------------------------------------------------------------------

    async def live_page(self) -> Answer:
        return _answer(self.live(), "live")

    async def ready_page(self) -> Answer:
        return _answer(await self.ready(), "ready")

    async def watch(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Say whenever readiness changes, until cancelled; for health over gRPC."""
        told: bool | None = None
        while not self._leaving:
            verdict = await self.ready()
            if verdict.good != told:
                if not verdict.good:
                    log.warning("not ready: %s", "; ".join(f"{each.name}: {each.reason}" for each in _faults(verdict)))
                elif told is not None:
                    log.warning("ready again")
                told = verdict.good
                await tell(told)
            await asyncio.sleep(LOOK_SECONDS)


async def _answers(name: str, database: Database) -> Check:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await database.fetchval("SELECT 1")
    except Exception as error:  # whatever it is, the probe is to learn of it
        why = f"no answer within {ANSWER_SECONDS:.0f} s" if isinstance(error, TimeoutError) else type(error).__name__
        return Check(f"database {name}", False, why)
    return Check(f"database {name}", True, "answers")


def _verdict(checks: Iterable[Check]) -> Verdict:
    found = list(checks)
    return Verdict(all(check.ok for check in found if check.counts), found)


def _faults(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.counts and not check.ok]


def _answer(verdict: Verdict, word: str) -> Answer:
    """200 or 503, and why. Anybody may ask, so reasons name services and consumers, and never what errors quote."""
    checks = [
        {"name": each.name, "ok": each.ok, "counts": each.counts, "reason": each.reason} for each in verdict.checks
    ]
    status = word if verdict.good else f"not {word}"
    body = msgspec.json.format(msgspec.json.encode({"status": status, "checks": checks}), indent=2)
    return Answer(200 if verdict.good else 503, "application/json", body + b"\n")
