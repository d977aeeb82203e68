"""The rules of check-ins."""

from datetime import UTC, date, datetime

import msgspec

from okr_checkins.decider import CheckIns, check_ins
from tests.checkins.builders import (
    FIRST,
    MONDAY,
    SECOND,
    THIRD,
    TUESDAY,
    WEDNESDAY,
    close,
    closed,
    correct,
    corrected,
    open_check_ins,
    opened,
    record,
    recorded,
)
from tests.support.spec import spec

rules = spec(check_ins)


# --- opening and closing ---------------------------------------------------------------------------


def test_a_key_result_is_opened() -> None:
    rules.given().when(open_check_ins()).then(opened())


def test_opening_twice_changes_nothing() -> None:
    rules.given(opened()).when(open_check_ins()).then_nothing()


def test_news_of_the_opening_that_comes_after_the_close_does_not_open_again() -> None:
    rules.given(closed()).when(open_check_ins()).then_nothing()
    rules.given(opened(), closed()).when(open_check_ins()).then_nothing()


def test_a_key_result_is_closed_once() -> None:
    rules.given(opened()).when(close()).then(closed())
    rules.given(opened(), closed()).when(close()).then_nothing()


# --- recording -------------------------------------------------------------------------------------


def test_a_value_is_recorded_when_it_was_true() -> None:
    rules.given(opened()).when(record(value="7", occurred_at=MONDAY)).then(recorded(value="7", occurred_at=MONDAY))


def test_a_value_without_a_date_is_true_now() -> None:
    rules.given(opened()).when(record(at=TUESDAY)).then(recorded(occurred_at=TUESDAY))


def test_a_value_may_be_dated_before_one_that_is_known_already() -> None:
    rules.given(opened(), recorded(occurred_at=TUESDAY)).when(record(SECOND, occurred_at=MONDAY)).then(
        recorded(SECOND, occurred_at=MONDAY)
    )


def test_an_unknown_key_result_takes_no_check_in() -> None:
    rules.given().when(record()).then_not_found("KEY_RESULT_NOT_FOUND")


def test_a_closed_key_result_takes_no_check_in() -> None:
    rules.given(opened(), closed()).when(record()).then_refused("KEY_RESULT_NOT_OPEN")
    rules.given(closed()).when(record()).then_refused("KEY_RESULT_NOT_OPEN")


def test_a_check_in_right_after_the_activation_opens_what_goals_says_is_open() -> None:
    rules.given().when(record(occurred_at=MONDAY, opening=open_check_ins())).then(
        opened(), recorded(occurred_at=MONDAY)
    )


def test_an_opening_that_was_heard_of_meanwhile_is_not_repeated() -> None:
    rules.given(opened()).when(record(occurred_at=MONDAY, opening=open_check_ins())).then(recorded())


def test_what_goals_said_before_the_close_opens_nothing_after_it() -> None:
    rules.given(closed()).when(record(opening=open_check_ins())).then_refused("KEY_RESULT_NOT_OPEN")


def test_a_check_in_dated_after_now_is_refused() -> None:
    rules.given(opened()).when(record(at=TUESDAY, occurred_at=WEDNESDAY)).then_refused("CHECK_IN_IN_THE_FUTURE")


def test_a_check_in_dated_before_the_first_day_is_refused() -> None:
    rules.given(opened(date(2026, 1, 6))).when(record(occurred_at=MONDAY)).then_refused("CHECK_IN_BEFORE_CYCLE")


def test_the_first_day_counts_from_its_beginning() -> None:
    midnight = datetime(2026, 1, 6, tzinfo=UTC)
    rules.given(opened(date(2026, 1, 6))).when(record(occurred_at=midnight)).then(recorded(occurred_at=midnight))


def test_a_check_in_before_the_first_day_is_refused_also_when_it_brings_the_opening() -> None:
    rules.given().when(record(occurred_at=MONDAY, opening=open_check_ins(date(2026, 1, 6)))).then_refused(
        "CHECK_IN_BEFORE_CYCLE"
    )


# --- confidence ------------------------------------------------------------------------------------


def test_confidence_starts_at_one_half() -> None:
    rules.given(opened()).when(record(occurred_at=MONDAY)).then(recorded(confidence="0.5"))


def test_confidence_left_out_stays_as_it_was_last_time() -> None:
    rules.given(opened(), recorded(confidence="0.8")).when(record(SECOND, at=TUESDAY)).then(
        recorded(SECOND, confidence="0.8", occurred_at=TUESDAY)
    )


