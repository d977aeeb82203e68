"""How everything here is measured: both sides in turn in one run, quiet rounds only, CPU beside wall time.

A round runs every case once, in alternating order. What is compared is compared inside a round, and
the median over the rounds is the figure: whatever slows the machine down slows both sides down.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from msgspec import Struct
from msgspec import json as msgspec_json

QUIET_CORES = 0.3
"""A round in which other processes used more than this is repeated, as often as the scale allows."""
PROBES = 50
TOLD = ">= 0"
"""The goal of what is only reported."""
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_US = 1_000_000


@dataclass(frozen=True)
class Scale:
    """How much of everything. The figures are those of FULL; TINY only shows that all of it runs."""

    rounds: int
    spare_rounds: int
    """How many noisy rounds may be repeated in all, for one group of figures."""
    patience_seconds: float
    """After so long a group's noisy rounds are repeated no more."""
    seconds: float
    """How long a case that has no end of its own runs in a round."""
    streams: int
    rebuilt_events: int
    peer_events: int
    """How many events the peer's projection is given in a round; its rate is compared."""
    rate: int
    """Commands a second in the open loop."""
    board_key_results: int
    long_check_ins: int
    short_check_ins: int
    long_stream: int
    reads: int
    bus_events: int
    """About so many are carried, consumed and read anew over Kafka."""
    bus_backlog: int
    """About so many pile up while the broker is down."""
    bus_peer_events: int
    """How many events peers of that are given whose rate does not depend on it."""
    bus_rate: int
    """Commands a second in the open loop over Kafka."""


FULL = Scale(
    rounds=5, spare_rounds=3, patience_seconds=60, seconds=1.2, streams=5_000, rebuilt_events=1_000_000,
    peer_events=500, rate=1_000, board_key_results=1_000, long_check_ins=500, short_check_ins=50,
    long_stream=1_000, reads=40, bus_events=40_000, bus_backlog=60_000,
    bus_peer_events=20_000, bus_rate=300,
)  # fmt: skip
TINY = Scale(
    rounds=1, spare_rounds=0, patience_seconds=0, seconds=0.05, streams=200, rebuilt_events=400,
    peer_events=5, rate=200, board_key_results=10, long_check_ins=20, short_check_ins=5, long_stream=120, reads=2,
    bus_events=1_200, bus_backlog=1_200, bus_peer_events=80, bus_rate=100,
)  # fmt: skip


class Figure(Struct, frozen=True):
    """One line of the result. `ours` and `other` are medians in `unit`; `ratio` is the median of the rounds' ratios."""

    name: str
    unit: str
    ours: float
    other: float
    other_name: str
    ratio: float
    goal: str
    """">= 4" or "<= 1.3", of the ratio."""
    met: bool


class Cpu(NamedTuple):
    """CPU seconds: of this process, of the servers it started, of PostgreSQL."""

    bench: float
    servers: float
    postgres: float

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))


class Work(NamedTuple):
    """What a case did in a round. `seconds` and `cpu` where not all of it counts, `values` for latencies (ms)."""

    operations: int
    seconds: float | None = None
    values: Mapping[str, float] = {}
    cpu: Cpu | None = None


class Case(NamedTuple):
    name: str
    run: Callable[[], Awaitable[Work]]


@dataclass
class Span:
    """The part of a case that counts."""

    seconds: float = 0.0
    cpu: Cpu | None = None

    def work(self, operations: int) -> Work:
        return Work(operations, self.seconds, cpu=self.cpu)


class Sample(NamedTuple):
    operations: int
    seconds: float
    cpu: Cpu
    values: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU an operation, all processes together."""
        return _US * sum(self.cpu) / max(1, self.operations)


class Round(NamedTuple):
    samples: Mapping[str, Sample]
    others: float
    """Cores that processes of somebody else used meanwhile."""
    disk_ms: float
    """The median fdatasync of 8 kB just before."""


Read = Callable[[Sample], float]


def value(key: str) -> Read:
    """Reads one of a sample's latencies."""
    return lambda sample: sample.values[key]


def cpu_us(part: int) -> Read:
    """Reads what one part of Cpu used an operation."""
    return lambda sample: _US * sample.cpu[part] / max(1, sample.operations)


