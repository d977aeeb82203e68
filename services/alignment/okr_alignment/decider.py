"""The rules of alignment: one stream per cycle, so that "no loops" is exact whoever writes at the same time."""

from typing import assert_never
from uuid import UUID

from msgspec import Struct

from okr_alignment.commands import Align, Command, Unalign
from okr_contracts.alignment import Aligned, AlignmentEvent, Unaligned
from okr_contracts.errors import DomainError, NotFoundError
from okr_eventstore.decider import Decider
from okr_rules.alignment import closes_loop, depth, depth_below, line_of_sight


class Alignments(Struct, frozen=True):
    """The forest of a cycle: each objective that contributes, and to which."""

    parents: dict[UUID, UUID] = {}


def decide(state: Alignments, command: Command) -> list[AlignmentEvent]:
    match command:
        case Align():
            return _align(state, command)
        case Unalign():
            parent = state.parents.get(command.objective_id)
            if parent is None:
                raise NotFoundError("alignment", f"of objective {command.objective_id}")
            return [Unaligned(cycle_id=command.cycle_id, objective_id=command.objective_id, parent_objective_id=parent)]
        case _:
            assert_never(command)


def _align(state: Alignments, command: Align) -> list[AlignmentEvent]:
    child, parent = command.objective_id, command.parent_objective_id
    if child == parent:
        raise DomainError("ALIGNMENT_TO_ITSELF", f"objective {child} cannot contribute to itself")
    previous = state.parents.get(child)
    if previous == parent:
        return []
    if closes_loop(state.parents, child, parent):
        path = line_of_sight(state.parents, parent)
        loop = " → ".join(str(each) for each in [child, *path[: path.index(child) + 1]])
        raise DomainError(
            "ALIGNMENT_CLOSES_LOOP",
            f"objective {child} cannot contribute to {parent}, which contributes to it already: {loop}",
        )
    deep = depth(state.parents, parent) + depth_below(state.parents, child)
    if deep > command.max_depth:
        raise DomainError(
            "ALIGNMENT_TOO_DEEP",
            f"with objective {child} under {parent} a line of sight would pass {deep} objectives, "
            f"and at most {command.max_depth} are allowed; align higher up",
        )
    return [
        Aligned(cycle_id=command.cycle_id, objective_id=child, parent_objective_id=parent, previous_parent_id=previous)
    ]


def evolve(state: Alignments, event: AlignmentEvent) -> Alignments:
    match event:
        case Aligned():
            return Alignments({**state.parents, event.objective_id: event.parent_objective_id})
        case Unaligned():
            return Alignments({child: up for child, up in state.parents.items() if child != event.objective_id})
        case _:
            assert_never(event)


alignments = Decider(category="alignment", initial=Alignments(), decide=decide, evolve=evolve, snapshot_every=100)
"""Snapshots, because all objectives of a cycle write to one stream."""
