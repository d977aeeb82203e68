"""The board, on a real PostgreSQL with events in real logs: now, then, in pages, by unit."""

from datetime import date, timedelta
from uuid import UUID

import pytest

from okr.insights.v1 import insights_pb2 as pb
from okr_chassis.identity.auth import calling
from okr_chassis.rpc.errors import NotCaughtUpError
from okr_contracts.directory import UnitMoved, UnitRenamed
from okr_contracts.errors import InvalidInputError, NotFoundError
from okr_contracts.goals import CycleActivated
from okr_eventstore.model import Position, shard_of
from tests.insights.facts import (
    ANA,
    BEN,
    GROW,
    Q1,
    REVENUE,
    SALES,
    aligned,
    champion_assigned,
    checked_in,
    corrected,
    cycle_drafted,
    day,
    key_result_closed,
    key_result_defined,
    key_result_opened,
    named,
    objective_activated,
    objective_closed,
    objective_drafted,
    organization_founded,
    target_revised,
    unaligned,
    unit_added,
)
from tests.insights.world import CONTEXT, Story, World

NOW = day(60)


async def begun(story: Story) -> None:
    """An organisation with one unit, one cycle, one objective and one key result, open from the first day of 2026."""
    await story.tell(day(1), organization_founded(), unit_added(), cycle_drafted(), CycleActivated(Q1))
    await story.tell(day(1), objective_drafted(), key_result_defined(), champion_assigned())
    await story.tell(day(1), objective_activated(), key_result_opened())


async def test_the_board_shows_an_objective_with_all_it_rests_on(story: Story) -> None:
    await begun(story)
    await story.tell(day(46), checked_in("42", day(46), confidence="0.7"))

    board = await story.board(day(46))

    assert (board.organization_name, board.cycle_name) == ("Acme", "Q1 2026")
    assert (board.cycle_starts_on, board.cycle_ends_on) == ("2026-01-01", "2026-03-31")
    assert board.as_of == "2026-02-15T08:00:00Z"
    (objective,) = board.objectives
    assert objective == pb.BoardObjective(
        objective_id=str(GROW),
        title="Grow",
        unit_id=str(SALES),
        unit_name="Sales",
        owner_id=str(ANA),
        cycle_id=str(Q1),
        state="active",
        progress="0.4200",
        expected="0.5094",
        pace=pb.PACE_ON_PACE,
        checked_in_at="2026-02-15T08:00:00Z",
        key_results=[
            pb.BoardKeyResult(
                key_result_id=str(REVENUE),
                title="Revenue",
                unit="EUR",
                start="0",
                commit="50",
                target="100",
                value="42",
                confidence="0.7",
                progress="0.4200",
                expected="0.5094",
                pace=pb.PACE_ON_PACE,
                pace_days="-8.0",
                checked_in_at="2026-02-15T08:00:00Z",
                accountable_id=str(ANA),
                open=True,
                starts_on="2026-01-01",
                due_on="2026-03-31",
                type="increase",
                weight="1",
            )
        ],
    )


async def test_without_any_fact_the_board_is_empty(story: Story) -> None:
    assert await story.board(NOW) == pb.GetBoardResponse(as_of="2026-03-01T08:00:00Z")


async def test_before_the_organisation_the_board_is_empty_even_for_a_unit_and_a_cycle_of_later(story: Story) -> None:
    await story.tell(day(10), organization_founded(), unit_added(), cycle_drafted(), objective_drafted())

    for board in (
        await story.board(NOW, day(9)),
        await story.board(NOW, day(9), unit=SALES),
        await story.board(NOW, day(9), cycle=Q1),
    ):
        assert board == pb.GetBoardResponse(as_of="2026-01-09T08:00:00Z")


