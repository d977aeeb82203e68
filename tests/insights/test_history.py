"""A key result's history, on a real PostgreSQL: who recorded what, when it was true and when it was known."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from okr.insights.v1 import insights_pb2 as pb
from okr_contracts.errors import InvalidInputError, NotFoundError
from okr_eventstore.model import shard_of
from tests.insights.facts import (
    ANA,
    BEN,
    REVENUE,
    champion_assigned,
    champion_released,
    checked_in,
    corrected,
    cycle_drafted,
    day,
    key_result_closed,
    key_result_defined,
    key_result_opened,
    named,
    objective_drafted,
    target_revised,
)
from tests.insights.world import Story, World

NOW = day(60)


async def begun(story: Story) -> None:
    await story.tell(day(1), cycle_drafted(), objective_drafted(), key_result_defined())


async def test_a_history_tells_everything_newest_first(story: Story) -> None:
    await begun(story)
    await story.tell(day(2), champion_assigned(BEN, "contributor"))
    await story.tell(day(3), key_result_opened(), actor="service:goals")
    slip = checked_in("90", day(9), confidence="0.6", note="first numbers")
    (recorded_at,) = await story.tell(day(10), slip, actor=f"person:{BEN}")
    await story.tell(day(20), target_revised("150", "200"))
    await story.tell(day(21), corrected(slip, "40", confidence="0.4"))
    await story.tell(day(22), champion_released(BEN, "contributor"))
    await story.tell(day(30), key_result_closed())

    history = await story.history(REVENUE, NOW)

    assert [entry.kind for entry in history.entries] == [
        "KeyResultClosed",
        "ChampionReleased",
        "CheckInCorrected",
        "TargetRevised",
        "CheckInRecorded",
        "KeyResultOpened",
        "ChampionAssigned",
        "KeyResultDefined",
    ]
    _, released, correction, revision, check_in, opened, assigned, defined = history.entries
    assert check_in == pb.HistoryEntry(
        kind="CheckInRecorded",
        recorded_at="2026-01-10T08:00:00Z",
        occurred_at="2026-01-09T08:00:00Z",
        person_id=str(BEN),
        check_in_id=str(slip.check_in_id),
        value="90",
        confidence="0.6",
        note="first numbers",
        progress="0.9000",
        position=str(recorded_at),
    )
    assert (correction.value, correction.previous_value) == ("40", "90")
    assert (correction.confidence, correction.previous_confidence) == ("0.4", "0.6")
    assert (correction.note, correction.check_in_id) == ("a slip of the pen", str(slip.check_in_id))
    assert correction.progress == "0.2000", "the target had been doubled by then"
    assert (revision.commit, revision.target) == ("150", "200")
    assert (revision.previous_commit, revision.previous_target) == ("50", "100")
    assert revision.note == "the market doubled"
    assert opened.person_id == "", "no person did it"
    assert (assigned.champion_id, assigned.role, assigned.person_id) == (str(BEN), "contributor", str(ANA))
    assert released.champion_id == str(BEN)
    assert (defined.start, defined.commit, defined.target) == ("0", "50", "100")
    assert defined.position == f"goals:{shard_of(story.organization_id)}:1:3"
    assert (history.key_result.value, history.key_result.target, history.key_result.open) == ("40", "200", False)
    assert history.next_page_token == ""


async def test_a_history_of_a_past_moment_ends_there(story: Story) -> None:
    await begun(story)
    slip = checked_in("90", day(10))
    await story.tell(day(10), slip)
    await story.tell(day(20), corrected(slip, "40"), target_revised("150", "200"))

    then = await story.history(REVENUE, NOW, day(19))
    assert [entry.kind for entry in then.entries] == ["CheckInRecorded", "KeyResultDefined"]
    assert (then.key_result.value, then.key_result.target) == ("90", "100")

    exactly = await story.history(REVENUE, NOW, day(20))
    assert {entry.kind for entry in exactly.entries[:2]} == {"CheckInCorrected", "TargetRevised"}
    before = await story.history(REVENUE, NOW, day(20) - timedelta(microseconds=1))
    assert before.entries == then.entries


async def test_a_correction_of_a_correction_says_what_it_put_right(story: Story) -> None:
    await begun(story)
    slip = checked_in("90", day(10))
    await story.tell(day(10), slip)
    await story.tell(day(11), checked_in("50", day(11)))
    await story.tell(day(20), corrected(slip, "40"))
    await story.tell(day(21), corrected(slip, "41"))

    entries = (await story.history(REVENUE, NOW)).entries
    assert [(entry.value, entry.previous_value) for entry in entries[:2]] == [("41", "40"), ("40", "90")]


async def test_a_revision_that_nobody_put_into_words_tells_where_it_came_from(story: Story) -> None:
    await begun(story)
    revised = replace(target_revised("150", "200"), reason=None, source="import okrs.csv, row 7")
    await story.tell(day(10), revised)
    assert (await story.history(REVENUE, NOW)).entries[0].note == "import okrs.csv, row 7"


async def test_a_page_of_entries_by_many_people_asks_once_for_their_keys(story: Story) -> None:
    await begun(story)
    people = [named(f"writer {number}") for number in range(8)]
    for number, person_id in enumerate(people):
        said = checked_in(str(number), day(10), name=f"by {number}", note=f"words {number}")
        await story.tell(day(10 + number), said, actor=f"person:{person_id}")
    before = len(story.world.rack.questions)

    history = await story.history(REVENUE, NOW)

    assert [entry.note for entry in history.entries[:8]] == [f"words {number}" for number in reversed(range(8))]
    asked = story.world.rack.questions[before:]
    assert [sorted(question) for question in asked] == [sorted(people)]


async def test_the_progress_of_a_check_in_is_that_of_its_day(story: Story) -> None:
    await begun(story)
    await story.tell(day(10), checked_in("50", day(10)))
    await story.tell(day(20), target_revised("100", "200"))
    await story.tell(day(30), checked_in("50", day(30)))

    entries = (await story.history(REVENUE, NOW)).entries
    assert [entry.progress for entry in entries if entry.value] == ["0.2500", "0.5000"]


@pytest.mark.parametrize("size", [1, 2, 5, 11, 100])
@pytest.mark.parametrize("past", [False, True], ids=["now", "then"])
async def test_pages_tell_every_entry_once(story: Story, size: int, past: bool) -> None:
    """Two services recorded at the very same moments: neither may hide the other at the edge of a page."""
    await begun(story)
    for number in range(2, 7):
        await story.tell(day(number), checked_in(str(number), day(number)), champion_assigned(named(f"p{number}")))

    told: list[str] = []
    token = ""
    for _ in range(12):
        page = await story.history(REVENUE, NOW, NOW if past else None, size=size, token=token)
        assert len(page.entries) <= size
        told += [entry.position for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert len(told) == len(set(told)) == 11
    assert told == [entry.position for entry in (await story.history(REVENUE, NOW)).entries]


async def test_a_key_result_nobody_or_somebody_else_knows_is_not_found(story: Story, world: World) -> None:
    other = world.story()
    await begun(other)
    for key_result_id in (REVENUE, named("never")):
        with pytest.raises(NotFoundError, match="key result"):
            await story.history(key_result_id, NOW)


async def test_a_key_result_is_not_found_before_it_was_defined(story: Story) -> None:
    await story.tell(day(10), cycle_drafted(), objective_drafted(), key_result_defined())
    with pytest.raises(NotFoundError):
        await story.history(REVENUE, NOW, day(9))
    assert len((await story.history(REVENUE, NOW, day(10))).entries) == 1


async def test_a_moment_still_to_come_is_refused(story: Story) -> None:
    await begun(story)
    with pytest.raises(InvalidInputError, match="as_of"):
        await story.history(REVENUE, NOW, NOW + timedelta(days=1))
