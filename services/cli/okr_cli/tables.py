"""Tables of text: aligned, wrapping only where a column allows it, and never inside an id."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.text import Text

GAP = 2
"""Spaces between two columns."""

_WORD_GAPS = re.compile("(?<![0-9]) | (?![0-9])")
"""Where a line may end: not inside a number like 1 710 000."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Text from outside as it may be printed: no control characters that could steer a terminal."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


class Cell(NamedTuple):
    """One cell of a table. `style` is a rich style, used only where colours are."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """One column. Columns of a higher `drop` go first when a terminal is narrow; 0 always stays.

    A `flexible` column gives room away by wrapping; the others are as wide as their widest cell.
    """

    header: str
    align: Literal["left", "right"] = "left"
    flexible: bool = False
    least: int = 16
    """How far a flexible column gives way before another one goes."""
    drop: int = 0


class Row(NamedTuple):
    cells: Sequence[Cell | str]
    heading: bool = False
    """A line of its own across all columns; only the first cell is shown left, the rest right-aligned as usual."""


def laid_out(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Text]:
    """A table as lines: numbers right-aligned, wrapping only where a column allows it, never inside an id."""
    grid = [[_cell(cell) for cell in row.cells] for row in rows]
    keep = list(range(len(columns)))
    natural = [
        max(
            [cell_len(column.header)]
            + [
                cell_len(cells[index].text)
                for row, cells in zip(rows, grid, strict=True)
                if not (row.heading and not index)
            ]
        )
        for index, column in enumerate(columns)
    ]
    least = [
        min(natural[index], column.least) if column.flexible else natural[index] for index, column in enumerate(columns)
    ]
    while sum(least[index] for index in keep) + GAP * (len(keep) - 1) > width:
        droppable = [index for index in keep if columns[index].drop]
        if not droppable:
            break
        keep.remove(max(droppable, key=lambda index: columns[index].drop))
    widths = {index: natural[index] for index in keep}
    excess = sum(widths.values()) + GAP * (len(keep) - 1) - width
    for index in sorted((i for i in keep if columns[i].flexible), key=lambda i: -natural[i]):
        give = min(max(excess, 0), widths[index] - least[index])
        widths[index] -= give
        excess -= give
    lines = _lines(columns, keep, widths, [Cell(columns[index].header, "dim") for index in range(len(columns))], False)
    for row, cells in zip(rows, grid, strict=True):
        lines += _lines(columns, keep, widths, cells, row.heading)
    return lines


def _cell(cell: Cell | str) -> Cell:
    """A cell on one line; what stands in is kept."""
    text, style = (cell, "") if isinstance(cell, str) else cell
    indent = _indent(text)
    words = " ".join(clean(text[len(indent) :]).split())
    return Cell(indent + words if words else "", style)


def _lines(
    columns: Sequence[Column], keep: Sequence[int], widths: dict[int, int], cells: Sequence[Cell], heading: bool
) -> list[Text]:
    wrapped: dict[int, list[str]] = {}
    for index in keep:
        room = widths[index]
        if heading and index == 0:
            blank_after = 1
            while blank_after < len(keep) and not cells[keep[blank_after]].text:
                blank_after += 1
            room = sum(widths[each] for each in keep[:blank_after]) + GAP * (blank_after - 1)
        wrapped[index] = _wrap(cells[index].text, room)
    lines = []
    for number in range(max(len(parts) for parts in wrapped.values())):
        line = Text()
        used = 0
        place = 0
        for index in keep:
            part = wrapped[index][number] if number < len(wrapped[index]) else ""
            if part:
                before = place + (widths[index] - cell_len(part) if columns[index].align == "right" else 0) - used
                line.append(" " * max(before, 0))
                line.append(part, style=cells[index].style or None)
                used += max(before, 0) + cell_len(part)
            place += widths[index] + GAP
        lines.append(line)
    return lines


def _wrap(text: str, room: int) -> list[str]:
    """Lines of at most `room` cells, cut between words; a word that is too long is cut where it must."""
    indent = _indent(text)
    lines: list[str] = []
    line = ""
    for word in _WORD_GAPS.split(text[len(indent) :]):
        while cell_len(indent + word) > room > len(indent):
            head = word[: room - len(indent)]
            if line:
                lines.append(line)
                line = ""
            lines.append(indent + head)
            indent = _continued(indent)
            word = word[len(head) :]
        candidate = f"{line} {word}" if line else indent + word
        if line and cell_len(candidate) > room:
            lines.append(line)
            indent = _continued(indent)
            candidate = indent + word
        line = candidate
    return [*lines, line] if line or not lines else lines


def _indent(text: str) -> str:
    """What stands before the words: spaces, or the branches of a tree."""
    return text[: len(text) - len(text.lstrip(" │├└─"))]


def _continued(indent: str) -> str:
    """The same indent on the next line: branches go on or end."""
    return indent.replace("├─", "│ ").replace("└─", "  ")
