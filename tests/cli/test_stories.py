"""The sample organisations hold together: their files can be read, and their stories are lawful."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from okr.goals.v1.goals_pb2 import PlanRow
from okr_cli.spreadsheet.reader import read_plan
from okr_cli.story import StepPart, Story, examples, stories, timeline
from okr_eventstore.model import shard_of

NOW = datetime(2026, 6, 15, 15, 30, tzinfo=UTC)
ALL = pytest.mark.parametrize("story", stories(), ids=lambda story: story.organization.slug)


def rows(story: Story) -> dict[str, PlanRow]:
    return {row.key_result: row for row in story.read_plan().rows}


@ALL
def test_the_spreadsheet_of_a_story_is_read_without_faults_and_without_guesses(story: Story) -> None:
    plan = story.read_plan()
    assert plan.faults == ()
    assert plan.ignored_columns == ()
    assert all("is read as a number out of" in note for note in plan.notes)


@ALL
def test_a_plan_is_of_a_size_that_people_can_follow(story: Story) -> None:
    objectives: dict[str, int] = {}
    for row in story.read_plan().rows:
        objectives[row.objective] = objectives.get(row.objective, 0) + 1
    assert 3 <= len(objectives) <= 6
    assert all(2 <= count <= 4 for count in objectives.values())
    assert any(len(row.champions) > 1 for row in story.read_plan().rows)


@ALL
def test_every_name_of_the_spreadsheet_belongs_to_a_person_and_a_unit_of_the_story(story: Story) -> None:
    names = {person.name for person in story.people}
    units = {unit.name for unit in story.units}
    titles = {row.objective for row in story.read_plan().rows}
    for row in story.read_plan().rows:
        assert {row.owner, *row.champions} <= names
        assert row.department in units
        assert not row.parent_objective or row.parent_objective in titles


@ALL
def test_units_and_people_are_sound(story: Story) -> None:
    units = [unit.name for unit in story.units]
    handles = [person.handle for person in story.people]
    assert len(set(units)) == len(units)
    assert len(set(handles)) == len(handles)
    assert sum(person.leader for person in story.people) == 1
    for index, unit in enumerate(story.units):
        assert unit.parent is None or unit.parent in units[:index]
    for person in story.people:
        assert person.unit in units
        assert not person.email or person.email.endswith(".example")


@ALL
def test_every_step_is_taken_by_a_person_of_the_story_on_a_key_result_of_the_plan(story: Story) -> None:
    handles = {person.handle for person in story.people}
    assert {key_result.title for key_result in story.key_results} == set(rows(story))
    for step in story.steps():
        assert step.part.by in handles
        assert step.part.hand_over is None or step.part.hand_over in handles


@ALL
def test_history_covers_eight_weeks_ends_today_and_lies_within_a_cycle_that_still_runs(story: Story) -> None:
    today = story.today(NOW)
    first, last = story.cycle_days(today)
    assert first <= story.day(today, story.plan.days_ago) <= first + timedelta(days=7)
    assert story.plan.days_ago == 56
    assert first < today < last
    for step in story.steps():
        assert first <= story.day(today, step.part.days_ago) <= today
        if step.part.was_days_ago is not None:
            assert step.part.days_ago < step.part.was_days_ago
            assert first <= story.day(today, step.part.was_days_ago)
    for key_result in story.key_results:
        assert key_result.steps[-1].days_ago == 0
        assert all(before.days_ago > after.days_ago for before, after in pairwise(key_result.steps))


@ALL
def test_corrections_revisions_and_confidences_are_lawful(story: Story) -> None:
    plan = rows(story)
    for key_result in story.key_results:
        row = plan[key_result.title]
        start = Decimal(row.start)
        checked_in = {part.days_ago for part in key_result.steps if part.check_in is not None}
        for part in key_result.steps:
            assert not part.confidence or 0 <= Decimal(part.confidence) <= 1
            if part.check_in is not None:
                assert Decimal(part.check_in).is_finite()
            if part.correct is not None:
                assert part.correct in checked_in
                assert part.reason
            if part.revise_target is not None:
                commit, target = Decimal(part.revise_commit), Decimal(part.revise_target)
                assert start < commit <= target or start > commit >= target
                assert part.reason


@ALL
def test_each_story_shows_what_a_history_is_for(story: Story) -> None:
    parts = [step.part for step in story.steps()]
    assert any(part.correct is not None for part in parts), "a correction"
    assert any(part.was_days_ago is not None for part in parts), "a back-dated value"
    assert any(part.revise_target is not None for part in parts), "a revised target"
    assert any(part.hand_over is not None for part in parts), "a champion who hands over"
    assert any(
        progress(story, key_result.title)[-1] >= commit(story, key_result.title) for key_result in story.key_results
    )


@ALL
def test_one_key_result_falls_behind_and_recovers(story: Story) -> None:
    recovered = []
    for key_result in story.key_results:
        deltas = [done - expected(story, part) for done, part in walked(story, key_result.title)]
        recovered.append(min(deltas) < Decimal("-0.10") <= deltas[-1])
    assert any(recovered)


def walked(story: Story, title: str) -> list[tuple[Decimal, StepPart]]:
    """Progress at each check-in, against the target of the plan."""
    row = rows(story)[title]
    start, target = Decimal(row.start), Decimal(row.target)
    (steps,) = (key_result.steps for key_result in story.key_results if key_result.title == title)
    return [((Decimal(part.check_in) - start) / (target - start), part) for part in steps if part.check_in is not None]


def progress(story: Story, title: str) -> list[Decimal]:
    return [done for done, _ in walked(story, title)]


def commit(story: Story, title: str) -> Decimal:
    row = rows(story)[title]
    return (Decimal(row.commit) - Decimal(row.start)) / (Decimal(row.target) - Decimal(row.start))


def expected(story: Story, part: StepPart) -> Decimal:
    return Decimal(story.cycle.began_days_ago - part.days_ago) / Decimal(story.cycle.days - 1)


def test_the_software_company_aligns_two_departments_with_one_objective_on_two_levels() -> None:
    software = stories()[0]
    parents = {row.objective: row.parent_objective for row in software.read_plan().rows}
    departments = {row.objective: row.department for row in software.read_plan().rows}
    (top,) = (title for title, parent in parents.items() if not parent)
    below = {title for title, parent in parents.items() if parent == top}
    assert {departments[title] for title in below} == {"Software", "Marketing"}
    assert any(parent in below for parent in parents.values())


def test_the_construction_firm_has_the_same_plan_as_workbook_and_as_csv() -> None:
    folder = examples() / "construction-firm"

    def content(name: str) -> list[bytes]:
        found = []
        for row in read_plan((folder / name).read_bytes()).rows:
            row.row = 0
            found.append(row.SerializeToString(deterministic=True))
        return found

    assert content("okrs.xlsx") == content("okrs.csv")


def test_the_bakery_writes_as_its_neighbours_do() -> None:
    text = (examples() / "bakery" / "okrs.csv").read_text()
    assert "4,2;4,5;4,7" in text
    assert "1.250,5" in text


def test_the_organisations_live_in_different_shards_so_that_each_log_keeps_its_own_time() -> None:
    assert len({shard_of(story.organization_id) for story in stories()}) == len(stories())


@ALL
def test_ids_are_the_same_whenever_a_story_is_told(story: Story) -> None:
    again = next(each for each in stories() if each.organization.slug == story.organization.slug)
    assert again.id_of("check-in", "x 1") == story.id_of("check-in", "x 1")
    assert list(again.steps()) == list(story.steps())


@ALL
@pytest.mark.parametrize("hour", [0, 7, 9, 12, 23])
def test_a_story_ends_before_now_and_goes_forward_at_any_time_of_day(story: Story, hour: int) -> None:
    now = NOW.replace(hour=hour, minute=1)
    moments = [at for at, _ in timeline(story, story.today(now), now)]
    assert moments == sorted(moments)
    assert moments[-1] < now
    assert moments[-1].astimezone(story.zone).date() == story.today(now)


def test_a_step_does_exactly_one_thing() -> None:
    with pytest.raises(ValueError, match="one of"):
        StepPart(days_ago=1, by="ana", check_in="1", hand_over="ben")


def test_cycles_are_named_by_their_days() -> None:
    software = stories()[0]
    assert software.cycle_name(date(2026, 6, 15)) == "Quarter to 16 July 2026"
