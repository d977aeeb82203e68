"""What good practice says, and templates, through gRPC on a real PostgreSQL."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import grpc
import pytest
from msgspec.structs import replace

from okr.goals.v1 import goals_pb2
from okr.goals.v1 import practice_pb2 as pb
from okr_contracts.goals import Measurement, TemplateKeyResult
from okr_goals.practice import drafts
from okr_goals.practice.library import Template, library, matching
from okr_rules import lint
from tests.goals.office import Office
from tests.support.house import new_id, refused

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
SAFE = goals_pb2.Measurement(guard_rail=True, ambition=goals_pb2.AMBITION_COMMITTED)
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

SIZES = {"software": 3, "marketing": 3, "sales": 3, "people": 3, "small business": 3, "construction": 4,
         "manufacturing": 3, "healthcare": 3, "public sector": 3}  # fmt: skip


def rules_of(findings: Any) -> set[str]:
    return {finding.practice.rule for finding in findings}


async def lint_of(office: Office, objective_id: str, position: str = "") -> pb.LintObjectiveResponse:
    request = pb.LintObjectiveRequest(objective_id=objective_id, min_positions=[position] if position else [])
    answer: pb.LintObjectiveResponse = await office.desk.practice.LintObjective(request)
    return answer


def application(office: Office, cycle_id: str, template_id: str = "CN1", **more: Any) -> pb.ApplyTemplateRequest:
    return pb.ApplyTemplateRequest(
        request_id=new_id(),
        objective_id=new_id(),
        template_id=template_id,
        cycle_id=cycle_id,
        unit_id=office.unit_id,
        owner_id=office.ana,
        **more,
    )


# --- the library ---------------------------------------------------------------------------------


def test_the_library_covers_every_industry() -> None:
    counted: dict[str, int] = {}
    for template in library():
        counted[template.industry.casefold()] = counted.get(template.industry.casefold(), 0) + 1
    assert counted == SIZES


@pytest.mark.parametrize("template", library(), ids=lambda template: template.template_id)
def test_no_template_is_found_fault_with_for_its_words(template: Template) -> None:
    definitions = drafts.definitions(template, UUID(int=1), UUID(int=2))
    key_results = tuple(drafts.draft_of_definition(each, place) for place, each in enumerate(definitions, start=1))
    draft = lint.DraftObjective("o", template.objective, "ana", "Q1", "team", key_results, has_parent=True)
    assert {finding.rule.id for finding in lint.lint(draft)} <= {"O4"}, "a short title is a matter of taste"


def test_templates_are_found_by_words_of_anything_they_say() -> None:
    assert [each.template_id for each in matching(library(), "near-miss reports", "", "")] == ["CN1"]
    assert [each.template_id for each in matching(library(), "", "construction", "punctuality")] == ["CN3"]
    assert matching(library(), "no such words", "", "") == []


async def test_a_template_has_samples_and_says_what_it_serves(office: Office) -> None:
    answer = await office.desk.practice.ListTemplates(pb.ListTemplatesRequest(search="goes home well"))
    (template,) = answer.templates
    assert (template.template_id, template.own) == ("CN1", False)
    assert template.serves
    incidents, reports, _ = template.key_results
    assert (incidents.type, incidents.measurement.high, incidents.measurement.guard_rail) == (
        goals_pb2.KEY_RESULT_TYPE_MAINTAIN,
        "1.6",
        True,
    )
    assert (reports.start, reports.commit, reports.target) == ("45", "75", "90")


@pytest.mark.parametrize("template_id", [each.template_id for each in library()])
async def test_every_template_can_be_applied_as_it_is(office: Office, template_id: str) -> None:
    request = application(office, await office.draft_cycle(), template_id)
    answer = await office.desk.practice.ApplyTemplate(request)
    objective = await office.objective(request.objective_id, answer.receipt.position)
    assert [each.key_result_id for each in objective.key_results] == list(answer.key_result_ids)
    found = await lint_of(office, request.objective_id)
    # A first objective without a parent is warned of; no template is wrong in itself.
    assert [each.message for each in found.findings if each.severity == pb.LINT_SEVERITY_ERROR] == []


async def test_ones_own_numbers_replace_the_samples(office: Office) -> None:
    numbers = [pb.TemplateNumbers(key_result=2, start="20", target="60"), pb.TemplateNumbers(key_result=1, high="1.2")]
    request = application(
        office, await office.draft_cycle(), numbers=numbers, accountable_id=office.ben, title="Home well"
    )
    answer = await office.desk.practice.ApplyTemplate(request)
    objective = await office.objective(request.objective_id, answer.receipt.position)
    incidents, reports, walks = objective.key_results
    assert objective.title == "Home well"
    assert incidents.measurement.high == "1.2"
    assert (reports.start, reports.commit, reports.target) == ("20", "40", "60")
    assert (walks.start, walks.commit, walks.target) == ("20", "70", "95")
    assert {each.person_id for key_result in objective.key_results for each in key_result.champions} == {office.ben}


async def test_the_same_application_again_changes_nothing(office: Office) -> None:
    request = application(office, await office.draft_cycle())
    first = await office.desk.practice.ApplyTemplate(request)
    assert await office.desk.practice.ApplyTemplate(request) == first


async def test_a_preview_shows_what_would_be_and_makes_nothing(office: Office) -> None:
    cycle_id = await office.draft_cycle()
    request = pb.PreviewTemplateRequest(
        template_id="CN2",
        cycle_id=cycle_id,
        unit_id=office.unit_id,
        owner_id=office.ana,
        numbers=[pb.TemplateNumbers(key_result=1, start="6", target="6")],
    )
    answer = await office.desk.practice.PreviewTemplate(request)
    assert answer.draft.title == "Build it right the first time"
    assert "K3" in rules_of(answer.findings)
    listed = await office.goals.ListObjectives(goals_pb2.ListObjectivesRequest(cycle_id=cycle_id))
    assert list(listed.objectives) == []


async def test_an_objective_becomes_a_template_of_ones_own(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle(), title="Bread that people come back for")
    await office.define(objective_id, title="Regulars", start="100", target="150", unit="people")
    saved = pb.SaveTemplateRequest(
        request_id=new_id(), template_id=new_id(), objective_id=objective_id, industry="Bakery", function="shop"
    )
    position = (await office.desk.practice.SaveTemplate(saved)).receipt.position
    search = pb.ListTemplatesRequest(search="bread", min_positions=[position])
    (own,) = (await office.desk.practice.ListTemplates(search)).templates
    assert (own.template_id, own.own, own.objective) == (saved.template_id, True, "Bread that people come back for")
    request = application(office, await office.draft_cycle(name="Q2 2026"), saved.template_id)
    await office.desk.practice.ApplyTemplate(request)


async def test_a_template_made_of_milestones_can_be_begun_with_in_another_cycle(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle(), title="Hand over when we said we would")
    parts = [
        goals_pb2.Milestone(milestone_id=new_id(), title="Shell", weight="0.4", due_on="2026-02-01"),
        goals_pb2.Milestone(milestone_id=new_id(), title="Roof", weight="0.6"),
    ]
    building = {"type": goals_pb2.KEY_RESULT_TYPE_MILESTONE, "measurement": goals_pb2.Measurement(milestones=parts)}
    await office.define(objective_id, title="Building", start="", commit="", target="", unit="", **building)
    saved = pb.SaveTemplateRequest(
        request_id=new_id(), template_id=new_id(), objective_id=objective_id, industry="Sites", function="build"
    )
    await office.desk.practice.SaveTemplate(saved)
    request = application(
        office,
        await office.draft_cycle(name="Q2 2026", starts_on="2026-04-01", ends_on="2026-06-30"),
        saved.template_id,
    )
    answer = await office.desk.practice.ApplyTemplate(request)
    (made,) = (await office.objective(request.objective_id, answer.receipt.position)).key_results
    found = [(each.title, each.weight, each.due_on) for each in made.measurement.milestones]
    assert found == [("Shell", "0.4", "2026-06-30"), ("Roof", "0.6", "2026-06-30")]
    assert not {each.milestone_id for each in made.measurement.milestones} & {each.milestone_id for each in parts}
    preview = await office.desk.practice.PreviewTemplate(
        pb.PreviewTemplateRequest(
            template_id=saved.template_id, cycle_id=request.cycle_id, unit_id=office.unit_id, owner_id=office.ana
        )
    )
    shown = preview.draft.key_results[0].measurement.milestones
    assert [(each.title, each.weight) for each in shown] == [("Shell", "0.4"), ("Roof", "0.6")]
    assert "K3" not in rules_of(preview.findings)


async def test_numbers_that_a_key_result_cannot_have_are_all_named_before_anything_is_made(office: Office) -> None:
    cycle_id = await office.draft_cycle()
    numbers = [
        pb.TemplateNumbers(key_result=7, target="1"),
        pb.TemplateNumbers(key_result=1, start="70"),
        pb.TemplateNumbers(key_result=2, tolerance="5"),
    ]
    about = {"template_id": "SW2", "cycle_id": cycle_id, "unit_id": office.unit_id, "owner_id": office.ana}
    named = [("numbers.0.key_result", "NO_SUCH_KEY_RESULT"), ("numbers.1.target", "DIRECTION_DIFFERS")]
    named += [("numbers.2.tolerance", "NOT_OF_ITS_TYPE")]
    with refused(INVALID) as answer:
        await office.desk.practice.PreviewTemplate(pb.PreviewTemplateRequest(numbers=numbers, **about))
    assert [(each.field, each.reason) for each in answer.refusal.violations] == named
    with refused(INVALID) as answer:
        await office.desk.practice.ApplyTemplate(application(office, cycle_id, "SW2", numbers=numbers))
    assert [(each.field, each.reason) for each in answer.refusal.violations] == named


def test_other_marks_leave_behind_what_a_sample_said_of_stretch_and_ambition() -> None:
    said = Measurement(stretch=Decimal(200), ambition="aspirational")
    sample = TemplateKeyResult("Trials", "increase", "trials", Decimal(100), Decimal(130), Decimal(150), said)
    mine = Template("T", "any", "any", "Trials that turn into customers", "", (sample,))
    own = drafts.Numbers(key_result=1, commit=Decimal(250), target=Decimal(250))
    (definition,) = drafts.definitions(drafts.with_numbers(mine, [own]), UUID(int=1), UUID(int=2))
    assert (definition.commit, definition.target) == (Decimal(250), Decimal(250))
    assert (definition.measurement.stretch, definition.measurement.ambition) == (None, None)


def test_a_template_made_after_a_revision_does_not_repeat_an_ambition_that_it_overtook() -> None:
    said = Measurement(ambition="committed")
    revised = TemplateKeyResult("Trials", "increase", "trials", Decimal(100), Decimal(150), Decimal(180), said)
    assert drafts.as_template(revised).measurement.ambition is None
    assert drafts.as_template(replace(revised, target=Decimal(150))).measurement.ambition == "committed"


async def test_a_template_may_be_named_in_any_case(office: Office) -> None:
    request = application(office, await office.draft_cycle(), "cn1")
    first = await office.desk.practice.ApplyTemplate(request)
    request.request_id, request.template_id = new_id(), "CN1"
    assert (await office.desk.practice.ApplyTemplate(request)).key_result_ids == first.key_result_ids


async def test_what_a_template_needs_must_exist(office: Office) -> None:
    cycle_id = await office.draft_cycle()
    with refused(NOT_FOUND, "TEMPLATE_NOT_FOUND"):
        await office.desk.practice.ApplyTemplate(application(office, cycle_id, "XX9"))
    with refused(NOT_FOUND, "CYCLE_NOT_FOUND"):
        await office.desk.practice.ApplyTemplate(application(office, new_id()))
    with refused(INVALID) as answer:
        await office.desk.practice.ApplyTemplate(
            application(office, cycle_id, numbers=[pb.TemplateNumbers(key_result=4, target="1")])
        )
    assert [each.field for each in answer.refusal.violations] == ["numbers.0.key_result"]


async def test_a_template_is_applied_whole_or_not_at_all(office: Office) -> None:
    cycle_id = await office.draft_cycle()
    request = application(office, cycle_id, numbers=[pb.TemplateNumbers(key_result=3, start="95", target="95")])
    with refused(PRECONDITION, "START_EQUALS_TARGET"):
        await office.desk.practice.ApplyTemplate(request)
    with refused(NOT_FOUND, "OBJECTIVE_NOT_FOUND"):
        await office.goals.GetObjective(goals_pb2.GetObjectiveRequest(objective_id=request.objective_id))


# --- findings ------------------------------------------------------------------------------------


async def test_a_stored_objective_is_looked_at_with_its_surroundings(office: Office) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id, title="Launch 3 things")
    await office.define(objective_id)
    found = await lint_of(office, objective_id)
    assert {"O2", "O3", "O4", "O6", "K1"} <= rules_of(found.findings)
    assert list(found.overridden) == []


async def test_too_many_objectives_of_a_unit_are_an_error(office: Office) -> None:
    cycle_id = await office.active_cycle()
    ids = [await office.draft(cycle_id, title=f"Grow in a way of our own {word}") for word in "abcdef"]
    found = await lint_of(office, ids[0])
    severities = {each.practice.rule: each.severity for each in found.findings}
    assert severities["O5"] == pb.LINT_SEVERITY_ERROR


async def test_a_finding_can_be_overridden_with_a_reason_and_a_binding_one_cannot(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle(), title="Grow")
    override = pb.OverrideLintRequest(
        request_id=new_id(), objective_id=objective_id, rule="O4", reason="everybody here says it in one word"
    )
    position = (await office.desk.practice.OverrideLint(override)).receipt.position
    found = await lint_of(office, objective_id, position)
    assert "O4" not in rules_of(found.findings)
    assert rules_of(found.overridden) == {"O4"}
    binding = pb.OverrideLintRequest(request_id=new_id(), objective_id=objective_id, rule="K4", reason="because")
    with refused(PRECONDITION, "PRACTICE_IS_BINDING"):
        await office.desk.practice.OverrideLint(binding)
    with refused(INVALID):
        await office.desk.practice.OverrideLint(
            pb.OverrideLintRequest(request_id=new_id(), objective_id=objective_id, rule="O4")
        )
    with refused(NOT_FOUND, "PRACTICE_NOT_FOUND"):
        await office.desk.practice.OverrideLint(
            pb.OverrideLintRequest(request_id=new_id(), objective_id=objective_id, rule="Z1", reason="because")
        )


async def test_what_was_committed_and_then_revised_apart_is_judged_by_its_marks(office: Office) -> None:
    objective_id = await office.draft(await office.active_cycle())
    key_result_id = await office.define(objective_id, start="10", commit="5", target="5", measurement=SAFE)
    assert "K10" not in rules_of((await lint_of(office, objective_id)).findings)
    revision = goals_pb2.ReviseTargetRequest(
        request_id=new_id(), objective_id=objective_id, key_result_id=key_result_id, target="2", reason="safer still"
    )
    position = (await office.goals.ReviseTarget(revision)).receipt.position
    assert "K10" in rules_of((await lint_of(office, objective_id, position)).findings)


async def test_a_draft_that_exists_nowhere_gets_all_its_findings_at_once(office: Office) -> None:
    draft = pb.ObjectiveDraft(
        title="Quality",
        cycle_id=await office.active_cycle(),
        unit_id=office.unit_id,
        key_results=[pb.KeyResultDraft(title="Hold meetings", start="0", target="10", unit="meetings")],
    )
    answer = await office.desk.practice.LintDraft(pb.LintDraftRequest(draft=draft))
    assert {"O1", "O4", "O6", "K1", "K5", "K8"} <= rules_of(answer.findings)
    assert {each.subject_id for each in answer.findings} == {"draft", "1"}
    severities = [each.severity for each in answer.findings]
    assert severities == sorted(severities)


async def test_every_rule_can_be_read_with_its_reason(office: Office) -> None:
    answer = await office.desk.practice.ListPractices(pb.ListPracticesRequest())
    assert len(answer.practices) == 20
    assert all(each.why and each.weak_example and each.strong_example for each in answer.practices)