async def test_the_board_of_a_past_moment_shows_what_was_known_then(story: Story) -> None:
    await begun(story)
    await story.tell(day(10), checked_in("10", day(10)))
    await story.tell(day(20), checked_in("30", day(20)), champion_assigned(BEN))
    await story.tell(day(30), target_revised("150", "200"), UnitRenamed(SALES, "Revenue"))
    await story.tell(day(40), key_result_closed(), objective_closed())

    async def seen(number: int) -> tuple[str, str, str, str, str, bool]:
        objective = await story.objective(NOW, day(number))
        (key_result,) = objective.key_results
        return (
            objective.state,
            objective.unit_name,
            key_result.value,
            key_result.progress,
            key_result.accountable_id,
            key_result.open,
        )

    assert await seen(5) == ("active", "Sales", "", "", str(ANA), True)
    assert await seen(15) == ("active", "Sales", "10", "0.1000", str(ANA), True)
    assert await seen(25) == ("active", "Sales", "30", "0.3000", str(BEN), True)
    assert await seen(35) == ("active", "Revenue", "30", "0.1500", str(BEN), True)
    assert await seen(45) == ("closed", "Revenue", "30", "0.1500", str(BEN), False)


async def test_a_moment_includes_what_was_recorded_exactly_then(story: Story) -> None:
    await begun(story)
    await story.tell(day(10), checked_in("10", day(10)))

    assert (await story.key_result(NOW, day(10))).value == "10"
    assert (await story.key_result(NOW, day(10) - timedelta(microseconds=1))).value == ""


async def test_pace_is_judged_at_the_moment_asked_about(story: Story) -> None:
    await begun(story)
    await story.tell(day(20), checked_in("30", day(20)))

    assert (await story.key_result(day(20))).pace == pb.PACE_AHEAD
    assert (await story.key_result(day(90))).pace == pb.PACE_FAR_BEHIND
    assert (await story.key_result(day(90), day(20))).pace == pb.PACE_AHEAD


async def test_as_of_now_and_no_moment_agree(story: Story) -> None:
    await begun(story)
    late = checked_in("30", day(20))
    await story.tell(day(25), late)
    await story.tell(day(30), checked_in("10", day(10)), corrected(late, "33"), target_revised("150", "200"))
    await story.tell(day(40), objective_drafted(named("second"), "Second"), aligned(named("second"), GROW))

    assert await story.board(NOW) == await story.board(NOW, NOW)
    assert await story.history(REVENUE, NOW) == await story.history(REVENUE, NOW, NOW)


async def test_a_moment_still_to_come_is_refused(story: Story) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await story.board(NOW, NOW + timedelta(seconds=1))
    (violation,) = refused.value.violations
    assert (violation.field, violation.reason) == ("as_of", "AS_OF_IN_THE_FUTURE")


async def test_every_fault_of_a_question_is_named_at_once(story: Story) -> None:
    request = pb.GetBoardRequest(cycle_id="Q1", unit_id="sales", as_of="yesterday", min_positions=["here"])
    with calling(story.caller), pytest.raises(InvalidInputError) as refused:
        await story.world.api.GetBoard(request, CONTEXT)
    assert {violation.field for violation in refused.value.violations} == {
        "cycle_id",
        "unit_id",
        "as_of",
        "min_positions.0",
    }


async def test_a_back_dated_check_in_is_known_and_not_the_last(story: Story) -> None:
    await begun(story)
    await story.tell(day(20), checked_in("30", day(20)))
    await story.tell(day(25), checked_in("12", day(12)))

    key_result = await story.key_result(NOW)
    assert (key_result.value, key_result.checked_in_at) == ("30", "2026-01-20T08:00:00Z")


async def test_a_correction_shows_from_when_it_was_made(story: Story) -> None:
    await begun(story)
    slip = checked_in("90", day(20))
    await story.tell(day(20), slip)
    await story.tell(day(30), corrected(slip, "9"))

    assert (await story.key_result(NOW)).value == "9"
    assert (await story.key_result(NOW, day(29))).value == "90"


async def test_the_parent_is_that_of_the_moment(story: Story) -> None:
    await begun(story)
    company, child = named("company"), named("child")
    await story.tell(day(2), objective_drafted(company, "Company"), objective_drafted(child, "Child"))
    await story.tell(day(10), aligned(child, GROW))
    await story.tell(day(20), aligned(child, company))
    await story.tell(day(30), unaligned(child, company))

    async def parent(number: int) -> str:
        board = await story.board(NOW, day(number))
        (objective,) = (each for each in board.objectives if each.objective_id == str(child))
        return objective.parent_objective_id

    assert [await parent(number) for number in (5, 15, 25, 35)] == ["", str(GROW), str(company), ""]


