"""Whatever is recorded and corrected in whatever order, decider and read model agree with a plain telling of it."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from okr_checkins.commands import CorrectCheckIn, RecordCheckIn
from okr_checkins.decider import CheckIns, check_ins
from okr_checkins.read_model import CheckInRow, KeyResultRow
from okr_checkins.read_model import check_ins as projection
from okr_contracts.checkins import CheckInCorrected, CheckInRecorded, CheckInsEvent
from okr_contracts.errors import OkrError
from tests.checkins.builders import MONDAY, correct, opened, record
from tests.insights.folding import folded

moments = st.integers(-10, 10).map(lambda days: MONDAY + timedelta(days=days))
check_in_ids = st.integers(1, 6).map(lambda number: UUID(int=number))
values = st.integers(0, 9).map(str)
confidences = st.none() | st.integers(0, 10).map(lambda tenth: f"{tenth / 10}")
recordings = st.builds(
    record, check_in_ids, values, confidences, occurred_at=moments, at=st.just(MONDAY + timedelta(days=5))
)
corrections = st.builds(correct, check_in_ids, st.none() | values, confidences)


@given(st.lists(recordings | corrections, max_size=40))
def test_the_latest_check_in_is_the_last_by_when_it_was_true(commands: list[RecordCheckIn | CorrectCheckIn]) -> None:
    events = list[CheckInsEvent]([opened()])
    for command in commands:
        try:
            events += check_ins.decide_on(events, command)
        except OkrError:
            continue
        # A command that was just carried out changes nothing the second time.
        assert not check_ins.decide_on(events, command)

    rows = folded(projection, *events)
    said: dict[UUID, CheckInRecorded | CheckInCorrected] = {}
    order: list[UUID] = []
    for event in events:
        if isinstance(event, CheckInRecorded | CheckInCorrected):
            said[event.check_in_id] = event
        if isinstance(event, CheckInRecorded):
            order.append(event.check_in_id)
    last = max(order, key=lambda each: (said[each].occurred_at, order.index(each)), default=None)

    assert {row.check_in_id: row.value for row in rows.all(CheckInRow)} == {k: fact.value for k, fact in said.items()}
    assert_stands(rows.row(KeyResultRow), check_ins.fold(events), None if last is None else said[last], len(order))


def assert_stands(
    row: KeyResultRow, state: CheckIns, last: CheckInRecorded | CheckInCorrected | None, count: int
) -> None:
    assert row.check_ins == count
    assert row.latest_check_in_id == (state.latest.check_in_id if state.latest else None)
    assert row.latest_check_in_id == (last.check_in_id if last else None)
    assert (row.value, row.checked_in_at) == ((last.value, last.occurred_at) if last else (None, None))
