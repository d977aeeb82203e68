"""Key results of every kind, judged at any moment and by any value."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from okr_rules.maintain import Range
from okr_rules.measure import Measure
from okr_rules.milestones import Milestone
from okr_rules.pace import judge

FIRST = date(2026, 1, 1)
MOST = D(10) ** 20 - 1

numbers = st.decimals(-MOST, MOST, places=0) | st.decimals(-5, 5, places=10)
days = st.integers(0, 90).map(lambda nth: FIRST + timedelta(days=nth))
moments = st.integers(-20 * 24, 200 * 24).map(lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
shares = st.decimals(0, 1, places=2)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[tuple[date, D], ...]:
    on = sorted(draw(st.sets(days, min_size=2, max_size=5)))
    by = sorted(draw(st.lists(shares, min_size=len(on), max_size=len(on))))
    return tuple(zip(on, by, strict=True))


@st.composite
def ways(draw: st.DrawFn) -> Measure:
    start, commit, target = draw(
        st.lists(numbers, min_size=3, max_size=3, unique=True)
        .map(sorted)
        .flatmap(lambda marks: st.sampled_from((marks, marks[::-1])))
    )
    schedule = draw(st.just(()) | schedules())
    return Measure(
        start, commit, target, FIRST, draw(days), draw(st.sampled_from((None, "increase"))), None, None, (), schedule
    )


@st.composite
def ranges(draw: st.DrawFn) -> Measure:
    low, high = sorted((draw(numbers), draw(numbers)))
    bounds = draw(st.sampled_from(((low, high), (low, None), (None, high))))
    kept = Range(*bounds, draw(numbers.map(abs).filter(lambda tolerance: tolerance > 0)))
    return Measure(D(0), D("0.9"), D(1), FIRST, draw(days), "maintain", range=kept)


@st.composite
def buildings(draw: st.DrawFn) -> Measure:
    parts = draw(st.integers(1, 5))
    milestones = tuple(Milestone(D(1) / parts if parts != 3 else D("0.25"), draw(days)) for _ in range(parts))
    return Measure(D(0), D("0.5"), D(1), FIRST, draw(days), "milestone", milestones=milestones)


plain_kinds = st.builds(
    lambda kind, due: Measure(D(0), D(1), D(2) if kind == "ordinal" else D(1), FIRST, due, kind),
    st.sampled_from(("binary", "baseline", "ordinal")),
    days,
)
measures = ways() | ranges() | buildings() | plain_kinds


@given(measures, st.none() | numbers, moments)
def test_every_kind_is_judged_at_every_moment_and_by_every_value(
    measure: Measure, value: D | None, now: datetime
) -> None:
    verdict = judge(measure, value, now)
    assert 0 <= verdict.expected <= 1
    assert (verdict.progress is None) == (value is None)
    assert verdict.progress is None or 0 <= verdict.progress <= 1
    assert verdict.explain().endswith(").")


@given(measures, numbers, moments)
def test_days_never_contradict_the_difference(measure: Measure, value: D, now: datetime) -> None:
    verdict = judge(measure, value, now)
    if verdict.days is not None and verdict.delta == 0 and verdict.expected < 1:
        assert verdict.days == 0
    if verdict.days and verdict.delta:
        assert (verdict.days > 0) == (verdict.delta > 0)


def test_progress_of_milestones_is_their_weight_whatever_part_of_them_is_the_target() -> None:
    shell, roof = Milestone(D("0.5"), FIRST), Milestone(D("0.5"), date(2026, 3, 31))
    building = Measure(D(0), D("0.8"), D("0.8"), FIRST, date(2026, 3, 31), "milestone", milestones=(shell, roof))
    verdict = judge(building, D("0.5"), datetime(2026, 2, 1, tzinfo=UTC))
    assert (verdict.progress, verdict.expected, verdict.state) == (D("0.5"), D("0.5"), "on_pace")
    assert verdict.explain().startswith("On pace: 0.5 is 50 % of its milestones; 50 % was expected")


def test_a_range_that_nobody_looked_at_yet_is_named_and_no_way_is() -> None:
    kept = Measure(D(0), D("0.9"), D(1), FIRST, FIRST, "maintain", range=Range(D(95), None, D(5)))
    said = judge(kept, None, datetime(2026, 2, 1, tzinfo=UTC)).explain()
    assert said.startswith("No check-in yet; it is to be kept at 95 or above, 2026-01-01")
