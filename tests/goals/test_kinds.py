"""Key results of every kind: what must be said of each, what is proposed, what is refused."""

from datetime import date
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from okr_contracts.errors import DomainError
from okr_contracts.goals import KeyResultDefined, KeyResultOpened, ObjectiveActivated, ObjectiveDrafted
from okr_goals.decider.commands import ActivateObjective, DefineKeyResult, NamedChampion, ReviseTarget
from okr_goals.decider.cycle import Cycle
from okr_goals.decider.objective import objectives
from tests.support.sealed import sealed
from tests.support.spec import spec

OBJECTIVE, CYCLE, UNIT, KEY_RESULT, SHELL, ROOF, ANA = (UUID(int=number) for number in range(1, 8))
FIRST, LAST, MIDDLE = date(2026, 1, 1), date(2026, 3, 31), date(2026, 2, 14)
DRAFTED = ObjectiveDrafted(OBJECTIVE, CYCLE, UNIT, ANA, "Hand over when we said we would", FIRST, LAST)
ACTIVE = Cycle(state="active", name="Q1", starts_on=FIRST, ends_on=LAST)
MILESTONES = [
    {"milestone_id": SHELL, "title": "Shell", "weight": "0.4", "due_on": MIDDLE},
    {"milestone_id": ROOF, "title": "Roof", "weight": "0.6"},
]

TRIALS = {"start": "100", "target": "150", "unit": "trials"}

objective_spec = spec(objectives)


def define(type_: str | None, measurement: dict[str, Any] | None = None, **said: Any) -> DefineKeyResult:
    return DefineKeyResult.model_validate(
        {
            "objective_id": OBJECTIVE,
            "key_result_id": KEY_RESULT,
            "title": "Hand-over",
            "type": type_,
            "measurement": measurement,
            "champions": (NamedChampion(person_id=ANA, role="accountable"),),
            **said,
        }
    )


def defined(command: DefineKeyResult) -> KeyResultDefined:
    event = objectives.decide(objectives.evolve(objectives.initial, DRAFTED), command)[0]
    assert isinstance(event, KeyResultDefined)
    return event


def marks(command: DefineKeyResult) -> list[str]:
    event = defined(command)
    return [f"{mark:f}" for mark in (event.start, event.commit, event.target)]


def test_a_range_is_promised_for_nine_tenths_of_the_time() -> None:
    keep = {"low": "95", "high": "100", "tolerance": "5"}
    assert marks(define("maintain", keep, unit="%")) == ["0", "0.9", "1"]
    assert marks(define("maintain", {**keep, "guard_rail": True}, unit="%")) == ["0", "1", "1"]


def test_milestones_without_a_day_are_due_with_their_key_result() -> None:
    event = defined(define("milestone", {"milestones": MILESTONES}, due_on=date(2026, 3, 20)))
    assert [(each.title, each.weight, each.due_on) for each in event.measurement.milestones] == [
        ("Shell", D("0.4"), MIDDLE),
        ("Roof", D("0.6"), date(2026, 3, 20)),
    ]
    assert (event.start, event.target) == (D(0), D(1))


def test_what_is_done_or_not_is_promised_as_a_whole() -> None:
    assert marks(define("binary")) == ["0", "1", "1"]
    assert marks(define("baseline")) == ["0", "1", "1"]


def test_words_stand_for_zones() -> None:
    event = defined(define("ordinal", {"meanings": ["pilot agreed", "pilot running", "rolled out"]}))
    assert (event.start, event.commit, event.target, event.measurement.stretch) == (D(0), D(1), D(2), D(3))


def test_from_a_stretch_alone_commit_and_target_are_proposed() -> None:
    assert marks(define(None, {"stretch": "200"}, start="100", unit="trials")) == ["100", "130", "170"]


def test_a_stated_target_keeps_its_proposed_commit() -> None:
    assert marks(define(None, {"stretch": "200"}, start="100", target="150", unit="trials")) == ["100", "130", "150"]


