"""What the read model makes of alignments, and the replica of goals."""

from uuid import UUID

from okr_alignment.read_model import CycleRow, EdgeRow, ObjectiveRow, TreeRow, goals, tree
from tests.alignment.builders import aligned, objective, unaligned
from tests.insights.facts import ACME, Q1, cycle_drafted, key_result_defined, objective_drafted
from tests.insights.folding import Folded, folded


def edges(rows: Folded) -> dict[UUID, UUID | None]:
    return {row.objective_id: row.parent_objective_id for row in rows.all(EdgeRow)}


def test_a_tree_holds_each_objectives_present_parent() -> None:
    rows = folded(tree, aligned(2, 1), aligned(3, 1), aligned(3, 2, previous=1))
    assert edges(rows) == {objective(2): objective(1), objective(3): objective(2)}
    assert rows.row(TreeRow).edges == 2


def test_an_unaligned_objective_has_no_parent() -> None:
    rows = folded(tree, aligned(2, 1), unaligned(2, 1))
    assert edges(rows) == {objective(2): None}
    assert rows.row(TreeRow).edges == 0


def test_history_keeps_former_parents() -> None:
    rows = folded(tree, aligned(3, 1), aligned(3, 2, previous=1), unaligned(3, 2), aligned(3, 1))
    assert [row.parent_objective_id for row in rows.versions(EdgeRow)] == [
        objective(1),
        objective(2),
        None,
        objective(1),
    ]
    assert [row.edges for row in rows.versions(TreeRow)] == [1, 1, 0, 1]


def test_the_replica_knows_cycles_and_where_objectives_lie() -> None:
    drafted = objective_drafted()
    rows = folded(goals, cycle_drafted(), drafted, key_result_defined())
    assert rows.all(CycleRow) == [CycleRow(ACME, Q1)]
    assert rows.all(ObjectiveRow) == [ObjectiveRow(ACME, drafted.objective_id, Q1)]