@dataclass
class Rounds:
    """The rounds that count, the quietest of those that were run."""

    title: str
    cases: Sequence[str]
    kept: Sequence[Round]
    run: int
    figures: list[Figure] = field(default_factory=list)

    def middle(self, case: str, read: Read) -> float:
        return median(read(each.samples[case]) for each in self.kept)

    def compare(
        self, name: str, ours: str, other: str, goal: str, *, read: Read = lambda s: s.rate, unit: str = "1/s",
        other_name: str = "", read_other: Read | None = None,
    ) -> Figure:  # fmt: skip
        """The figure of one case against another (or against another value of it).

        A round in which the other side got nothing done says nothing; without any that does, neither does the ratio.
        """
        against = read_other or read
        telling = [each.samples for each in self.kept if against(each.samples[other])]
        ratio = median(read(each[ours]) / against(each[other]) for each in telling) if telling else 0.0
        figure = Figure(
            name=name,
            unit=unit,
            ours=round(self.middle(ours, read), 3),
            other=round(self.middle(other, against), 3),
            other_name=other_name or other,
            ratio=round(ratio, 3),
            goal=goal,
            met=_met(ratio, goal),
        )
        self.figures.append(figure)
        return figure

    def within(
        self, name: str, case: str, limit: float, goal: str, *, read: Read, unit: str, limit_name: str = "the limit"
    ) -> Figure:  # fmt: skip
        """The figure of a case against a number that was set beforehand."""
        ours = self.middle(case, read)
        ratio = ours / limit
        figure = Figure(name, unit, round(ours, 3), limit, limit_name, round(ratio, 3), goal, _met(ratio, goal))
        self.figures.append(figure)
        return figure

    def best_of(self, cases: Sequence[str]) -> str:
        """The case with the highest rate: a peer is taken at its best."""
        return max(cases, key=lambda case: self.middle(case, lambda s: s.rate))

    def lines(self) -> Iterable[str]:
        others = ", ".join(f"{each.others:.2f}" for each in self.kept)
        noisy = sum(each.others > QUIET_CORES for each in self.kept)
        yield ""
        yield f"{self.title}"
        yield (
            f"  {len(self.kept)} of {self.run} rounds; cores used by others: {others}; "
            f"fdatasync {median(each.disk_ms for each in self.kept):.2f} ms"
        )
        if noisy:
            yield f"  {noisy} of them are noisier than {QUIET_CORES} cores: no quieter ones could be had in time"
        yield f"  {'':54}{'ops/s':>11}{'CPU µs/op: bench + servers + PostgreSQL':>42}"
        for case in self.cases:
            cpu = " + ".join(f"{self.middle(case, cpu_us(part)):.1f}" for part in range(len(Cpu._fields)))
            values = "  ".join(
                f"{key} {self.middle(case, value(key)):.2f} ms" for key in self.kept[0].samples[case].values
            )
            yield f"  {case:54}{self.middle(case, lambda s: s.rate):>11,.1f}{cpu:>42}  {values}".rstrip()
        for figure in self.figures:
            yield "  " + told(figure)


def told(figure: Figure) -> str:
    """A figure in one line."""
    met = "met" if figure.met else "MISSED"
    return (
        f"{met:6} {figure.name}: {figure.ours:,.6g} against {figure.other:,.6g} {figure.unit} "
        f"({figure.other_name}) = {figure.ratio:.3g}, goal {figure.goal}"
    )


