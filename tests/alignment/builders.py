"""Commands and facts of one cycle's alignments; objectives are told apart by a number."""

from itertools import pairwise
from uuid import UUID

from okr_alignment.commands import Align, Unalign
from okr_contracts.alignment import Aligned, Unaligned

CYCLE = UUID(int=9)


def objective(number: int) -> UUID:
    return UUID(int=1000 + number)


def align(child: int, parent: int, max_depth: int | None = None) -> Align:
    """The command; with the depth that the rules allow unless another one is stated."""
    command = Align(cycle_id=CYCLE, objective_id=objective(child), parent_objective_id=objective(parent))
    return command if max_depth is None else command.model_copy(update={"max_depth": max_depth})


def unalign(child: int) -> Unalign:
    return Unalign(cycle_id=CYCLE, objective_id=objective(child))


def aligned(child: int, parent: int, previous: int | None = None) -> Aligned:
    return Aligned(
        cycle_id=CYCLE,
        objective_id=objective(child),
        parent_objective_id=objective(parent),
        previous_parent_id=None if previous is None else objective(previous),
    )


def unaligned(child: int, parent: int) -> Unaligned:
    return Unaligned(cycle_id=CYCLE, objective_id=objective(child), parent_objective_id=objective(parent))


def chain(*objectives: int) -> list[Aligned]:
    """Each contributes to the one named after it."""
    return [aligned(child, parent) for child, parent in pairwise(objectives)]
