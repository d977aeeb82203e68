"""What the read model makes of check-ins."""

from datetime import datetime
from decimal import Decimal

from okr_checkins.read_model import CheckInRow, KeyResultRow, check_ins
from tests.checkins.builders import (
    FIRST,
    MONDAY,
    SECOND,
    STARTS_ON,
    TUESDAY,
    closed,
    corrected,
    opened,
    recorded,
)
from tests.insights.facts import ANA, day
from tests.insights.folding import folded
from tests.support.sealed import sealed


def standing(row: KeyResultRow) -> tuple[Decimal | None, Decimal | None, datetime | None, int]:
    return row.value, row.confidence, row.checked_in_at, row.check_ins


def test_an_opened_key_result_takes_values_and_has_none() -> None:
    row = folded(check_ins, opened()).row(KeyResultRow)
    assert (row.open, row.starts_on, row.check_ins, row.value) == (True, STARTS_ON, 0, None)


def test_a_closed_key_result_keeps_where_it_stood() -> None:
    row = folded(check_ins, opened(), recorded(value="5"), closed()).row(KeyResultRow)
    assert (row.open, row.value) == (False, Decimal(5))


def test_a_check_in_is_kept_with_who_when_and_when_known() -> None:
    row = folded(check_ins, opened(), recorded(value="5", confidence="0.7", note="steady")).row(CheckInRow)
    assert (row.value, row.confidence, row.note) == (Decimal(5), Decimal("0.7"), sealed("steady"))
    assert (row.person_id, row.checked_in_at, row.known_at) == (ANA, MONDAY, day(2))
    assert not row.corrected


def test_a_key_result_stands_where_its_latest_check_in_says() -> None:
    row = folded(check_ins, opened(), recorded(value="5"), recorded(SECOND, value="7", occurred_at=TUESDAY)).row(
        KeyResultRow
    )
    assert standing(row) == (Decimal(7), Decimal("0.5"), TUESDAY, 2)


def test_a_back_dated_check_in_does_not_become_the_latest() -> None:
    row = folded(
        check_ins, opened(), recorded(value="7", occurred_at=TUESDAY), recorded(SECOND, value="5", occurred_at=MONDAY)
    ).row(KeyResultRow)
    assert standing(row) == (Decimal(7), Decimal("0.5"), TUESDAY, 2)
    assert row.latest_check_in_id == FIRST


def test_of_two_at_one_moment_the_one_recorded_last_counts() -> None:
    row = folded(check_ins, opened(), recorded(value="5"), recorded(SECOND, value="6")).row(KeyResultRow)
    assert (row.value, row.latest_check_in_id) == (Decimal(6), SECOND)


def test_a_correction_of_the_latest_moves_the_key_result() -> None:
    rows = folded(check_ins, opened(), recorded(value="5"), corrected(value="6", confidence="0.9"))
    assert standing(rows.row(KeyResultRow)) == (Decimal(6), Decimal("0.9"), MONDAY, 1)
    assert rows.row(CheckInRow).corrected


def test_a_correction_of_an_older_one_does_not() -> None:
    rows = folded(
        check_ins,
        opened(),
        recorded(FIRST, value="5"),
        recorded(SECOND, value="7", occurred_at=TUESDAY),
        corrected(FIRST, value="6"),
    )
    assert rows.row(KeyResultRow).value == Decimal(7)
    assert {row.check_in_id: row.value for row in rows.all(CheckInRow)} == {FIRST: Decimal(6), SECOND: Decimal(7)}


def test_history_keeps_what_a_check_in_said_before_its_correction() -> None:
    rows = folded(check_ins, opened(), recorded(value="5"), corrected(value="6"))
    assert [row.value for row in rows.versions(CheckInRow)] == [Decimal(5), Decimal(6)]


def test_each_event_writes_the_key_result_so_that_its_version_is_the_streams() -> None:
    events = [opened(), recorded(), recorded(SECOND, occurred_at=TUESDAY), corrected(FIRST), closed()]
    assert len(folded(check_ins, *events).versions(KeyResultRow)) == len(events)
