"""What there is already, as far as a plan can touch it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from uuid import UUID

from okr_goals.decider.cycle import Cycle
from okr_goals.decider.objective import Objective


@dataclass(frozen=True)
class KnownPerson:
    person_id: UUID
    handle: str
    name: str
    email: str


@dataclass(frozen=True)
class World:
    """`objective_ids` finds objectives of the cycle by unit and title; `objectives` holds those that were loaded."""

    organization_id: UUID
    organization_name: str | None
    today: date
    units: Mapping[UUID, str] = field(default_factory=dict)
    people: Mapping[UUID, KnownPerson] = field(default_factory=dict)
    erased: frozenset[UUID] = frozenset()
    """Ids that stand for nobody any more; whoever has the same name now is somebody else."""
    cycle_id: UUID | None = None
    cycle: Cycle = field(default_factory=Cycle)
    objective_ids: Mapping[tuple[UUID, str], UUID] = field(default_factory=dict)
    objectives: Mapping[UUID, Objective] = field(default_factory=dict)
    parents: Mapping[UUID, UUID] = field(default_factory=dict)
    last_values: Mapping[UUID, Decimal] = field(default_factory=dict)
