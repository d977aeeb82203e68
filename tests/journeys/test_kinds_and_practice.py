"""Key results of other kinds on their way to the board, and good practice that sees who serves whom."""

from okr.alignment.v1 import alignment_pb2
from okr.checkins.v1 import checkins_pb2
from okr.goals.v1 import goals_pb2, practice_pb2
from okr.insights.v1 import insights_pb2
from tests.journeys.town import FEBRUARY, Town, key_result, objective
from tests.support.house import new_id


async def on_the_board(place: Town, key_result_id: str, *positions: str) -> insights_pb2.BoardKeyResult:
    answer = await place.ana.insights.GetBoard(insights_pb2.GetBoardRequest(min_positions=positions))
    found: insights_pb2.BoardKeyResult = next(
        each for each in answer.objectives[0].key_results if each.key_result_id == key_result_id
    )
    return found


async def test_a_milestone_reported_at_once_moves_its_key_result_on_the_board(place: Town) -> None:
    place.clock.set(FEBRUARY)
    shell, roof, building = new_id(), new_id(), new_id()
    measurement = goals_pb2.Measurement(
        milestones=[
            goals_pb2.Milestone(milestone_id=shell, title="Shell", weight="0.4", due_on="2026-02-10"),
            goals_pb2.Milestone(milestone_id=roof, title="Roof", weight="0.6"),
        ]
    )
    await place.ana.goals.DefineKeyResult(
        key_result(
            place,
            key_result_id=building,
            title="Hand-over",
            type=goals_pb2.KEY_RESULT_TYPE_MILESTONE,
            start="",
            commit="1",
            target="",
            unit="",
            measurement=measurement,
        )
    )
    report = checkins_pb2.RecordCheckInRequest(
        request_id=new_id(),
        check_in_id=new_id(),
        key_result_id=building,
        milestone=checkins_pb2.MilestoneReport(milestone_id=shell, accepted=True),
    )
    done = (await place.ana.checkins.RecordCheckIn(report)).receipt
    row = await on_the_board(place, building, done.position)
    assert (row.type, row.value, row.progress, row.expected) == ("milestone", "0.4000", "0.4000", "0.4000")
    assert row.pace == insights_pb2.PACE_ON_PACE


async def test_what_is_kept_in_a_range_is_told_as_such(place: Town) -> None:
    place.clock.set(FEBRUARY)
    availability = new_id()
    await place.ana.goals.DefineKeyResult(
        key_result(
            place,
            key_result_id=availability,
            title="Availability",
            type=goals_pb2.KEY_RESULT_TYPE_MAINTAIN,
            start="",
            commit="",
            target="",
            measurement=goals_pb2.Measurement(low="99.9", tolerance="0.4", guard_rail=True),
        )
    )
    request = checkins_pb2.RecordCheckInRequest(
        request_id=new_id(), check_in_id=new_id(), key_result_id=availability, value="99.7"
    )
    done = (await place.ana.checkins.RecordCheckIn(request)).receipt
    row = await on_the_board(place, availability, done.position)
    assert (row.pace, row.progress, row.low, row.guard_rail) == (insights_pb2.PACE_NEAR_RANGE, "0.5000", "99.9", True)


async def test_an_objective_that_serves_another_is_no_orphan_and_a_copied_title_is_pointed_at(place: Town) -> None:
    child = new_id()
    title = "Predictable healthy growth"
    await place.ana.goals.DraftObjective(objective(place, objective_id=child, title=title))
    await place.ana.alignment.Align(
        alignment_pb2.AlignRequest(
            request_id=new_id(),
            cycle_id=place.cycle_id,
            objective_id=child,
            parent_objective_id=place.objective_id,
        )
    )
    await place.settle()
    rules = {}
    for objective_id in (child, place.objective_id):
        request = practice_pb2.LintObjectiveRequest(objective_id=objective_id)
        answer = await place.ana.practice.LintObjective(request)
        rules[objective_id] = {finding.practice.rule for finding in answer.findings}
    assert "O6" not in rules[child]
    assert "O7" in rules[child]
    assert "O6" not in rules[place.objective_id], "what others serve is the top"
