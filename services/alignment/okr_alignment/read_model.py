"""What is read of alignment: the edges of each cycle. And what must be known of goals: which objective lies where."""

from collections.abc import Sequence
from typing import ClassVar, assert_never, cast
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from okr_chassis.rpc.pages import Page
from okr_chassis.service import Reader
from okr_contracts.alignment import Aligned, AlignmentEvent, Unaligned
from okr_contracts.goals import CycleDrafted, ObjectiveDrafted
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class EdgeRow(Row, frozen=True):
    """Which objective an objective contributes to; None: to none any more."""

    __table__ = "edge"
    __key__ = ("organization_id", "cycle_id", "objective_id")

    organization_id: UUID
    cycle_id: UUID
    objective_id: UUID
    parent_objective_id: UUID | None = None


class TreeRow(Row, frozen=True):
    """A cycle's alignments as a whole. Each event writes it, so its version is that of the stream: the etag."""

    __table__ = "tree"
    __key__ = ("organization_id", "cycle_id")

    organization_id: UUID
    cycle_id: UUID
    edges: int = 0


def project(rows: Rows, event: ProjectedEvent) -> None:
    fact = cast(AlignmentEvent, event.data)
    edge = rows.get(EdgeRow, event.organization_id, fact.cycle_id, fact.objective_id)
    tree = rows.get(TreeRow, event.organization_id, fact.cycle_id)
    match fact:
        case Aligned():
            added = edge.parent_objective_id is None
            rows.put(replace(edge, parent_objective_id=fact.parent_objective_id))
            rows.put(replace(tree, edges=tree.edges + added))
        case Unaligned():
            rows.put(replace(edge, parent_objective_id=None))
            rows.put(replace(tree, edges=tree.edges - 1))
        case _:
            assert_never(fact)


tree = Projection("alignment.tree", source="alignment", rows=(EdgeRow, TreeRow), project=project)


class CycleRow(Row, frozen=True):
    """A cycle of goals exists."""

    __table__ = "cycle"
    __key__ = ("organization_id", "cycle_id")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    cycle_id: UUID


class ObjectiveRow(Row, frozen=True):
    """An objective of goals exists, and in which cycle. It never moves."""

    __table__ = "objective"
    __key__ = ("organization_id", "objective_id")
    __history__: ClassVar[bool] = False

    organization_id: UUID
    objective_id: UUID
    cycle_id: UUID | None = None


def project_goals(rows: Rows, event: ProjectedEvent) -> None:
    match event.data:
        case CycleDrafted() as fact:
            rows.put(CycleRow(event.organization_id, fact.cycle_id))
        case ObjectiveDrafted() as fact:
            rows.put(ObjectiveRow(event.organization_id, fact.objective_id, fact.cycle_id))
        case _:
            pass  # nothing else moves an objective


goals = Projection("alignment.goals", source="goals", rows=(CycleRow, ObjectiveRow), project=project_goals)


async def edges_of(reader: Reader, organization_id: UUID, cycle_id: UUID, page: Page) -> Sequence[asyncpg.Record]:
    """A cycle's edges in the order of the contributing objectives' ids, one more than the page holds."""
    return await reader.fetch(
        """SELECT objective_id, parent_objective_id FROM edge
            WHERE organization_id = $1 AND cycle_id = $2 AND parent_objective_id IS NOT NULL
              AND ($3::uuid IS NULL OR objective_id > $3)
            ORDER BY objective_id LIMIT $4""",
        organization_id,
        cycle_id,
        page.after_id,
        page.limit,
    )


async def version_of(reader: Reader, organization_id: UUID, cycle_id: UUID) -> int | None:
    """The version of a cycle's alignments, 0 where there were none yet; None for a cycle nobody here has heard of."""
    row = await reader.fetchrow(
        """SELECT coalesce((SELECT _stream_version FROM tree WHERE organization_id = $1 AND cycle_id = $2),
                           (SELECT 0 FROM cycle WHERE organization_id = $1 AND cycle_id = $2)) AS version""",
        organization_id,
        cycle_id,
    )
    return None if row is None or row["version"] is None else int(row["version"])


async def cycles_of(reader: Reader, organization_id: UUID, objective_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """In which cycle each of these objectives lies, of those that were heard of."""
    rows = await reader.fetch(
        "SELECT objective_id, cycle_id FROM objective WHERE organization_id = $1 AND objective_id = ANY ($2)",
        organization_id,
        objective_ids,
    )
    return {row["objective_id"]: row["cycle_id"] for row in rows}
