"""Measure everything, print it as it comes, and keep the figures in bench/results.json."""

import argparse
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench import append, as_of, freshness, kafka, peer, rebuilding, rpc
from bench.harness import FULL, TINY, Figure, Meter, Rounds, Scale, save, told
from bench.stage import fresh_database, postgres, postmaster_of
from okr_chassis.memory import settle_memory

RESULTS = Path(__file__).with_name("results.json")

Measure = Callable[[Meter, str], Awaitable[Rounds]]
Group = Callable[[Meter, str], AsyncIterator[Rounds]]


def _of(*measures: Measure) -> Group:
    async def group(meter: Meter, dsn: str) -> AsyncIterator[Rounds]:
        for each in measures:
            yield await each(meter, dsn)

    return group


GROUPS: Mapping[str, Group] = {
    "append": _of(append.measure),
    "peer": _of(peer.measure),
    "grpc": _of(rpc.measure),
    "freshness": _of(freshness.measure),
    "history": _of(rebuilding.measure, as_of.measure_boards),
    "streams": _of(as_of.measure_streams),
    "kafka": kafka.measure,
}
"""What is measured over one database, in order."""


async def measure(scale: Scale, groups: Sequence[str], results: Path) -> list[Figure]:
    figures: list[Figure] = []
    async with postgres() as dsn:
        meter = Meter(scale, await postmaster_of(dsn))
        for group in groups:
            async with fresh_database(dsn) as fresh:
                async for found in GROUPS[group](meter, fresh):
                    print("\n".join(found.lines()), flush=True)
                    figures += found.figures
            save(results, figures)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="which figures; all of them by default")
    parser.add_argument("--tiny", action="store_true", help="a few seconds, to see that everything runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    settle_memory()
    figures = uvloop.run(measure(TINY if options.tiny else FULL, options.groups or list(GROUPS), options.results))
    missed = [figure for figure in figures if not figure.met]
    print(f"\n{len(figures) - len(missed)} of {len(figures)} goals met in {time.monotonic() - started:.0f} s")
    for figure in missed:
        print("  " + told(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