async def test_an_objective_without_key_results_has_no_progress(story: Story) -> None:
    await story.tell(day(1), cycle_drafted(), objective_drafted())
    objective = await story.objective(NOW)
    assert (objective.progress, objective.expected, objective.pace) == ("", "", pb.PACE_UNSPECIFIED)
    assert (objective.state, objective.unit_name) == ("draft", "")


async def test_an_objective_rolls_its_key_results_up(story: Story) -> None:
    await begun(story)
    churn = named("churn")
    await story.tell(day(1), key_result_defined(churn, title="Churn", start="9", commit="4", target="2"))
    await story.tell(day(46), checked_in("80", day(46)), checked_in("5.5", day(44), key_result_id=churn))

    objective = await story.objective(day(46))
    assert [key_result.title for key_result in objective.key_results] == ["Revenue", "Churn"]
    assert [key_result.progress for key_result in objective.key_results] == ["0.8000", "0.5000"]
    assert (objective.progress, objective.pace) == ("0.6500", pb.PACE_AHEAD)
    assert objective.checked_in_at == "2026-02-15T08:00:00Z"


async def test_a_unit_shows_what_it_and_all_below_it_pursue(story: Story) -> None:
    company, north, village, south = (named(name) for name in ("company", "north", "village", "south"))
    await story.tell(
        day(1),
        unit_added(company, "Company"),
        unit_added(north, "North", company),
        unit_added(village, "Village", north),
        unit_added(south, "South", company),
        cycle_drafted(),
    )
    for unit in (company, north, village, south):
        await story.tell(day(1), objective_drafted(named(f"objective of {unit}"), unit_id=unit))

    async def units(unit: UUID | None, as_of: int) -> list[str]:
        return [each.unit_name for each in (await story.board(NOW, day(as_of), unit=unit)).objectives]

    assert await units(None, 5) == ["Company", "North", "Village", "South"]
    assert await units(company, 5) == ["Company", "North", "Village", "South"]
    assert await units(north, 5) == ["North", "Village"]
    assert await units(south, 5) == ["South"]

    await story.tell(day(10), UnitMoved(village, south))
    assert await units(north, 15) == ["North"]
    assert await units(south, 15) == ["Village", "South"]
    assert await units(north, 9) == ["North", "Village"], "the tree is that of the moment"
    assert [each.unit_name for each in (await story.board(NOW, unit=south)).objectives] == ["Village", "South"]


async def test_a_loop_in_the_tree_of_units_ends(story: Story) -> None:
    one, two = named("one"), named("two")
    await story.tell(day(1), unit_added(one, "One", two), unit_added(two, "Two", one), cycle_drafted())
    await story.tell(day(1), objective_drafted(unit_id=two))
    assert len((await story.board(NOW, unit=one)).objectives) == 1


@pytest.mark.parametrize("as_of", [None, NOW], ids=["now", "then"])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
async def test_pages_show_every_objective_once_in_the_order_of_drafting(story: Story, size: int, as_of: object) -> None:
    await story.tell(day(1), unit_added(), cycle_drafted())
    titles = [f"Objective {number}" for number in range(7)]
    await story.tell(day(2), *(objective_drafted(named(title), title) for title in titles))
    await story.tell(day(2), *(key_result_defined(named(f"{t} kr"), named(t)) for t in titles))

    shown: list[str] = []
    token = ""
    for _ in range(10):
        board = await story.board(NOW, NOW if as_of else None, size=size, token=token, unit=SALES)
        assert len(board.objectives) <= size
        assert all(len(objective.key_results) == 1 for objective in board.objectives)
        shown += [objective.title for objective in board.objectives]
        token = board.next_page_token
        if not token:
            break
    assert shown == titles


async def test_an_objective_drafted_between_two_pages_comes_on_the_last(story: Story) -> None:
    await story.tell(day(1), cycle_drafted(), objective_drafted(named("a"), "A"), objective_drafted(named("b"), "B"))
    first = await story.board(NOW, size=1)
    await story.tell(NOW, objective_drafted(named("c"), "C"), objective_closed(named("b")))
    second = await story.board(NOW, size=2, token=first.next_page_token)
    assert [each.title for each in (*first.objectives, *second.objectives)] == ["A", "B", "C"]


