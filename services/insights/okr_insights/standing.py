"""How key results and objectives stand at a moment: facts from the rows, judged by the rules.

Nothing here is stored, because it changes while nothing happens.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from okr_contracts.goals import Measurement, PinnedRules
from okr_rules.exact import ZERO
from okr_rules.measure import Kind, measure_of
from okr_rules.pace import PaceState, Verdict, judge, state_of, time_share
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.rollup import roll_up

KEY_RESULT_COLUMNS = """key_result.key_result_id, key_result.title, key_result.type, key_result.unit,
    key_result.start, key_result.commit, key_result.target, key_result.starts_on, key_result.due_on,
    key_result.measurement, key_result.accountable_id, key_result.open, key_result.continued_from, key_result.score,
    key_result.computed_score, key_result.zone, check_in.value, check_in.confidence,
    check_in.checked_in_at"""
"""What SQL selects for `key_result`, beside the `cycle_starts_on` of the objective."""


class Promise(Struct, frozen=True):
    """What a key result promised at the moment, as a row tells it."""

    type: Kind
    start: Decimal
    commit: Decimal
    target: Decimal
    due_on: date
    measurement: Measurement


class KeyResult(Struct, frozen=True):
    """A key result with its last check-in, judged. `verdict` holds value, progress, expected, pace and days."""

    key_result_id: UUID
    title: str
    unit: str
    confidence: Decimal | None
    checked_in_at: datetime | None
    accountable_id: UUID | None
    open: bool
    continued_from: UUID | None
    score: Decimal | None
    computed_score: Decimal | None
    zone: str
    promise: Promise
    verdict: Verdict


class Summary(Struct, frozen=True):
    """What an objective's key results come to together; all undefined where it has none."""

    progress: Decimal | None = None
    expected: Decimal | None = None
    pace: PaceState | None = None
    checked_in_at: datetime | None = None


class Objective(Struct, frozen=True):
    """An objective with its key results in the order in which they were defined."""

    objective_id: UUID
    cycle_id: UUID
    title: str
    state: str
    owner_id: UUID | None
    unit_id: UUID | None
    unit_name: str
    parent_objective_id: UUID | None
    drafted_position: int
    outcome: str
    key_results: tuple[KeyResult, ...]
    summary: Summary


_rules = msgspec.json.Decoder(PinnedRules | None)
_measurement = msgspec.json.Decoder(Measurement)


class Columns(Protocol):
    """A row as SQL answers it."""

    def __getitem__(self, column: str, /) -> Any: ...


def parameters_of(rules: str | None) -> RuleParameters:
    """The numbers that a cycle is judged by, from its row: today's where it keeps none."""
    kept = None if rules is None else _rules.decode(rules)
    return DEFAULTS if kept is None else RuleParameters.of(kept.version, kept.parameters)


def key_result(record: Columns, now: datetime, parameters: RuleParameters = DEFAULTS) -> KeyResult:
    """A key result from the columns of KEY_RESULT_COLUMNS, judged at `now` by its cycle's rules.

    Its time begins with its cycle, unless it starts later.
    """
    begins_on = max(record["starts_on"], record["cycle_starts_on"] or record["starts_on"])
    promise = promise_of(record)
    return KeyResult(
        key_result_id=record["key_result_id"],
        title=record["title"],
        unit=record["unit"],
        confidence=record["confidence"],
        checked_in_at=record["checked_in_at"],
        accountable_id=record["accountable_id"],
        open=record["open"],
        continued_from=record["continued_from"],
        score=record["score"],
        computed_score=record["computed_score"],
        zone=record["zone"],
        promise=promise,
        verdict=judge(measure_of(promise, begins_on), record["value"], now, parameters),
    )


def promise_of(record: Columns) -> Promise:
    """From the columns of a key result's row."""
    return Promise(
        type=record["type"],
        start=record["start"],
        commit=record["commit"],
        target=record["target"],
        due_on=record["due_on"],
        measurement=_measurement.decode(record["measurement"]),
    )


def summarise(key_results: Sequence[KeyResult], parameters: RuleParameters = DEFAULTS) -> Summary:
    """The roll-up: weighted progress against weighted expectation.

    One that nobody has checked in yet stands at its start; has it no start, being there to stay in a range,
    it counts from its first check-in. The words are those of a key result: nothing is judged before the first
    one begins, nor before the first check-in, nor where all are done or not by a day to come.
    """
    if not key_results:
        return Summary()
    counted = [each for each in key_results if each.verdict.value is not None or each.promise.type != "maintain"]
    verdicts = [key_result.verdict for key_result in counted or key_results]
    weights = [key_result.promise.measurement.weight for key_result in counted or key_results]
    progress = roll_up((weight, verdict.progress or ZERO) for weight, verdict in zip(weights, verdicts, strict=True))
    expected = roll_up((weight, verdict.expected) for weight, verdict in zip(weights, verdicts, strict=True))
    passed = roll_up(
        (weight, time_share(verdict.measure.starts_on, verdict.measure.due_on, verdict.now))
        for weight, verdict in zip(weights, verdicts, strict=True)
    )
    if progress is None or expected is None or passed is None:
        return Summary()
    pace: PaceState
    if all(verdict.state == "not_started" for verdict in verdicts):
        pace = "not_started"
    elif all(verdict.progress is None for verdict in verdicts):
        pace = "pending"
    elif all(verdict.state == "unpaced" for verdict in verdicts):
        pace = "unpaced"
    else:
        pace = state_of(progress - expected, passed, parameters)
    moments = [each.checked_in_at for each in key_results if each.checked_in_at is not None]
    return Summary(progress, expected, pace, max(moments, default=None))
