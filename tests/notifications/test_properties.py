"""Whatever values come and whenever, who is accountable hears of each fall behind and of each commit once."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from okr_rules.measure import Measure
from okr_rules.pace import judge
from tests.notifications.builders import ANA, DUE_ON, STARTS_ON, day, kinds, recorded, watching

MEASURE = Measure(Decimal(0), Decimal(50), Decimal(100), STARTS_ON, DUE_ON)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-20, 120) | st.none()), max_size=30))
def test_what_is_told_is_what_a_plain_telling_says(steps: list[tuple[int, int | None]]) -> None:
    """A step lets days pass, then either somebody checks in or the sweep comes by."""
    ears, today = watching(), 0
    behind, reached, value = False, False, Decimal(0)
    for number, (days, checked_in) in enumerate(steps, start=1):
        today += days
        expected = []
        if checked_in is not None:
            value = Decimal(checked_in)
        is_behind = judge(MEASURE, value, day(today)).behind
        if is_behind and not behind:
            expected.append(("fell_behind", ANA))
        if value >= 50 and not reached:
            expected.append(("commit_reached", ANA))
        behind, reached = is_behind, reached or value >= 50

        if checked_in is None:
            told = ears.look(on=today)
        else:
            told = ears.hear(recorded(str(checked_in), on=today, check_in=1000 + number), on=today)

        assert kinds(told) == expected
