"""What a person hears of, once."""

import random
from itertools import permutations
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from okr_contracts.goals import KeyResultType
from okr_contracts.notifications import KeyResultJudged, NotificationRaised
from okr_notifications.commands import Fact
from okr_notifications.decider import Watch, watch
from tests.notifications.builders import (
    ANA,
    BEN,
    Ears,
    assigned,
    closed,
    corrected,
    defined,
    kinds,
    opened,
    recorded,
    released,
    revised,
    watching,
)

# --- becoming accountable --------------------------------------------------------------------------


def test_who_becomes_accountable_is_told() -> None:
    ears = Ears()
    ears.hear(defined(), on=0)
    told = ears.hear(assigned(ANA), on=0)
    assert kinds(told) == [("became_accountable", ANA)]
    assert told[0].key_result_title == "Regulars who come back"
    assert "accountable" in told[0].explanation


def test_other_roles_hear_nothing() -> None:
    assert watching().hear(assigned(BEN, role="responsible"), on=1) == []


def test_a_hand_over_is_told_to_the_successor_alone() -> None:
    ears = watching()
    assert ears.hear(released(ANA), on=1) == []
    assert kinds(ears.hear(assigned(BEN), on=1)) == [("became_accountable", BEN)]
    assert ears.hear(assigned(ANA, role="responsible"), on=1) == []


def test_being_named_accountable_again_is_no_news() -> None:
    assert watching().hear(assigned(ANA), on=1) == []


def test_who_comes_back_after_a_hand_over_is_told_again() -> None:
    ears = watching()
    ears.hear(assigned(BEN), on=1)
    assert kinds(ears.hear(assigned(ANA), on=2)) == [("became_accountable", ANA)]


def test_releasing_somebody_from_another_role_leaves_the_accountable_one() -> None:
    ears = watching(released(ANA, role="contributor"), released(BEN))
    assert kinds(ears.hear(recorded("10", on=60), on=60)) == [("fell_behind", ANA)]


# --- falling behind --------------------------------------------------------------------------------


def test_falling_behind_is_told_with_the_rule_and_its_inputs() -> None:
    told = watching().hear(recorded("30", on=50), on=50)
    assert kinds(told) == [("fell_behind", ANA)]
    assert "Behind by 20.0 days" in told[0].explanation
    assert "rule pace" in told[0].explanation


def test_being_on_pace_is_not_told() -> None:
    assert watching().hear(recorded("45", on=50), on=50) == []


def test_a_key_result_that_has_just_started_is_not_behind() -> None:
    assert watching().hear(recorded("-50", on=9), on=9) == []


def test_staying_behind_or_falling_further_is_told_once() -> None:
    ears = watching(recorded("5", on=0))
    assert kinds(ears.hear(recorded("30", on=50), on=50)) == [("fell_behind", ANA)]
    assert ears.hear(recorded("31", on=60), on=60) == []
    assert ears.look(on=70) == []


def test_falling_behind_again_after_having_recovered_is_told_again() -> None:
    ears = watching()
    ears.hear(recorded("30", on=50), on=50)
    assert ears.hear(recorded("48", on=52), on=52) == []
    assert kinds(ears.hear(recorded("49", on=70), on=70)) == [("fell_behind", ANA)]


def test_pace_is_judged_when_the_value_became_known() -> None:
    assert kinds(watching().hear(recorded("20", on=20), on=50)) == [("fell_behind", ANA)]


def test_a_back_dated_check_in_says_nothing_of_how_things_stand_now() -> None:
    ears = watching()
    assert ears.hear(recorded("48", on=50), on=50) == []
    assert ears.hear(recorded("10", on=40), on=51) == []


def test_a_correction_of_the_latest_check_in_is_judged() -> None:
    ears = watching()
    ears.hear(recorded("48", on=50), on=50)
    assert kinds(ears.hear(corrected("8", on=50), on=51)) == [("fell_behind", ANA)]


def test_a_correction_of_an_older_check_in_is_not_judged() -> None:
    ears = watching(recorded("30", on=0))
    ears.hear(recorded("48", on=50), on=50)
    assert ears.hear(corrected("3", on=0), on=51) == []