class Meter:
    """Runs rounds of cases and knows which processes are ours."""

    def __init__(self, scale: Scale, postmaster: int | None) -> None:
        """`postmaster` is None where PostgreSQL runs on another machine: its CPU is then not counted."""
        self.scale = scale
        self._postmaster = postmaster
        self._servers: set[int] = set()
        self._gone_seconds = 0.0

    def watch(self, pid: int) -> None:
        """A server of ours, in a process of its own."""
        self._servers.add(pid)

    def forget(self, pid: int) -> None:
        """It is about to end, or is gone. What it has used stays counted, if it can still be told."""
        self._gone_seconds += _process_seconds(pid)
        self._servers.discard(pid)

    @contextmanager
    def counted(self) -> Iterator[Span]:
        """Measures what a case does inside, and not how it got ready."""
        span = Span()
        before, at = self._cpu(), time.perf_counter()
        yield span
        span.seconds = time.perf_counter() - at
        span.cpu = self._cpu().since(before)

    async def rounds(self, title: str, cases: Sequence[Case], *, at_most: int | None = None) -> Rounds:
        """Run all cases in turn until there are enough quiet rounds, or no more may be spent on it.

        `at_most` makes do with fewer rounds where one takes long and nothing is compared in turn.
        """
        rounds = min(self.scale.rounds, at_most or self.scale.rounds)
        done: list[Round] = []
        started = time.monotonic()
        while len(done) < rounds or (
            sum(each.others <= QUIET_CORES for each in done) < rounds
            and len(done) < rounds + (self.scale.spare_rounds if at_most is None else 0)
            and time.monotonic() - started < self.scale.patience_seconds
        ):
            done.append(await self._round(cases if len(done) % 2 == 0 else cases[::-1]))
        kept = sorted(done, key=lambda each: each.others)[:rounds]
        return Rounds(title, [case.name for case in cases], kept, len(done))

    async def _round(self, cases: Sequence[Case]) -> Round:
        disk_ms = await asyncio.to_thread(probe_disk)
        samples: dict[str, Sample] = {}
        started, busy, ours = time.monotonic(), _busy_seconds(), sum(self._cpu())
        for case in cases:
            before, at = self._cpu(), time.perf_counter()
            work = await case.run()
            seconds = time.perf_counter() - at
            cpu = work.cpu or self._cpu().since(before)
            samples[case.name] = Sample(work.operations, work.seconds or seconds, cpu, work.values)
        elapsed = time.monotonic() - started
        others = (_busy_seconds() - busy - (sum(self._cpu()) - ours)) / elapsed
        return Round(samples, max(0.0, others), disk_ms)

    def _cpu(self) -> Cpu:
        postgres = 0.0
        if self._postmaster is not None:
            postgres = _process_seconds(self._postmaster, dead_children=True)
            postgres += sum(_process_seconds(pid) for pid in _children(self._postmaster))
        servers = self._gone_seconds + sum(map(_process_seconds, self._servers))
        return Cpu(time.process_time(), servers, postgres)


def _met(ratio: float, goal: str) -> bool:
    relation, limit = goal.split()
    return ratio >= float(limit) if relation == ">=" else ratio <= float(limit)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def drive(seconds: float, in_flight: int, attempt: Callable[[int], Awaitable[bool]]) -> Work:
    """A closed loop: so many callers, each with one attempt at a time. Counts what came true, with its latencies."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    latencies: list[float] = []

    async def caller(number: int) -> None:
        while (at := time.perf_counter()) is not None and loop.time() < deadline:
            if await attempt(number):
                latencies.append(time.perf_counter() - at)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(in_flight):
            group.create_task(caller(number))
    elapsed = time.perf_counter() - started
    return Work(len(latencies), elapsed, quantiles(latencies))


def quantiles(latencies: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds, of seconds."""
    if not latencies:
        return {}
    return {"p50": 1000 * percentile(latencies, 0.5), "p99": 1000 * percentile(latencies, 0.99)}


def probe_disk() -> float:
    """How long the disk takes to keep 8 kB, in milliseconds: durable figures cannot be better than this."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(PROBES):
            file.write(b"x" * 8192)
            at = time.perf_counter()
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - at)
    return 1000 * median(times)


def save(path: Path, figures: Sequence[Figure]) -> None:
    path.write_text(json.dumps(json.loads(msgspec_json.encode(figures)), indent=2, ensure_ascii=False) + "\n")


# --- /proc -------------------------------------------------------------------------------------------


def _busy_seconds() -> float:
    """What all processes of the machine have used so far."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _, _, irq, softirq = map(int, words[1:8])
    return (user + nice + system + irq + softirq) * _TICK_SECONDS


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _process_seconds(pid: int, *, dead_children: bool = False) -> float:
    fields = _stat(pid)
    if fields is None:
        return 0.0
    return sum(map(int, fields[11 : 15 if dead_children else 13])) * _TICK_SECONDS


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[1]) == parent:
                found.append(int(entry.name))
    return found
