"""Everything insights keeps can be dropped and built again from the logs, and is the same."""

from okr_contracts.goals import CycleActivated
from okr_eventstore.rebuild import rebuild, verify
from okr_eventstore.runner import Runner
from okr_insights.read_model import projections
from tests.insights.facts import (
    BEN,
    GROW,
    Q1,
    REVENUE,
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
    objective_drafted,
    organization_founded,
    target_revised,
    unaligned,
    unit_added,
)
from tests.insights.world import Story, World

NOW = day(60)


async def lived(story: Story) -> None:
    """A history with something of everything."""
    child = named("child")
    slip = checked_in("90", day(20))
    await story.tell(day(1), organization_founded(), unit_added(), cycle_drafted(), CycleActivated(Q1))
    await story.tell(day(1), objective_drafted(), key_result_defined(), champion_assigned(), objective_activated())
    await story.tell(day(2), key_result_opened(), objective_drafted(child, "Child"), aligned(child, GROW))
    await story.tell(day(20), slip, checked_in("5", day(10)), champion_assigned(BEN))
    await story.tell(day(30), corrected(slip, "9"), target_revised("150", "200"), unaligned(child, GROW))
    await story.tell(day(40), checked_in("40", day(40)), key_result_closed())


async def test_the_logs_folded_afresh_are_the_rows_there_are(world: World) -> None:
    for _ in range(3):
        await lived(world.story())
    for projection in projections:
        verdict = await verify(projection, world.insights, runner_of(world, projection.name).source)
        assert verdict.equal, verdict
        assert verdict.events > 0
        assert all(table.live.rows > 0 for table in verdict.tables)


async def test_a_rebuild_changes_no_answer_and_later_facts_are_heard(world: World) -> None:
    story = world.story()
    await lived(story)
    moments = [None, day(1), day(25), day(35)]
    before = [(await story.board(NOW, as_of), await story.history(REVENUE, NOW, as_of)) for as_of in moments]

    for projection in projections:
        rebuilt = await rebuild(projection, world.insights, runner_of(world, projection.name).source)
        assert rebuilt.equal

    assert [(await story.board(NOW, as_of), await story.history(REVENUE, NOW, as_of)) for as_of in moments] == before
    await story.tell(day(50), checked_in("50", day(50)))
    (objective, _) = (await story.board(NOW)).objectives
    assert objective.key_results[0].value == "50"


def runner_of(world: World, name: str) -> Runner:
    (runner,) = (runner for runner in world.runners if runner.name == name)
    return runner
