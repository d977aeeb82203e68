"""Answers as messages."""

from collections.abc import Mapping

from okr.insights.v1 import insights_pb2 as pb
from okr_chassis.identity.auth import PERSON_PREFIX
from okr_chassis.rpc.messages import wire
from okr_insights.history import Entry
from okr_insights.standing import KeyResult, Objective
from okr_rules.pace import PaceState

PACES: Mapping[PaceState, pb.Pace.ValueType] = {
    "not_started": pb.PACE_NOT_STARTED,
    "pending": pb.PACE_PENDING,
    "just_started": pb.PACE_JUST_STARTED,
    "ahead": pb.PACE_AHEAD,
    "on_pace": pb.PACE_ON_PACE,
    "behind": pb.PACE_BEHIND,
    "far_behind": pb.PACE_FAR_BEHIND,
    "in_range": pb.PACE_IN_RANGE,
    "near_range": pb.PACE_NEAR_RANGE,
    "out_of_range": pb.PACE_OUT_OF_RANGE,
    "unpaced": pb.PACE_UNPACED,
}


def key_result_message(key_result: KeyResult) -> pb.BoardKeyResult:
    verdict = key_result.verdict
    measure, promise = verdict.measure, key_result.promise
    details = promise.measurement
    return pb.BoardKeyResult(
        key_result_id=wire(key_result.key_result_id),
        title=key_result.title,
        unit=key_result.unit,
        start=wire(measure.start),
        commit=wire(measure.commit),
        target=wire(measure.target),
        value=wire(verdict.value),
        confidence=wire(key_result.confidence),
        progress=wire(verdict.progress),
        expected=wire(verdict.expected),
        pace=PACES[verdict.state],
        pace_days=wire(verdict.days),
        checked_in_at=wire(key_result.checked_in_at),
        accountable_id=wire(key_result.accountable_id),
        open=key_result.open,
        starts_on=wire(measure.starts_on),
        due_on=wire(measure.due_on),
        type=promise.type,
        stretch=wire(details.stretch),
        low=wire(details.low),
        high=wire(details.high),
        guard_rail=details.guard_rail,
        weight=wire(details.weight),
        score=wire(key_result.score),
        computed_score=wire(key_result.computed_score),
        zone=key_result.zone,
        continued_from=wire(key_result.continued_from),
    )


def objective_message(objective: Objective) -> pb.BoardObjective:
    summary = objective.summary
    return pb.BoardObjective(
        objective_id=wire(objective.objective_id),
        title=objective.title,
        unit_id=wire(objective.unit_id),
        unit_name=objective.unit_name,
        owner_id=wire(objective.owner_id),
        cycle_id=wire(objective.cycle_id),
        state=objective.state,
        parent_objective_id=wire(objective.parent_objective_id),
        progress=wire(summary.progress),
        expected=wire(summary.expected),
        pace=pb.PACE_UNSPECIFIED if summary.pace is None else PACES[summary.pace],
        checked_in_at=wire(summary.checked_in_at),
        key_results=[key_result_message(key_result) for key_result in objective.key_results],
        outcome=objective.outcome,
    )


def entry_message(entry: Entry, words: str) -> pb.HistoryEntry:
    """`words` is what a person wrote with it, opened."""
    return pb.HistoryEntry(
        kind=entry.kind,
        recorded_at=wire(entry.recorded_at),
        occurred_at=wire(entry.occurred_at),
        person_id=entry.actor.removeprefix(PERSON_PREFIX) if entry.actor.startswith(PERSON_PREFIX) else "",
        check_in_id=wire(entry.check_in_id),
        value=wire(entry.value),
        confidence=wire(entry.confidence),
        note=words or entry.source,
        start=wire(entry.start),
        commit=wire(entry.commit),
        target=wire(entry.target),
        progress=wire(entry.progress),
        position=str(entry.position),
        previous_value=wire(entry.previous_value),
        previous_confidence=wire(entry.previous_confidence),
        previous_commit=wire(entry.previous_commit),
        previous_target=wire(entry.previous_target),
        champion_id=wire(entry.champion_id),
        role=entry.role,
        score=wire(entry.score),
        computed_score=wire(entry.computed_score),
    )
