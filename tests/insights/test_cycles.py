"""Boards of cycles that are judged by rules of their own, and boards as of the end of one."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal as D

import pytest

from okr.insights.v1 import insights_pb2 as pb
from okr_chassis.identity.auth import calling
from okr_chassis.rpc.messages import wire
from okr_contracts.directory import UnitRenamed
from okr_contracts.errors import DomainError
from okr_contracts.goals import CycleClosed, CyclePublished, KeyResultGraded, PinnedRules
from okr_eventstore.model import Position
from okr_rules.parameters import DEFAULTS
from tests.insights.facts import (
    GROW,
    Q1,
    REVENUE,
    SALES,
    checked_in,
    cycle_drafted,
    day,
    key_result_defined,
    key_result_opened,
    objective_activated,
    objective_closed,
    objective_drafted,
    organization_founded,
    unit_added,
)
from tests.insights.world import CONTEXT, Story

STRICT = replace(DEFAULTS, version="2020-1", behind_from=D("-0.01"), on_pace_from=D("-0.01"))
"""Rules of a former release, by which one is far behind sooner."""


async def begun(story: Story, *, published: bool) -> None:
    rules = [CyclePublished(Q1, PinnedRules(STRICT.version, STRICT.document()))] if published else []
    await story.tell(day(1), organization_founded(), unit_added(), cycle_drafted(), *rules, objective_drafted())
    await story.tell(day(1), key_result_defined(), objective_activated(), key_result_opened())


async def end_of_q1(story: Story) -> pb.GetBoardResponse:
    request = pb.GetBoardRequest(cycle_id=wire(Q1), as_of_cycle_end=True)
    with calling(story.caller):
        return await story.world.api.GetBoard(request, CONTEXT)


async def test_a_cycle_is_judged_by_the_rules_it_was_published_with(story: Story) -> None:
    await begun(story, published=True)
    await story.tell(day(46), checked_in("45", day(46)))

    board = await story.board(day(46))
    (row,) = board.objectives[0].key_results
    assert (row.pace, board.objectives[0].pace) == (pb.PACE_FAR_BEHIND, pb.PACE_FAR_BEHIND)
    assert (board.rule_version, board.cycle_state) == ("2020-1", "published")
    history = await story.history(REVENUE, day(46))
    assert history.key_result.pace == pb.PACE_FAR_BEHIND


async def test_a_cycle_from_before_rules_were_kept_is_judged_by_todays(story: Story) -> None:
    await begun(story, published=False)
    await story.tell(day(46), checked_in("45", day(46)))

    board = await story.board(day(46))
    assert (board.objectives[0].key_results[0].pace, board.rule_version) == (pb.PACE_ON_PACE, DEFAULTS.version)


async def test_a_board_as_of_the_end_shows_what_the_positions_of_the_close_had_heard(story: Story) -> None:
    """Told by positions and not by the clock: everything here became known at the same moment."""
    await begun(story, published=True)
    at = day(95)
    graded = KeyResultGraded(
        key_result_id=REVENUE,
        objective_id=GROW,
        computed=D("0.58"),
        final=D("0.7"),
        zone="commit",
        value=D(70),
        commit=D(50),
        target=D(100),
        rule_version="2020-1",
    )
    heard = await story.tell(at, unit_added(SALES, "Sales"), checked_in("70", day(90)), graded, objective_closed())
    await story.tell(at, UnitRenamed(SALES, "Revenue"), checked_in("99", day(90)))
    await story.tell(at, CycleClosed(Q1, tuple(str(each) for each in _last(heard))))

    then, now = await end_of_q1(story), await story.board(at, cycle=Q1)
    assert (then.objectives[0].unit_name, now.objectives[0].unit_name) == ("Sales", "Revenue")
    assert (then.objectives[0].key_results[0].value, now.objectives[0].key_results[0].value) == ("70", "99")
    row = then.objectives[0].key_results[0]
    assert (row.score, row.computed_score, row.zone, then.objectives[0].outcome) == (
        "0.7",
        "0.58",
        "commit",
        "achieved",
    )
    entry = next(each for each in (await story.history(REVENUE, at)).entries if each.kind == "KeyResultGraded")
    assert (entry.score, entry.computed_score) == ("0.7", "0.58")


async def test_a_cycle_that_is_not_closed_has_no_end_to_look_at(story: Story) -> None:
    await begun(story, published=True)
    with pytest.raises(DomainError, match="not closed"):
        await end_of_q1(story)


def _last(positions: Sequence[Position]) -> list[Position]:
    """How far each service went."""
    return list({each.service: each for each in positions}.values())
