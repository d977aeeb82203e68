"""The benchmarks run, whatever they say: each group of figures once, with next to nothing to do."""

import math
import os
from pathlib import Path

import msgspec
import pytest

from bench.__main__ import GROUPS, measure
from bench.harness import TINY, Case, Cpu, Figure, Meter, Round, Rounds, Sample, Work
from tests.support.kafka import demand_java

FIELDS = ["name", "unit", "ours", "other", "other_name", "ratio", "goal", "met"]


@pytest.mark.parametrize("group", GROUPS)
async def test_a_group_of_figures_is_measured_and_kept(
    group: str, tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_dsn)
    if group == "kafka" and "KAFKA_BOOTSTRAP" not in os.environ:
        await demand_java()
    results = tmp_path / "results.json"

    figures = await measure(TINY, [group], results)

    kept = msgspec.json.decode(results.read_bytes())
    assert [list(each) for each in kept] == [FIELDS] * len(figures)
    assert msgspec.convert(kept, list[Figure]) == figures
    # On a busy machine a round this short may see no operation end; what it must not do is make up a number.
    numbers = [number for figure in figures for number in (figure.ours, figure.other, figure.ratio)]
    assert all(number >= 0 and math.isfinite(number) for number in numbers)
    assert any(number > 0 for number in numbers)


def test_a_figure_is_the_median_of_the_rounds_ratios() -> None:
    rounds = Rounds("any", ["ours", "theirs"], [_round(100, 50), _round(300, 100), _round(80, 80)], run=3)

    figure = rounds.compare("any", "ours", "theirs", ">= 2")

    assert (figure.ours, figure.other, figure.ratio, figure.met) == (100, 80, 2.0, True)


def test_a_limit_from_above_is_missed_by_more() -> None:
    rounds = Rounds("any", ["ours", "theirs"], [_round(131, 100)], run=1)

    assert not rounds.compare("any", "ours", "theirs", "<= 1.3").met


async def test_no_more_rounds_are_run_than_the_scale_allows() -> None:
    async def nothing() -> Work:
        return Work(1)

    found = await Meter(TINY, postmaster=None).rounds("any", [Case("nothing", nothing)])

    assert (len(found.kept), found.run) == (TINY.rounds, TINY.rounds)


def _round(ours: int, theirs: int) -> Round:
    samples = {"ours": Sample(ours, 1.0, Cpu(0, 0, 0), {}), "theirs": Sample(theirs, 1.0, Cpu(0, 0, 0), {})}
    return Round(samples, others=0.0, disk_ms=0.1)