def test_a_target_moved_away_lets_a_key_result_fall_behind() -> None:
    ears = watching()
    ears.hear(recorded("45", on=50), on=50)
    assert kinds(ears.hear(revised(commit="150", target="200"), on=51)) == [("fell_behind", ANA)]


def test_the_successor_hears_of_what_happens_after_the_hand_over() -> None:
    ears = watching()
    ears.hear(assigned(BEN), on=10)
    assert kinds(ears.hear(recorded("10", on=50), on=50)) == [("fell_behind", BEN)]


# --- nobody checks in ------------------------------------------------------------------------------


def test_a_key_result_nobody_checks_in_falls_behind_when_the_sweep_comes_by() -> None:
    ears = watching()
    assert ears.look(on=10) == []
    told = ears.look(on=11)
    assert kinds(told) == [("fell_behind", ANA)]
    assert told[0].explanation.startswith("Nobody has checked in yet")
    assert ears.look(on=12) == []


def test_a_value_that_grows_old_falls_behind_when_the_sweep_comes_by() -> None:
    ears = watching()
    ears.hear(recorded("30", on=30), on=30)
    assert ears.look(on=40) == []
    assert kinds(ears.look(on=41)) == [("fell_behind", ANA)]


def test_opening_late_in_the_cycle_is_not_judged_before_anybody_could_check_in() -> None:
    ears = Ears()
    for fact in (defined(), assigned(), opened()):
        assert "fell_behind" not in dict(kinds(ears.hear(fact, on=60)))


def test_the_sweep_passes_by_what_is_a_draft_unknown_or_nobodys() -> None:
    assert Ears().look(on=50) == []
    draft = Ears()
    draft.hear(defined(), on=0)
    draft.hear(assigned(), on=0)
    assert draft.look(on=50) == []
    assert watching(released(ANA)).look(on=50) == []


def test_a_sweep_that_looked_ahead_of_the_news_is_not_undone_by_them() -> None:
    ears = watching()
    assert kinds(ears.look(on=60)) == [("fell_behind", ANA)]
    assert ears.hear(recorded("45", on=49), on=49) == []
    assert ears.look(on=61) == []


# --- reaching the commit ---------------------------------------------------------------------------


def test_reaching_the_commit_is_told_once() -> None:
    ears = watching()
    told = ears.hear(recorded("50", on=20), on=20)
    assert kinds(told) == [("commit_reached", ANA)]
    assert "50 % has come to the commit of 50" in told[0].explanation
    assert ears.hear(recorded("60", on=21), on=21) == []


@pytest.mark.parametrize(
    ("type_", "value", "said"),
    [
        ("binary", "1", "It is done, as was promised (rule commit)."),
        ("ordinal", "1", "It has come to what its commit says (rule commit)."),
        ("milestone", "1", "100 % of its milestones are done, 100 % were promised (rule commit)."),
    ],
)
def test_a_kept_promise_is_told_as_its_type_has_it(type_: KeyResultType, value: str, said: str) -> None:
    ears = Ears()
    for fact in (replace(defined(commit="1", target="1"), type=type_), assigned(), opened()):
        ears.hear(fact, on=0)
    assert [each.explanation for each in ears.hear(recorded(value, on=20), on=20)] == [said]


def test_falling_below_the_commit_and_reaching_it_again_is_no_news() -> None:
    ears = watching()
    ears.hear(recorded("50", on=20), on=20)
    assert ears.hear(corrected("40", on=20), on=21) == []
    assert ears.hear(recorded("50.0", on=22), on=22) == []


def test_a_new_commit_is_told_when_it_is_reached() -> None:
    ears = watching()
    ears.hear(recorded("50", on=20), on=20)
    assert ears.hear(revised(commit="70"), on=21) == []
    assert kinds(ears.hear(recorded("71", on=22), on=22)) == [("commit_reached", ANA)]


def test_a_commit_lowered_to_what_is_reached_already_is_told() -> None:
    ears = watching()
    ears.hear(recorded("40", on=20), on=20)
    assert kinds(ears.hear(revised(commit="35"), on=21)) == [("commit_reached", ANA)]


def test_a_commit_that_is_taken_back_up_again_is_told_once() -> None:
    ears = watching()
    ears.hear(recorded("50", on=20), on=20)
    ears.hear(revised(commit="70"), on=21)
    assert ears.hear(revised(commit="50"), on=22) == []


