"""What time brings about, told once; a rhythm that is chosen; and the duty at hand."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from okr_checkins.rhythm.agenda import Answers, Asked, at_hand, open_questions, settled_by, time_told
from okr_checkins.rhythm.cadence import ChooseCadence, cadences
from okr_checkins.rhythm.calendar import plan_of
from okr_checkins.rhythm.duty import Duty, TellTime, duties
from okr_checkins.rhythm.replica import Held
from okr_contracts.checkins import CadenceChosen, CheckInDue, CheckInMissed, CheckInOverdue, DutyEvent
from tests.support.spec import spec

ORGANIZATION, KEY_RESULT, OBJECTIVE, CYCLE = UUID(int=7), UUID(int=1), UUID(int=2), UUID(int=3)
ANA, BEN, CLEO = UUID(int=21), UUID(int=22), UUID(int=23)
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
DUES = [date(2026, 1, 20), date(2026, 2, 3), date(2026, 2, 17), date(2026, 3, 3), date(2026, 3, 17), date(2026, 3, 31)]
OPENED = datetime(2026, 1, 5, 10, tzinfo=UTC)
NOBODY = Answers({})
NEW = Duty()


def moment(day: date, hour: int = 9) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def asked(
    told: Duty = NEW,
    opened_at: datetime = OPENED,
    stewards: tuple[Held, ...] = (),
    accountables: tuple[Held, ...] = (Held(ANA, OPENED),),
    zone: str = "UTC",
) -> Asked:
    return Asked(
        organization_id=ORGANIZATION,
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        owner_id=CLEO,
        title="Win rate",
        starts_on=FIRST,
        opened_at=opened_at,
        stewards=stewards,
        accountables=accountables,
        plan=plan_of(FIRST, LAST, zone),
        told=told,
        version=0,
    )


def told_by(now: datetime, one: Asked, answers: Answers = NOBODY) -> tuple[DutyEvent, ...]:
    """What a sweep at `now` has the rules told, whatever they knew before."""
    command = time_told(one, open_questions(one, now), answers, now)
    return () if command is None else tuple(duties.decide(one.told, command))


def names(events: tuple[DutyEvent, ...]) -> list[str]:
    return [f"{type(event).__name__}{getattr(event, 'working_days', '')} {event.due_on:%m-%d}" for event in events]


# --- what time brings about ------------------------------------------------------------------------


def test_nothing_is_told_before_nine_on_the_due_day() -> None:
    assert told_by(moment(DUES[0], 8), asked()) == ()
    assert names(told_by(moment(DUES[0]), asked())) == ["CheckInDue 01-20"]


def test_a_due_day_is_one_where_the_organisation_is() -> None:
    """Nine in the morning in New York is two in the afternoon in London."""
    assert told_by(moment(DUES[0], 13), asked(zone="America/New_York")) == ()
    (due,) = told_by(moment(DUES[0], 14), asked(zone="America/New_York"))
    assert due.occurred_at == moment(DUES[0], 14)


def test_what_nobody_answers_goes_on_from_due_to_missed() -> None:
    after = moment(date(2026, 2, 4), 0)
    assert names(told_by(after, asked())) == [
        "CheckInDue 01-20",
        "CheckInOverdue1 01-20",
        "CheckInOverdue3 01-20",
        "CheckInDue 02-03",
        "CheckInMissed 01-20",
    ]


def test_an_answered_due_day_is_due_and_no_more() -> None:
    answers = Answers({DUES[0]: moment(date(2026, 1, 19))}, moment(date(2026, 1, 19)))
    (due,) = told_by(moment(date(2026, 2, 2)), asked(), answers)
    assert isinstance(due, CheckInDue)
    assert due.answered
    assert due.last_check_in_at == moment(date(2026, 1, 19))


def test_what_was_due_before_the_key_result_was_opened_is_nobodys_duty() -> None:
    late = asked(opened_at=moment(date(2026, 3, 4)))
    assert names(told_by(moment(date(2026, 3, 17)), late)) == ["CheckInDue 03-17"]


def test_a_cycle_that_was_ended_early_asks_for_nothing_more() -> None:
    over = replace(asked(), ended_at=moment(date(2026, 2, 1)))
    told = names(told_by(moment(date(2026, 4, 20)), over))
    assert {each.rpartition(" ")[2] for each in told} == {"01-20"}


def test_the_data_steward_is_asked_before_the_accountable_champion() -> None:
    both = asked(stewards=(Held(BEN, OPENED),))
    due, overdue, escalated = told_by(moment(date(2026, 1, 23)), both)
    assert isinstance(due, CheckInDue)
    assert (due.holder_id, due.role) == (BEN, "data_steward")
    assert isinstance(overdue, CheckInOverdue)
    assert overdue.asked_id == BEN
    assert isinstance(escalated, CheckInOverdue)
    assert (escalated.holder_id, escalated.asked_id) == (BEN, ANA)


def test_who_held_the_role_at_the_due_time_owed_it_and_who_holds_it_now_is_asked() -> None:
    handed_over = (Held(ANA, OPENED), Held(None, moment(DUES[0], 15)), Held(BEN, moment(DUES[0], 15)))
    due, overdue = told_by(moment(date(2026, 1, 21)), asked(accountables=handed_over))
    assert due.holder_id == ANA
    assert isinstance(overdue, CheckInOverdue)
    assert (overdue.holder_id, overdue.asked_id) == (ANA, BEN)


def test_what_is_settled_is_not_looked_into_again() -> None:
    answers = Answers({DUES[0]: moment(DUES[0], 12)})
    one = asked(Duty(told={f"{DUES[0]}": 1}))
    assert settled_by(one, answers) == DUES[0]
    assert settled_by(one, NOBODY) == date.min
    assert open_questions(one, moment(date(2026, 1, 23)), DUES[0]) == []


sweeps = st.lists(st.integers(0, 120 * 24), min_size=1, max_size=12)
said = st.dictionaries(st.sampled_from(DUES), st.integers(-10, 3), max_size=6)


@given(sweeps, said)
def test_however_the_clock_jumps_each_fact_is_told_once_and_all_are_in_the_end(
    hours: list[int], days_after: dict[date, int]
) -> None:
    answers = Answers({due: moment(due) + timedelta(days=days) for due, days in days_after.items()})
    history: list[DutyEvent] = []
    settled = date.min
    for hour in [*hours, 120 * 24]:
        now = moment(FIRST, 0) + timedelta(hours=hour)
        known = Answers({due: when for due, when in answers.first.items() if when <= now})
        one = asked(duties.fold(history))
        command = time_told(one, open_questions(one, now, settled), known, now)
        if command is not None:
            history += duties.decide(one.told, command)
        settled = settled_by(one, known, settled)
    seen = names(tuple(history))
    assert len(seen) == len(set(seen))
    missed = {event.due_on for event in history if isinstance(event, CheckInMissed)}
    assert {event.due_on for event in history if isinstance(event, CheckInDue)} == set(DUES)
    assert missed >= set(DUES) - set(answers.first)


# --- the rules of the stream -----------------------------------------------------------------------


def missed(due_on: date, in_a_row: int = 1) -> CheckInMissed:
    return CheckInMissed(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        cycle_id=CYCLE,
        key_result_title="Win rate",
        due_on=due_on,
        occurred_at=moment(due_on + timedelta(days=15), 0),
        in_a_row=in_a_row,
        holder_id=ANA,
        owner_id=CLEO,
    )


def tell(*facts: DutyEvent) -> TellTime:
    return TellTime(KEY_RESULT, facts, dict(zip(DUES[1:], DUES, strict=False)))


def test_missed_check_ins_are_counted_while_none_lies_between_them() -> None:
    first, second = missed(DUES[0]), missed(DUES[1])
    spec(duties).given(first).when(tell(second)).then(replace(second, in_a_row=2))
    spec(duties).given(first).when(tell(missed(DUES[2]))).then(missed(DUES[2]))
    spec(duties).when(tell(first, second)).then(first, replace(second, in_a_row=2))


def test_what_was_told_is_not_told_again() -> None:
    spec(duties).given(missed(DUES[0])).when(tell(missed(DUES[0]))).then_nothing()


# --- a rhythm --------------------------------------------------------------------------------------


def choose(
    step_days: int | None = 14, days: tuple[date, date] | None = (FIRST, LAST), confirmed: bool = False
) -> ChooseCadence:
    cycle = None if days is None else CYCLE
    return ChooseCadence(cycle, days, step_days, "thursday", date(2026, 2, 4), confirmed)


def chosen(step_days: int | None = 14, cycle: UUID | None = CYCLE, confirmed: bool = False) -> CadenceChosen:
    return CadenceChosen(
        cycle_id=cycle, step_days=step_days, weekday="thursday", after=date(2026, 2, 4), confirmed=confirmed
    )


@pytest.mark.parametrize(("step", "reason"), [(7, "WEEKLY_IS_EXCESSIVE"), (28, "MONTHLY_IS_TOO_RARE")])
def test_weekly_and_monthly_are_refused_with_the_reason_until_they_are_confirmed(step: int, reason: str) -> None:
    spec(cadences).when(choose(step)).then_refused(reason)
    spec(cadences).when(choose(step, confirmed=True)).then(chosen(step, confirmed=True))


def test_another_weekday_needs_no_confirmation() -> None:
    spec(cadences).when(choose()).then(chosen())
    spec(cadences).given(chosen()).when(choose()).then_nothing()


def test_how_often_is_said_of_a_cycle_and_not_of_all() -> None:
    spec(cadences).when(choose(21, days=None)).then_refused("STEP_NEEDS_A_CYCLE")
    spec(cadences).when(choose(None, days=None)).then(chosen(None, cycle=None))


def test_a_changed_rhythm_leaves_what_was_due_before() -> None:
    plan = plan_of(FIRST, LAST, "UTC", (), (chosen(),))
    found = [each.window.due_on for each in plan.appointments]
    assert found[:4] == [DUES[0], DUES[1], date(2026, 2, 12), date(2026, 2, 26)]


def test_a_cycle_of_its_own_mind_no_longer_follows_all_others() -> None:
    everywhere = (
        CadenceChosen(None, None, "monday", date(2026, 1, 1)),
        CadenceChosen(None, None, "friday", date(2026, 2, 10)),
    )
    assert plan_of(FIRST, LAST, "UTC", everywhere).weekday == 4
    assert plan_of(FIRST, LAST, "UTC", everywhere, (chosen(),)).weekday == 3


# --- the duty at hand ------------------------------------------------------------------------------


def hand(now: datetime, answered: dict[date, datetime] | None = None) -> tuple[str, date, int, int]:
    one = asked()
    found = at_hand(one.owed(), one.plan, Answers(answered or {}), now)
    assert found is not None
    return found.state, found.appointment.window.due_on, found.streak, found.missed_in_a_row


def test_a_stale_duty_stays_at_hand_until_somebody_checks_in_or_the_next_one_is_due() -> None:
    assert hand(moment(date(2026, 1, 26))) == ("stale", DUES[0], 0, 0)
    assert hand(moment(date(2026, 1, 26)), {DUES[1]: moment(date(2026, 1, 25))}) == ("on_time", DUES[1], 1, 0)
    assert hand(moment(date(2026, 2, 4))) == ("overdue", DUES[1], 0, 1)


def test_a_streak_ends_with_the_first_that_is_not_on_time() -> None:
    on_time = {due: moment(due) for due in DUES[:3]}
    assert hand(moment(date(2026, 2, 18)), on_time) == ("on_time", DUES[2], 3, 0)
    assert hand(moment(date(2026, 3, 3)), on_time) == ("due", DUES[3], 3, 0)
    assert hand(moment(date(2026, 3, 4)), on_time) == ("overdue", DUES[3], 0, 0)


def test_who_owes_nothing_has_no_duty_at_hand() -> None:
    one = asked(opened_at=moment(date(2026, 4, 1)))
    assert at_hand(one.owed(), one.plan, NOBODY, moment(date(2026, 4, 2))) is None
