"""Who contributes to whom: a forest, never a loop."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def line_of_sight(parents: Mapping[Node, Node], node: Node) -> list[Node]:
    """`node`, its parent, and so on to the top. A loop, which should not be, ends the walk."""
    path = [node]
    seen = {node}
    while (parent := parents.get(path[-1])) is not None and parent not in seen:
        path.append(parent)
        seen.add(parent)
    return path


def closes_loop(parents: Mapping[Node, Node], child: Node, parent: Node) -> bool:
    """Whether `child` contributing to `parent` would make somebody contribute to itself.

    `parents` maps each node to the one it contributes to. A key result inside its objective counts
    as an edge too: enter it as key result → objective.
    """
    return child in line_of_sight(parents, parent)


def depth(parents: Mapping[Node, Node], node: Node) -> int:
    """How many nodes the line of sight from `node` to the top passes, both ends included."""
    return len(line_of_sight(parents, node))


def depth_below(parents: Mapping[Node, Node], node: Node) -> int:
    """How many levels there are from `node` down to the lowest that serves it, itself included."""
    levels, level, seen = 1, {node}, {node}
    while level := {child for child, parent in parents.items() if parent in level} - seen:
        levels += 1
        seen |= level
    return levels


def depths_below(parents: Mapping[Node, Node]) -> dict[Node, int]:
    """`depth_below` of every node that has an edge, in one pass over the whole graph."""
    depths: dict[Node, int] = {}
    for node in parents:
        for steps, above in enumerate(line_of_sight(parents, node)):
            depths[above] = max(depths.get(above, 1), steps + 1)
    return depths