def test_a_committed_key_result_promises_its_whole_target() -> None:
    assert marks(define(None, {"ambition": "committed"}, start="0", target="10", unit="sites")) == ["0", "10", "10"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (define("maintain", {"tolerance": "5"}, unit="%"), "NO_RANGE"),
        (define("maintain", {"low": "5", "high": "4", "tolerance": "1"}, unit="%"), "NO_RANGE"),
        (define("milestone"), "MILESTONE_WEIGHTS"),
        (define("milestone", {"milestones": MILESTONES[:1]}), "MILESTONE_WEIGHTS"),
        (
            define(
                "milestone", {"milestones": [{**MILESTONES[0], "weight": "0.5"}, {**MILESTONES[0], "weight": "0.5"}]}
            ),
            "MILESTONE_REPEATED",
        ),
        (
            define("milestone", {"milestones": [{**MILESTONES[0], "weight": "1", "due_on": date(2026, 4, 1)}]}),
            "DUE_OUTSIDE_CYCLE",
        ),
        (define("binary", {"ambition": "aspirational"}), "BINARY_IS_COMMITTED"),
        (define("ordinal", {"meanings": ["pilot agreed"]}), "MEANINGS_MISSING"),
        (define(None, {"stretch": "140"}, start="100", target="150", unit="trials"), "STRETCH_BEFORE_TARGET"),
        (
            define(
                None,
                {"schedule": [{"day": FIRST, "share": "0.5"}, {"day": LAST, "share": "0.4"}]},
                start="100",
                target="150",
                unit="trials",
            ),
            "NO_SCHEDULE",
        ),
        (define("maintain", {"low": "5", "tolerance": "1"}, unit="%", target="3"), "SHARE_ABOVE_ONE"),
        (define("maintain", {"low": "5", "tolerance": "1"}, unit="%", commit="0"), "COMMIT_BEFORE_START"),
        (define("milestone", {"milestones": MILESTONES, "stretch": "2"}), "SHARE_ABOVE_ONE"),
        (define(None, {"guard_rail": True, "ambition": "aspirational"}, **TRIALS), "GUARD_RAIL_IS_COMMITTED"),
        (define(None, {"ambition": "committed"}, **TRIALS, commit="120"), "AMBITION_DIFFERS"),
        (define(None, {"ambition": "aspirational"}, **TRIALS, commit="150"), "AMBITION_DIFFERS"),
        (
            define(
                None,
                {"schedule": [{"day": FIRST, "share": "0"}, {"day": date(2026, 4, 1), "share": "1"}]},
                **TRIALS,
            ),
            "DUE_OUTSIDE_CYCLE",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_its_kind_does_not_allow_is_refused(command: DefineKeyResult, reason: str) -> None:
    objective_spec.given(DRAFTED).when(command).then_refused(reason)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (define(None, {"tolerance": "5", "low": "1"}, **TRIALS), "low and tolerance"),
        (define("increase", {"milestones": MILESTONES, "meanings": ["pilot"]}, **TRIALS), "milestones and meanings"),
        (
            define("binary", {"stretch": "2", "high": "4"}, start="4", commit="7", target="9"),
            "start and commit and target and stretch and high",
        ),
        (define("ordinal", {"meanings": ["agreed", "running"]}, target="7"), "target"),
        (define("baseline", {"schedule": [{"day": FIRST, "share": "0"}, {"day": LAST, "share": "1"}]}), "schedule"),
        (define("maintain", {"low": "5", "tolerance": "1"}, start="3", unit="%"), "start"),
    ],
    ids=["range", "parts", "binary", "ordinal", "baseline", "maintain"],
)
def test_what_means_nothing_to_its_kind_is_refused_and_all_of_it_is_named(command: DefineKeyResult, named: str) -> None:
    objective_spec.given(DRAFTED).when(command).then_refused("NOT_OF_ITS_TYPE")
    with pytest.raises(DomainError, match=f"^{named}: "):
        defined(command)


def test_what_was_read_of_a_key_result_without_marks_of_its_own_can_be_sent_back() -> None:
    meanings = {"meanings": ["agreed", "running", "everywhere"]}
    said = define("ordinal", {**meanings, "stretch": "3"}, start="0", commit="1", target="2")
    assert defined(said) == defined(define("ordinal", meanings))
    assert marks(define("binary", start="0", commit="1", target="1")) == ["0", "1", "1"]


def test_a_committed_stretch_is_promised_as_a_whole() -> None:
    assert marks(define(None, {"stretch": "200", "ambition": "committed"}, start="100", unit="trials")) == [
        "100", "170", "170"
    ]  # fmt: skip


def test_a_share_of_the_time_is_not_revised_beyond_all_of_it() -> None:
    revise = ReviseTarget(objective_id=OBJECTIVE, key_result_id=KEY_RESULT, target=D(2), reason=sealed("more"))
    event = defined(define("maintain", {"low": "5", "tolerance": "1"}, unit="%"))
    objective_spec.given(DRAFTED, event).when(revise).then_refused("SHARE_ABOVE_ONE")


def test_a_way_needs_a_start_a_target_and_a_unit_and_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(ValidationError) as refused:
        define(None)
    assert {fault["loc"] for fault in refused.value.errors()} == {("start",), ("target",), ("unit",)}


def test_a_range_needs_a_unit() -> None:
    with pytest.raises(ValidationError) as refused:
        define("maintain", {"low": "1", "tolerance": "1"})
    assert [fault["loc"] for fault in refused.value.errors()] == [("unit",)]


def test_an_opened_key_result_says_how_it_takes_values() -> None:
    event = defined(define("milestone", {"milestones": MILESTONES}))
    activate = ActivateObjective(objective_id=OBJECTIVE, cycle=ACTIVE)
    opened = KeyResultOpened(KEY_RESULT, OBJECTIVE, FIRST, type="milestone", milestones=event.measurement.milestones)
    objective_spec.given(DRAFTED, event).when(activate).then(ObjectiveActivated(OBJECTIVE), opened)


def test_what_has_no_marks_has_none_to_revise() -> None:
    revise = ReviseTarget(objective_id=OBJECTIVE, key_result_id=KEY_RESULT, target=D(2), reason=sealed("more"))
    ordinal = defined(define("ordinal", {"meanings": ["agreed", "running"]}))
    further = revise.model_copy(update={"target": D(3)})
    objective_spec.given(DRAFTED, ordinal).when(further).then_refused("NOTHING_TO_REVISE")
    objective_spec.given(DRAFTED, defined(define("binary"))).when(revise).then_refused("NOTHING_TO_REVISE")


def test_the_same_definition_again_is_known() -> None:
    command = define("milestone", {"milestones": MILESTONES, "indicator": "leading", "weight": "2"})
    event = defined(command)
    objective_spec.given(DRAFTED, *objectives.decide(objectives.evolve(objectives.initial, DRAFTED), command)).when(
        command
    ).then()
    assert event.measurement.weight == 2