def test_counting_down_reaches_a_commit_from_above() -> None:
    ears = Ears()
    for fact in (defined(start="100", commit="60", target="20"), assigned(), opened()):
        ears.hear(fact, on=0)
    assert kinds(ears.hear(recorded("61", on=20), on=20)) == []
    assert kinds(ears.hear(recorded("59.5", on=21), on=21)) == [("commit_reached", ANA)]


# --- closed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [recorded("60", on=50), recorded("0", on=50), assigned(BEN), revised("1")])
def test_nothing_is_told_after_the_close(late: Fact) -> None:
    ears = watching(closed())
    assert ears.hear(late, on=50) == []
    assert ears.look(on=60) == []


# --- never twice -----------------------------------------------------------------------------------


def test_what_is_heard_again_is_ignored_for_ever() -> None:
    ears = watching()
    for fact, on in (
        (recorded("30", on=50), 50),
        (recorded("55", on=52), 52),
        (corrected("56", on=52), 53),
        (assigned(BEN), 54),
        (revised("80"), 55),
    ):
        ears.hear(fact, on)
    before = ears.state
    for command in tuple(ears.heard):
        assert ears.again(command) == []
    assert ears.state == before


def test_positions_of_two_services_are_not_mixed_up() -> None:
    ears = watching()
    ears.hear(recorded("30", on=50), on=50)
    assert ears.state.memory is not None
    assert ears.state.memory.heard == {"goals": 3, "checkins": 4}


def test_a_fact_that_changes_nothing_leaves_no_event() -> None:
    ears = watching()
    ears.hear(recorded("48", on=50), on=50)
    before = len(ears.events)
    ears.hear(recorded("10", on=40), on=51)
    ears.hear(assigned(BEN, role="watcher"), on=51)
    assert len(ears.events) == before


def test_a_notification_has_the_same_id_whenever_it_is_decided() -> None:
    one, other = watching(), watching()
    told = one.hear(recorded("30", on=50), on=50) + other.hear(recorded("30", on=50), on=50)
    assert told[0] == told[1]


def test_whichever_service_is_ahead_the_same_is_told() -> None:
    goals: list[Fact] = [defined(), assigned(), opened()]
    values: list[Fact] = [recorded("10", on=50), recorded("55", on=60)]
    expected = {("became_accountable", ANA), ("commit_reached", ANA), ("fell_behind", ANA)}
    for order in set(permutations(["goals"] * 3 + ["checkins"] * 2)):
        ears, told = Ears(), []
        turns = {"goals": iter(goals), "checkins": iter(values)}
        for service in order:
            told += kinds(ears.hear(next(turns[service]), on=60))
        # A value overtaken by a newer one before anything could be judged was never the latest: nobody was behind.
        assert set(told) | {("fell_behind", ANA)} == expected
        assert len(told) == len(set(told))


def test_redelivery_in_any_mix_tells_what_one_delivery_tells() -> None:
    chance = random.Random(7)
    plain = watching()
    values = [recorded(str(value), on=on) for on, value in ((20, 5), (40, 45), (60, 30), (80, 55), (90, 99))]
    for value in values:
        plain.hear(value, on=(value.occurred_at - values[0].occurred_at).days + 20)
    again = Ears()
    for index, command in enumerate(plain.heard):
        again.again(command)
        for repeated in chance.choices(plain.heard[: index + 1], k=3):
            assert again.again(repeated) == []
    assert again.events == plain.events


def test_a_state_comes_back_from_its_snapshot_unchanged() -> None:
    ears = watching()
    ears.hear(recorded("60.50", on=50), on=50)
    assert msgspec.json.decode(msgspec.json.encode(ears.state), type=Watch) == ears.state


def test_folding_a_notification_changes_no_memory() -> None:
    noted = KeyResultJudged(UUID(int=1), ANA, behind=True, commit_reached=False, heard={"goals": 1})
    told = NotificationRaised(UUID(int=3), ANA, "fell_behind", UUID(int=1), UUID(int=2), "t", "e")
    assert watch.fold([noted, told]) == watch.fold([noted])
