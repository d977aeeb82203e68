"""Events of alignment: which objective contributes to which."""

from uuid import UUID

from msgspec import Struct


class Aligned(Struct, frozen=True):
    """`objective_id` contributes to `parent_objective_id`; a former parent, if any, is replaced."""

    cycle_id: UUID
    objective_id: UUID
    parent_objective_id: UUID
    previous_parent_id: UUID | None = None


class Unaligned(Struct, frozen=True):
    cycle_id: UUID
    objective_id: UUID
    parent_objective_id: UUID


AlignmentEvent = Aligned | Unaligned
