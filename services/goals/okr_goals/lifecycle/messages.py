"""Grades and outcomes as messages."""

import asyncpg
import msgspec

from okr.goals.v1 import cycles_pb2 as pb
from okr.goals.v1 import goals_pb2
from okr_chassis.rpc.messages import enum_value, wire
from okr_goals.read_model import GradeEntry
from okr_rules.outcome import Outcome

_grade = msgspec.json.Decoder(GradeEntry | None)


def grade_of(row: asyncpg.Record) -> GradeEntry | None:
    """The grade in a key result's row."""
    return None if row["grade"] is None else _grade.decode(row["grade"])


def grade_message(grade: GradeEntry, reason: str, evidence: str) -> goals_pb2.Grade:
    """`reason` and `evidence` are what people wrote, opened."""
    return goals_pb2.Grade(
        computed=wire(grade.computed),
        final=wire(grade.final),
        zone=enum_value(goals_pb2.GradeZone, grade.zone, "GRADE_ZONE_"),
        rule_version=grade.rule_version,
        reason=reason,
        evidence=evidence,
    )


def graded_message(row: asyncpg.Record, outcome: Outcome, grade: goals_pb2.Grade | None) -> pb.GradedKeyResult:
    return pb.GradedKeyResult(
        key_result_id=wire(row["key_result_id"]),
        objective_id=wire(row["objective_id"]),
        title=row["title"],
        unit=row["unit"],
        type=enum_value(goals_pb2.KeyResultType, row["type"], "KEY_RESULT_TYPE_"),
        value=wire(outcome.value),
        computed=wire(outcome.score),
        zone=enum_value(goals_pb2.GradeZone, outcome.zone, "GRADE_ZONE_"),
        explanation=outcome.explain(),
        rule_version=outcome.parameters.version,
        grade=grade,
    )
