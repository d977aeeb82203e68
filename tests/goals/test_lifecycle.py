"""Cycles and grades through gRPC on a real PostgreSQL, with those whom goals asks."""

from datetime import UTC, date, datetime, timedelta

import grpc
import pytest

from okr.checkins.v1 import checkins_pb2
from okr.goals.v1 import cycles_pb2 as cy
from okr.goals.v1 import goals_pb2 as pb
from okr_chassis.clock import ManualClock
from okr_eventstore.executor import CommandExecutor
from okr_goals.lifecycle.calendar import end_of, latest_day, today
from okr_goals.lifecycle.clock import CycleClock
from tests.goals.office import Office
from tests.support.house import House, new_id, refused

PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND


async def opened_for_grades(office: Office, cycle_id: str) -> None:
    await office.desk.cycles.OpenGrading(cy.OpenGradingRequest(request_id=new_id(), cycle_id=cycle_id))


async def check_in(office: Office, key_result_id: str, value: str, at: str) -> str:
    answer = await office.desk.checkins.RecordCheckIn(
        checkins_pb2.RecordCheckInRequest(
            request_id=new_id(), check_in_id=new_id(), key_result_id=key_result_id, value=value, occurred_at=at
        )
    )
    return str(answer.receipt.position)


async def cycle_of(office: Office, cycle_id: str) -> pb.Cycle:
    await office.house.platform.wait_idle()
    answer: pb.GetCycleResponse = await office.goals.GetCycle(pb.GetCycleRequest(cycle_id=cycle_id))
    return answer.cycle


async def test_a_cancelled_cycle_takes_its_objectives_with_it(office: Office) -> None:
    cycle_id = await office.active_cycle()
    running, planned = await office.draft(cycle_id), await office.draft(cycle_id, title="Later")
    await office.define(running)
    await office.activate(running)
    request = cy.CancelCycleRequest(request_id=new_id(), cycle_id=cycle_id, reason="We are merging")
    await office.desk.cycles.CancelCycle(request)
    assert (await cycle_of(office, cycle_id)).state == pb.CYCLE_STATE_CANCELLED
    for objective_id in (running, planned):
        assert (await office.objective(objective_id)).state == pb.OBJECTIVE_STATE_CANCELLED
    assert not (await office.objective(running)).key_results[0].open
    with refused(PRECONDITION, "CYCLE_CANCELLED"):
        await office.draft(cycle_id)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await office.desk.cycles.CancelCycle(cy.CancelCycleRequest(request_id=new_id(), cycle_id=cycle_id))


async def test_a_check_in_that_came_late_does_not_count_and_one_dated_in_time_does(office: Office) -> None:
    """The day is 14 February, noon; the cycle's last day was the tenth."""
    cycle_id = await office.draft_cycle(ends_on="2026-02-10")
    await office.goals.ActivateCycle(pb.ActivateCycleRequest(request_id=new_id(), cycle_id=cycle_id))
    objective_id = await office.draft(cycle_id)
    key_result_id = await office.define(objective_id, commit="50")
    await office.activate(objective_id)
    await opened_for_grades(office, cycle_id)
    heard = [
        await check_in(office, key_result_id, "60", "2026-02-10T23:00:00Z"),
        await check_in(office, key_result_id, "99", "2026-02-11T00:00:00Z"),
    ]
    request = cy.GradeKeyResultRequest(request_id=new_id(), key_result_id=key_result_id, min_positions=heard)
    first = await office.desk.cycles.GradeKeyResult(request)
    assert (first.grade.computed, first.grade.final) == ("0.4400", "0.4400")
    assert await office.desk.cycles.GradeKeyResult(request) == first, "sent again, it is answered as before"


