"""Findings, drafts and templates as messages."""

from okr.goals.v1 import goals_pb2, practice_pb2
from okr_chassis.rpc.messages import enum_value, wire
from okr_contracts.goals import TemplateKeyResult
from okr_goals.decider.commands import DefineKeyResult, DraftObjective
from okr_goals.messages import measurement_message
from okr_goals.practice.library import Template
from okr_rules.lint import Finding, Rule, Severity

SEVERITIES: dict[Severity, practice_pb2.LintSeverity.ValueType] = {
    "error": practice_pb2.LINT_SEVERITY_ERROR,
    "warning": practice_pb2.LINT_SEVERITY_WARNING,
    "hint": practice_pb2.LINT_SEVERITY_HINT,
}


def practice_message(rule: Rule) -> practice_pb2.Practice:
    return practice_pb2.Practice(
        rule=rule.id, why=rule.why, weak_example=rule.weak, strong_example=rule.strong, binding=rule.binding
    )


def finding_message(finding: Finding) -> practice_pb2.LintFinding:
    return practice_pb2.LintFinding(
        practice=practice_message(finding.rule),
        severity=SEVERITIES[finding.severity],
        subject_id=finding.subject,
        message=finding.message,
        rule_version=finding.version,
    )


def template_message(template: Template) -> practice_pb2.Template:
    return practice_pb2.Template(
        template_id=template.template_id,
        industry=template.industry,
        function=template.function,
        objective=template.objective,
        serves=template.serves,
        key_results=[_sample(each) for each in template.key_results],
        own=template.own,
    )


def draft_message(draft: DraftObjective, key_results: tuple[DefineKeyResult, ...]) -> practice_pb2.ObjectiveDraft:
    """What applying would make, but for what the decider completes."""
    return practice_pb2.ObjectiveDraft(
        title=draft.title,
        cycle_id=wire(draft.cycle_id),
        unit_id=wire(draft.unit_id),
        owner_id=wire(draft.owner_id),
        key_results=[_definition(each) for each in key_results],
    )


def _sample(each: TemplateKeyResult) -> practice_pb2.KeyResultDraft:
    measurement = measurement_message(each.measurement)
    for milestone in measurement.milestones:
        milestone.due_on = ""  # its day was one of the cycle that the template was made in
    return practice_pb2.KeyResultDraft(
        title=each.title,
        type=enum_value(goals_pb2.KeyResultType, each.type, "KEY_RESULT_TYPE_"),
        start=wire(each.start),
        commit=wire(each.commit),
        target=wire(each.target),
        unit=each.unit,
        measurement=measurement,
    )


def _definition(command: DefineKeyResult) -> practice_pb2.KeyResultDraft:
    said = command.measurement
    return practice_pb2.KeyResultDraft(
        key_result_id=wire(command.key_result_id),
        title=command.title,
        type=enum_value(goals_pb2.KeyResultType, command.type, "KEY_RESULT_TYPE_"),
        start=wire(command.start),
        commit=wire(command.commit),
        target=wire(command.target),
        unit=command.unit,
        champions=[
            goals_pb2.Champion(
                person_id=wire(each.person_id),
                role=enum_value(goals_pb2.ChampionRole, each.role, "CHAMPION_ROLE_"),
            )
            for each in command.champions
        ],
        measurement=goals_pb2.Measurement(
            ambition=enum_value(goals_pb2.Ambition, said.ambition, "AMBITION_"),
            indicator=enum_value(goals_pb2.Indicator, said.indicator, "INDICATOR_"),
            guard_rail=said.guard_rail,
            weight=wire(said.weight),
            stretch=wire(said.stretch),
            low=wire(said.low),
            high=wire(said.high),
            tolerance=wire(said.tolerance),
            milestones=[
                goals_pb2.Milestone(milestone_id=wire(each.milestone_id), title=each.title, weight=wire(each.weight))
                for each in said.milestones
            ],
            meanings=said.meanings,
            metric=said.metric,
            update_days=said.update_days,
        ),
    )
