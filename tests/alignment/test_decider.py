"""The rules of alignment."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from okr_alignment.decider import Alignments, alignments
from okr_contracts.errors import DomainError
from okr_rules.alignment import depth
from okr_rules.parameters import DEFAULTS
from tests.alignment.builders import align, aligned, chain, objective, unalign, unaligned
from tests.support.spec import spec

rules = spec(alignments)


def test_an_objective_contributes_to_another() -> None:
    rules.given().when(align(2, 1)).then(aligned(2, 1))


def test_the_same_parent_again_changes_nothing() -> None:
    rules.given(aligned(2, 1)).when(align(2, 1)).then_nothing()


def test_another_parent_takes_the_place_of_the_first() -> None:
    rules.given(aligned(3, 1)).when(align(3, 2)).then(aligned(3, 2, previous=1))


def test_several_objectives_contribute_to_one() -> None:
    rules.given(aligned(2, 1)).when(align(3, 1)).then(aligned(3, 1))


def test_an_objective_cannot_contribute_to_itself() -> None:
    rules.given().when(align(1, 1)).then_refused("ALIGNMENT_TO_ITSELF")


def test_a_loop_of_two_is_refused() -> None:
    rules.given(aligned(2, 1)).when(align(1, 2)).then_refused("ALIGNMENT_CLOSES_LOOP")


def test_a_loop_is_refused_and_named() -> None:
    loop = " → ".join(str(objective(each)) for each in (3, 1, 2, 3))
    with pytest.raises(DomainError, match=loop):
        alignments.decide(alignments.fold(chain(1, 2, 3, 4)), align(3, 1))


def test_an_objective_may_turn_to_a_parent_that_its_former_line_stood_in_the_way_of() -> None:
    rules.given(*chain(1, 2, 3), unaligned(2, 3)).when(align(3, 1)).then(aligned(3, 1))


def test_a_line_of_sight_passes_six_objectives_and_not_seven() -> None:
    assert DEFAULTS.max_alignment_depth == 6
    rules.given(*chain(2, 3, 4, 5, 6)).when(align(1, 2)).then(aligned(1, 2))
    rules.given(*chain(2, 3, 4, 5, 6, 7)).when(align(1, 2)).then_refused("ALIGNMENT_TOO_DEEP")


def test_what_hangs_below_counts_as_well_as_what_stands_above() -> None:
    rules.given(*chain(1, 2, 3), *chain(4, 5, 6)).when(align(3, 4)).then(aligned(3, 4))
    rules.given(*chain(1, 2, 3), *chain(4, 5, 6, 7)).when(align(3, 4)).then_refused("ALIGNMENT_TOO_DEEP")


def test_how_deep_is_allowed_comes_with_the_command() -> None:
    rules.given(*chain(2, 3)).when(align(1, 2, max_depth=2)).then_refused("ALIGNMENT_TOO_DEEP")
    rules.given(*chain(2, 3)).when(align(1, 2, max_depth=3)).then(aligned(1, 2))


def test_an_objective_contributes_to_nobody_any_more() -> None:
    rules.given(aligned(2, 1)).when(unalign(2)).then(unaligned(2, 1))


def test_what_is_not_aligned_cannot_be_unaligned() -> None:
    rules.given().when(unalign(2)).then_not_found("ALIGNMENT_NOT_FOUND")
    rules.given(aligned(2, 1), unaligned(2, 1)).when(unalign(2)).then_not_found("ALIGNMENT_NOT_FOUND")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60))
def test_whatever_is_asked_the_cycle_stays_a_forest_of_bounded_depth(asked: list[tuple[int, int]]) -> None:
    state = Alignments()
    for child, parent in asked:
        try:
            state = alignments.fold(alignments.decide(state, align(child, parent)), state)
        except DomainError:
            continue
        for node in state.parents:
            assert not _loops(state, node)
            assert depth(state.parents, node) <= DEFAULTS.max_alignment_depth


def test_a_state_comes_back_from_its_snapshot_unchanged() -> None:
    state = alignments.fold(chain(1, 2, 3))
    assert msgspec.json.decode(msgspec.json.encode(state), type=Alignments) == state


def _loops(state: Alignments, node: UUID) -> bool:
    """Told without the rule under test: whether walking up from `node` comes back to it."""
    above = state.parents.get(node)
    for _ in range(len(state.parents) + 1):
        if above is None or above == node:
            return above == node
        above = state.parents.get(above)
    return True
