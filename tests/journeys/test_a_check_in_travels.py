"""A check-in from gRPC to history, inbox and any past moment."""

from datetime import timedelta

from okr.checkins.v1 import checkins_pb2
from okr.goals.v1 import goals_pb2
from okr.insights.v1 import insights_pb2
from okr.notifications.v1 import notifications_pb2
from tests.journeys.town import FEBRUARY, Town
from tests.support.house import new_id


async def board(place: Town, *positions: str, as_of: str = "") -> insights_pb2.BoardKeyResult:
    answer = await place.ana.insights.GetBoard(insights_pb2.GetBoardRequest(as_of=as_of, min_positions=positions))
    (objective,) = answer.objectives
    (key_result,) = objective.key_results
    found: insights_pb2.BoardKeyResult = key_result
    return found


async def inbox(place: Town) -> list[notifications_pb2.Notification]:
    await place.settle()
    answer = await place.ana.notifications.ListInbox(notifications_pb2.ListInboxRequest())
    return list(answer.notifications)


async def test_a_check_in_is_on_the_board_as_soon_as_its_position_is_asked_for(place: Town) -> None:
    place.clock.set(FEBRUARY)
    done = await place.check_in("25", confidence="0.7", note="Two large deals signed")

    row = await board(place, done.receipt.position)

    assert (row.value, row.confidence) == ("25", "0.7")
    assert row.progress == "0.5000"
    assert row.expected == "0.5112"  # noon of 15 February: 45.5 of 89 days
    assert row.pace == insights_pb2.PACE_ON_PACE
    assert row.accountable_id == str(place.ana.person_id)


async def test_history_tells_what_was_said_corrected_and_revised_and_by_whom(place: Town) -> None:
    place.clock.set(FEBRUARY)
    first = await place.check_in("24", note="from the weekly report")
    place.clock.advance(timedelta(hours=1))
    await place.ana.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new_id(),
            check_in_id=first.check_in_id,
            key_result_id=place.key_result_id,
            value="23",
            reason="the report counted a renewal",
        )
    )
    place.clock.advance(timedelta(hours=1))
    await place.ana.goals.ReviseTarget(
        goals_pb2.ReviseTargetRequest(
            request_id=new_id(),
            objective_id=place.objective_id,
            key_result_id=place.key_result_id,
            target="32",
            reason="a new product line",
        )
    )
    await place.settle()

    history = await place.ana.insights.GetKeyResultHistory(
        insights_pb2.GetKeyResultHistoryRequest(key_result_id=place.key_result_id)
    )

    told = [(entry.kind, entry.value, entry.target) for entry in history.entries]
    assert told[:3] == [("TargetRevised", "", "32"), ("CheckInCorrected", "23", ""), ("CheckInRecorded", "24", "")]
    assert {entry.person_id for entry in history.entries[:3]} == {str(place.ana.person_id)}
    assert history.entries[0].note == "a new product line"


async def test_a_board_as_of_a_past_moment_tells_what_was_known_then(place: Town) -> None:
    place.clock.set(FEBRUARY)
    await place.check_in("22")
    then = FEBRUARY + timedelta(days=1)
    place.clock.set(FEBRUARY + timedelta(days=14))
    await place.check_in("29")
    # Said later about an earlier day: on the day itself nobody knew.
    await place.check_in("23", occurred_at="2026-02-10T12:00:00Z")
    await place.settle()

    assert (await board(place)).value == "29"
    assert (await board(place, as_of=then.isoformat())).value == "22"


async def test_falling_behind_and_reaching_the_commit_are_told_once(place: Town) -> None:
    place.clock.set(FEBRUARY)
    await place.check_in("21")
    await place.check_in("21.1")
    place.clock.advance(timedelta(days=7))
    await place.check_in("26")
    await place.check_in("27")

    kinds = [each.kind for each in await inbox(place)]

    assert kinds == [
        notifications_pb2.NOTIFICATION_KIND_COMMIT_REACHED,
        notifications_pb2.NOTIFICATION_KIND_FELL_BEHIND,
        notifications_pb2.NOTIFICATION_KIND_BECAME_ACCOUNTABLE,
    ]


async def test_a_check_in_right_after_the_activation_needs_no_patience(place: Town) -> None:
    """The consumers of checkins may not have heard of the key result yet; the service asks."""
    key_result_id = new_id()
    await place.ana.goals.DefineKeyResult(
        goals_pb2.DefineKeyResultRequest(
            request_id=new_id(),
            objective_id=place.objective_id,
            key_result_id=key_result_id,
            title="Net new revenue",
            start="0",
            target="550",
            unit="k€",
            champions=[
                goals_pb2.Champion(person_id=str(place.ana.person_id), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)
            ],
        )
    )

    done = await place.ana.checkins.RecordCheckIn(
        checkins_pb2.RecordCheckInRequest(
            request_id=new_id(), check_in_id=new_id(), key_result_id=key_result_id, value="12"
        )
    )

    assert done.receipt.version == 2


async def test_after_the_close_nothing_is_taken_and_everything_stays_readable(place: Town) -> None:
    place.clock.set(FEBRUARY)
    await place.check_in("26")
    await place.ana.goals.CloseObjective(
        goals_pb2.CloseObjectiveRequest(
            request_id=new_id(), objective_id=place.objective_id, outcome=goals_pb2.OBJECTIVE_OUTCOME_PARTLY
        )
    )
    await place.settle()

    row = await board(place)
    assert (row.value, row.open) == ("26", False)