async def test_a_page_token_belongs_to_its_question_and_its_organisation(story: Story, world: World) -> None:
    facts = (cycle_drafted(), objective_drafted(named("a"), "A"), objective_drafted(named("b"), "B"))
    await story.tell(day(1), *facts)
    token = (await story.board(NOW, size=1)).next_page_token
    other = world.story()
    await other.tell(day(1), *facts)

    with pytest.raises(InvalidInputError, match=r"page\.token"):
        await story.board(NOW, size=1, token=token, cycle=Q1)
    with pytest.raises(InvalidInputError, match=r"page\.token"):
        await other.board(NOW, size=1, token=token)


async def test_the_second_page_stays_in_the_cycle_of_the_first(story: Story) -> None:
    q2 = named("q2")
    await story.tell(day(1), cycle_drafted(), cycle_drafted(q2, "Q2 2026", date(2026, 4, 1), date(2026, 6, 30)))
    await story.tell(day(1), objective_drafted(named("a"), "A"), objective_drafted(named("b"), "B"))
    first = await story.board(day(90), size=1)
    second = await story.board(day(91), size=1, token=first.next_page_token)
    assert (first.cycle_name, second.cycle_name) == ("Q1 2026", "Q1 2026")
    assert (await story.board(day(91))).cycle_name == "Q2 2026"


async def test_the_board_shows_the_cycle_that_ran_at_the_moment_unless_one_is_named(story: Story) -> None:
    q2 = named("q2")
    await story.tell(day(1), cycle_drafted(), CycleActivated(Q1))
    await story.tell(day(80), cycle_drafted(q2, "Q2 2026", date(2026, 4, 1), date(2026, 6, 30)))

    assert (await story.board(day(100))).cycle_name == "Q2 2026"
    assert (await story.board(day(100), day(85))).cycle_name == "Q1 2026"
    assert (await story.board(day(100), cycle=Q1)).cycle_name == "Q1 2026"
    assert (await story.board(day(300))).cycle_name == "Q2 2026", "none runs: the newest"
    assert (await story.board(day(100), day(79), cycle=q2)).cycle_name == "", "not known yet"


async def test_ids_that_are_unknown_or_another_organisations_are_not_found(story: Story, world: World) -> None:
    other = world.story()
    elsewhere, their_cycle = named("elsewhere"), named("their cycle")
    await other.tell(day(1), unit_added(elsewhere), cycle_drafted(their_cycle), objective_drafted(cycle_id=their_cycle))
    await begun(story)

    for unit in (elsewhere, named("nowhere")):
        with pytest.raises(NotFoundError, match="unit"):
            await story.board(NOW, unit=unit)
    for cycle in (their_cycle, named("never")):
        with pytest.raises(NotFoundError, match="cycle"):
            await story.board(NOW, day(5), cycle=cycle)


async def test_organisations_that_use_the_same_ids_see_their_own(story: Story, world: World) -> None:
    other = world.story()
    await begun(story)
    await begun(other)
    await story.tell(day(10), checked_in("10", day(10)))
    await other.tell(day(10), checked_in("20", day(10)))

    for as_of in (None, day(15)):
        assert (await story.key_result(NOW, as_of)).value == "10"
        assert (await other.key_result(NOW, as_of)).value == "20"


async def test_a_read_waits_for_the_writes_it_names(story: Story) -> None:
    await begun(story)
    (position,) = await story.tell(day(10), checked_in("10", day(10)))
    story.world.clock.set(NOW)
    with calling(story.caller):
        await story.world.api.GetBoard(pb.GetBoardRequest(min_positions=[str(position)]), CONTEXT)
        ahead = Position(position.service, position.shard, position.epoch, position.position + 1)
        with pytest.raises(NotCaughtUpError):
            await story.world.api.GetBoard(pb.GetBoardRequest(min_positions=[str(ahead)]), CONTEXT)


async def test_a_position_of_another_organisation_is_refused(story: Story, world: World) -> None:
    theirs = Position("goals", shard_of(world.story().organization_id), 1, 1)
    with calling(story.caller), pytest.raises(InvalidInputError, match="min_positions"):
        await world.api.GetBoard(pb.GetBoardRequest(min_positions=[str(theirs)]), CONTEXT)
