"""Values as their key result has them: done or not, in zones, made of milestones."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from okr_checkins.commands import MilestoneReport, RecordCheckIn
from okr_checkins.decider import check_ins
from okr_contracts.checkins import CheckInRecorded, CheckInsOpened, MilestoneReported
from okr_contracts.goals import KeyResultType
from tests.checkins.builders import (
    FIRST,
    KEY_RESULT,
    OBJECTIVE,
    SECOND,
    STARTS_ON,
    THIRD,
    TUESDAY,
    WEDNESDAY,
    correct,
    record,
    recorded,
)
from tests.support.spec import spec

SHELL, ROOF, NO_SUCH = UUID(int=41), UUID(int=42), UUID(int=49)

rules = spec(check_ins)


def opened_as(type_: KeyResultType) -> CheckInsOpened:
    return CheckInsOpened(KEY_RESULT, OBJECTIVE, STARTS_ON, type=type_)


BUILDING = CheckInsOpened(
    KEY_RESULT,
    OBJECTIVE,
    STARTS_ON,
    type="milestone",
    milestones=((SHELL, Decimal("0.4")), (ROOF, Decimal("0.6"))),
)


def report(
    milestone_id: UUID = SHELL, share: str | None = None, *, accepted: bool = False, check_in_id: UUID = FIRST
) -> RecordCheckIn:
    return RecordCheckIn(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        milestone=MilestoneReport(
            milestone_id=milestone_id, share=None if share is None else Decimal(share), accepted=accepted
        ),
        at=WEDNESDAY,
    )


def reported(
    milestone_id: UUID = SHELL, share: str = "1", *, accepted: bool = False, check_in_id: UUID = FIRST
) -> MilestoneReported:
    return MilestoneReported(KEY_RESULT, milestone_id, check_in_id, Decimal(share), accepted)


def stands(value: str, check_in_id: UUID = FIRST, at: datetime = WEDNESDAY) -> CheckInRecorded:
    return recorded(check_in_id, value, occurred_at=at)


def test_what_is_done_or_not_is_one_or_nothing() -> None:
    rules.given(opened_as("binary")).when(record(value="1")).then(stands("1"))
    rules.given(opened_as("binary")).when(record(value="0.5")).then_refused("VALUE_NOT_BINARY")


def test_a_baseline_may_be_any_number() -> None:
    rules.given(opened_as("baseline")).when(record(value="-17.3")).then(stands("-17.3"))


def test_a_zone_in_words_has_a_number_and_its_evidence() -> None:
    said = record(value="2", note="the pilot runs at two customers, see the minutes of Monday")
    event = recorded(
        value="2", note="the pilot runs at two customers, see the minutes of Monday", occurred_at=WEDNESDAY
    )
    rules.given(opened_as("ordinal")).when(said).then(event)
    rules.given(opened_as("ordinal")).when(record(value="4", note="far")).then_refused("VALUE_NO_ZONE")
    rules.given(opened_as("ordinal")).when(
        RecordCheckIn(check_in_id=FIRST, key_result_id=KEY_RESULT, value=Decimal(2), at=WEDNESDAY)
    ).then_refused("EVIDENCE_MISSING")


def test_a_milestone_counts_its_weight_once_it_is_accepted() -> None:
    rules.given(BUILDING).when(report(accepted=True)).then(recorded_without_note("0.4"), reported(accepted=True))


def test_a_milestone_that_nobody_accepted_counts_almost_whole() -> None:
    rules.given(BUILDING).when(report()).then(recorded_without_note("0.36"), reported())


def test_milestones_add_up() -> None:
    rules.given(BUILDING, recorded_without_note("0.4"), reported(accepted=True)).when(
        report(ROOF, "0.5", check_in_id=SECOND)
    ).then(recorded_without_note("0.7", SECOND), reported(ROOF, "0.5", check_in_id=SECOND))


def test_a_milestone_reported_anew_replaces_what_was_said_of_it() -> None:
    rules.given(BUILDING, recorded_without_note("0.4"), reported(accepted=True)).when(
        report(SHELL, "0.25", check_in_id=SECOND)
    ).then(recorded_without_note("0.1", SECOND), reported(SHELL, "0.25", check_in_id=SECOND))


def test_only_what_is_done_can_be_accepted() -> None:
    rules.given(BUILDING).when(report(share="0.9", accepted=True)).then_refused("NOT_DONE_YET")


def test_a_milestone_that_is_not_there_is_not_found() -> None:
    rules.given(BUILDING).when(report(NO_SUCH)).then_not_found("MILESTONE_NOT_FOUND")


def test_what_is_made_of_milestones_takes_no_bare_value_and_others_take_no_milestone() -> None:
    rules.given(BUILDING).when(record()).then_refused("MILESTONE_MISSING")
    rules.given(opened_as("increase")).when(report()).then_refused("NO_MILESTONES")


def test_the_value_of_milestones_is_put_right_by_reporting_anew() -> None:
    rules.given(BUILDING, recorded_without_note("0.36"), reported()).when(correct(value="0.2")).then_refused(
        "MILESTONE_MISSING"
    )


def test_a_correction_keeps_to_the_values_of_its_kind() -> None:
    rules.given(opened_as("binary"), recorded(value="1")).when(correct(value="0.5")).then_refused("VALUE_NOT_BINARY")
    rules.given(opened_as("ordinal"), recorded(value="1")).when(correct(value="17")).then_refused("VALUE_NO_ZONE")


def test_a_milestone_is_not_reported_behind_the_back_of_a_later_report() -> None:
    told = recorded_without_note("0.4"), reported(accepted=True)
    late = report(ROOF, accepted=True, check_in_id=SECOND)
    rules.given(BUILDING, *told).when(late.model_copy(update={"occurred_at": TUESDAY})).then_refused(
        "MILESTONE_BEFORE_LATEST"
    )
    rules.given(BUILDING, *told).when(late).then(
        recorded_without_note("1.0", SECOND), reported(ROOF, accepted=True, check_in_id=SECOND)
    )


def test_the_same_report_again_changes_nothing_and_another_one_is_another_check_in() -> None:
    known = (BUILDING, recorded_without_note("0.36"), reported())
    rules.given(*known).when(report()).then_nothing()
    rules.given(*known).when(report(share="0.5")).then_already_exists("CHECK_IN_ALREADY_EXISTS")


@pytest.mark.parametrize("said", [{}, {"value": "1", "milestone": {"milestone_id": str(SHELL)}}])
def test_a_check_in_has_a_value_or_a_milestone_and_not_both(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        RecordCheckIn.model_validate({"check_in_id": THIRD, "key_result_id": KEY_RESULT, "at": WEDNESDAY, **said})
    assert [fault["loc"] for fault in refused.value.errors()] == [("value",)]


def recorded_without_note(value: str, check_in_id: UUID = FIRST) -> CheckInRecorded:
    return CheckInRecorded(check_in_id, KEY_RESULT, Decimal(value), Decimal("0.5"), None, WEDNESDAY)


def test_a_milestone_that_cannot_be_read_is_not_taken_for_a_missing_value() -> None:
    said = {"check_in_id": THIRD, "key_result_id": KEY_RESULT, "at": WEDNESDAY}
    with pytest.raises(ValidationError) as refused:
        RecordCheckIn.model_validate({**said, "milestone": {"milestone_id": str(SHELL), "share": "2"}})
    assert [fault["loc"] for fault in refused.value.errors()] == [("milestone", "share")]