def test_last_time_is_the_latest_moment_not_the_latest_typed() -> None:
    rules.given(
        opened(),
        recorded(FIRST, confidence="0.8", occurred_at=TUESDAY),
        recorded(SECOND, confidence="0.3", occurred_at=MONDAY),
    ).when(record(THIRD, at=WEDNESDAY)).then(recorded(THIRD, confidence="0.8", occurred_at=WEDNESDAY))


def test_of_two_check_ins_at_one_moment_the_one_recorded_last_is_the_latest() -> None:
    rules.given(opened(), recorded(FIRST, confidence="0.8"), recorded(SECOND, confidence="0.3")).when(
        record(THIRD, at=WEDNESDAY)
    ).then(recorded(THIRD, confidence="0.3", occurred_at=WEDNESDAY))


def test_a_corrected_confidence_is_the_one_that_stays() -> None:
    rules.given(opened(), recorded(confidence="0.8"), corrected(confidence="0.4")).when(
        record(SECOND, at=TUESDAY)
    ).then(recorded(SECOND, confidence="0.4", occurred_at=TUESDAY))


# --- the same again --------------------------------------------------------------------------------


def test_the_same_check_in_again_changes_nothing() -> None:
    rules.given(opened(), recorded(confidence="0.7", note="steady")).when(
        record(confidence="0.7", note="steady", occurred_at=MONDAY)
    ).then_nothing()


def test_a_repetition_that_leaves_open_what_is_known_changes_nothing() -> None:
    rules.given(opened(), recorded(confidence="0.7")).when(record(at=WEDNESDAY)).then_nothing()


def test_a_number_is_the_same_however_many_zeros_it_is_written_with() -> None:
    rules.given(opened(), recorded(value="5")).when(record(value="5.00")).then_nothing()


def test_the_same_check_in_with_another_content_is_refused() -> None:
    for other in (
        record(value="6"),
        record(confidence="0.9"),
        record(note="changed"),
        record(occurred_at=TUESDAY),
    ):
        rules.given(opened(), recorded()).when(other).then_already_exists("CHECK_IN_ALREADY_EXISTS")


def test_a_check_in_repeated_as_it_was_before_its_correction_changes_nothing() -> None:
    rules.given(opened(), recorded(value="5"), corrected(value="6"), corrected(value="7")).when(
        record(value="5")
    ).then_nothing()


def test_a_check_in_repeated_after_the_close_changes_nothing() -> None:
    rules.given(opened(), recorded(), closed()).when(record()).then_nothing()


# --- correcting ------------------------------------------------------------------------------------


def test_a_correction_tells_the_whole_check_in_and_keeps_when_it_was_true() -> None:
    rules.given(opened(), recorded(value="5", confidence="0.7", note="steady")).when(correct(value="6")).then(
        corrected(value="6", confidence="0.7", note="steady", occurred_at=MONDAY)
    )


def test_a_second_correction_stands_on_the_first() -> None:
    rules.given(opened(), recorded(), corrected(value="6")).when(correct(confidence="0.9")).then(
        corrected(value="6", confidence="0.9")
    )


def test_an_unknown_check_in_cannot_be_corrected() -> None:
    rules.given(opened()).when(correct(value="6")).then_not_found("CHECK_IN_NOT_FOUND")
    rules.given().when(correct(value="6")).then_not_found("CHECK_IN_NOT_FOUND")


def test_a_correction_that_changes_nothing_is_no_event() -> None:
    rules.given(opened(), recorded(value="5")).when(correct(value="5.0")).then_nothing()
    rules.given(opened(), recorded(value="5")).when(correct()).then_nothing()


def test_a_note_can_be_corrected() -> None:
    rules.given(opened(), recorded(note="stedy")).when(correct(note="steady")).then(corrected(value="5", note="steady"))


def test_nothing_is_corrected_after_the_close() -> None:
    rules.given(opened(), recorded(), closed()).when(correct(value="6")).then_refused("CHECK_INS_CLOSED")


# --- snapshots -------------------------------------------------------------------------------------


def test_a_state_comes_back_from_its_snapshot_unchanged() -> None:
    state = check_ins.fold([opened(), recorded(), recorded(SECOND, occurred_at=TUESDAY), corrected(), closed()])
    assert msgspec.json.decode(msgspec.json.encode(state), type=CheckIns) == state