async def test_an_external_revision_changes_what_the_grade_measures_by(office: Office) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    key_result_id = await office.define(objective_id, commit="50")
    await office.activate(objective_id)
    for external, target in ((False, "80"), (True, "70")):
        await office.goals.ReviseTarget(
            pb.ReviseTargetRequest(
                request_id=new_id(),
                objective_id=objective_id,
                key_result_id=key_result_id,
                target=target,
                reason="The law has changed",
                external=external,
            )
        )
    heard = await check_in(office, key_result_id, "60", "2026-02-10T12:00:00Z")
    await opened_for_grades(office, cycle_id)
    listed = await office.desk.cycles.ListGrades(cy.ListGradesRequest(cycle_id=cycle_id, min_positions=[heard]))
    (found,) = listed.key_results
    assert (found.computed, found.zone) == ("0.6500", pb.GRADE_ZONE_COMMIT), "half of the way from 50 to 70"
    assert not found.HasField("grade")


async def test_the_summary_hints_only_when_all_is_graded(office: Office) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    key_results = [await office.define(objective_id, title=title) for title in ("Trials", "Visits")]
    await office.activate(objective_id)
    await opened_for_grades(office, cycle_id)

    async def summary() -> cy.GetCycleSummaryResponse:
        answer: cy.GetCycleSummaryResponse = await office.desk.cycles.GetCycleSummary(
            cy.GetCycleSummaryRequest(cycle_id=cycle_id)
        )
        return answer

    for key_result_id, hint in zip(
        key_results, (cy.PORTFOLIO_HINT_UNSPECIFIED, cy.PORTFOLIO_HINT_OVERREACHED), strict=True
    ):
        request = cy.GradeKeyResultRequest(request_id=new_id(), key_result_id=key_result_id)
        await office.desk.cycles.GradeKeyResult(request)
        assert (await summary()).hint == hint
    assert ((await summary()).mean, (await summary()).below_commit) == ("0.0000", 2)


async def test_what_nobody_knows_is_not_found(office: Office) -> None:
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.desk.cycles.PublishCycle(cy.PublishCycleRequest(request_id=new_id(), cycle_id=new_id()))
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.desk.cycles.ListGrades(cy.ListGradesRequest(cycle_id=new_id()))
    with refused(NOT_FOUND, "KEY_RESULT_NOT_FOUND"):
        await office.desk.cycles.GradeKeyResult(cy.GradeKeyResultRequest(request_id=new_id(), key_result_id=new_id()))


async def test_two_copies_of_the_calendar_open_grading_once(own_house: House, clock: ManualClock) -> None:
    office = await Office.open(own_house)
    cycle_id = await office.active_cycle()
    await own_house.platform.wait_idle()
    host = own_house.platform.services["goals"].host
    assert host.log is not None
    clock.set(datetime(2026, 4, 1, tzinfo=UTC))
    copies = [CycleClock(CommandExecutor(host.log), host.reader, clock) for _ in range(2)]
    assert [await each.sweep() for each in copies] == [1, 1]
    assert not copies[0].is_due()
    clock.advance(timedelta(minutes=15))
    assert copies[0].is_due()
    assert (await cycle_of(office, cycle_id)).state == pb.CYCLE_STATE_GRADING
    assert await copies[0].sweep() == 0
    clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    assert copies[0].is_due(), "the clock was set back"
    assert await copies[0].sweep() == 0
    assert (await cycle_of(office, cycle_id)).etag == '"3"'


@pytest.mark.parametrize(
    ("zone", "day", "over_at"),
    [
        ("UTC", date(2026, 3, 31), datetime(2026, 4, 1, tzinfo=UTC)),
        ("Pacific/Auckland", date(2026, 4, 1), datetime(2026, 3, 31, 11, tzinfo=UTC)),
        ("America/Los_Angeles", date(2026, 3, 31), datetime(2026, 4, 1, 7, tzinfo=UTC)),
        ("No/Such_Place", date(2026, 3, 31), datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_a_day_is_one_of_the_organisations_own(zone: str, day: date, over_at: datetime) -> None:
    moment = datetime(2026, 3, 31, 20, tzinfo=UTC)
    assert today(moment, zone) == day
    assert end_of(date(2026, 3, 31), zone) == over_at
    assert latest_day(moment) == date(2026, 4, 1)
