"""What organisations call their columns.

A spelling is compared without case, accents of punctuation and what stands in brackets: "Key-Result
(title)" is "key result". Strong spellings win over weak ones, whose meaning depends on the other
columns: "Goal" is the objective where no other column is, else the target.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from okr_cli.spreadsheet.model import Cell, Column, letters

STRONG: Mapping[str, tuple[str, ...]] = {
    "objective": ("objective", "objectives", "objective title", "objective name", "o"),
    "department": (
        "department", "dept", "departement", "unit name", "business unit",
        "organisational unit", "division",
    ),
    "owner": ("owner", "objective owner", "o owner", "owned by"),
    "parent_objective": (
        "parent objective", "parent", "contributes to", "supports", "serves", "aligned to", "aligns to", "aligned with",
        "company objective", "higher objective", "parent goal",
    ),
    "key_result": (
        "key result", "key results", "kr", "krs", "key result title", "key result name", "kr title", "kr name",
        "keyresult",
    ),
    "champions": (
        "champions", "champion", "kr champions", "kr champion", "kr owner", "kr owners", "key result owner",
        "key result owners", "responsible", "accountable", "assignee", "assignees", "dri",
    ),
    "start": (
        "start", "start value", "starting value", "baseline", "base line", "from", "initial", "initial value", "base",
    ),
    "commit": ("commit", "committed", "commitment", "commit value", "promise", "committed value"),
    "target": ("target", "target value", "targets", "target number"),
    "unit": ("unit", "units", "unit of measure", "measured in", "uom", "metric unit"),
    "current": (
        "current", "current value", "actual", "actual value", "actuals", "now", "latest", "latest value", "last value",
        "value today", "today",
    ),
    "confidence": (
        "confidence", "conf", "confidence level", "confidence score", "confidence 0 1", "confidence 0 10",
        "confidence 1 10", "confidence 10", "confidence 0 100",
    ),
    "due_on": ("due", "due date", "due on", "deadline", "end date", "finish", "due by", "target date"),
}  # fmt: skip

WEAK: Sequence[tuple[str, str]] = (
    ("goal", "objective"),
    ("goal", "target"),
    ("goal value", "target"),
    ("to", "target"),
    ("end", "due_on"),
    ("value", "current"),
    ("team", "department"),
    ("area", "department"),
    ("function", "department"),
    ("lead", "owner"),
    ("who", "champions"),
    ("people", "champions"),
    ("metric", "key_result"),
    ("measure", "key_result"),
    ("result", "key_result"),
)
"""Spelling and field, taken in this order while the field is still without a column."""

REQUIRED = ("objective", "department", "key_result", "start", "target")
"""Besides these, owner or champions: someone must be accountable."""

_FIELD_OF = {spelling: field for field, spellings in STRONG.items() for spelling in spellings}


def plain(header: str) -> str:
    """A header without case, brackets, punctuation and doubled spaces. `#` stays: "KR #" is a number, not a title."""
    text = unicodedata.normalize("NFKC", header).casefold()
    text = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", text)
    text = re.sub(r"[^\w#]+|_", " ", text)
    return " ".join(text.split())


def columns_of(row: Sequence[Cell]) -> tuple[dict[str, Column], list[tuple[str, Column, Column]], list[str]]:
    """Field → column, then doubles (field, first, second), then headers that mean nothing to us."""
    found: dict[str, Column] = {}
    doubles: list[tuple[str, Column, Column]] = []
    open_headers: list[tuple[str, Column]] = []
    for index, cell in enumerate(row):
        if not cell.text:
            continue
        column = Column(index, cell.text)
        field = _FIELD_OF.get(plain(cell.text))
        if field is None:
            open_headers.append((plain(cell.text), column))
        elif field in found:
            doubles.append((field, found[field], column))
        else:
            found[field] = column
    for spelling, field in WEAK:
        if field in found:
            continue
        match = next((entry for entry in open_headers if entry[0] == spelling), None)
        if match is not None:
            found[field] = match[1]
            open_headers.remove(match)
    ignored = [f"{letters(column.index)} {column.header!r}" for _, column in open_headers]
    return found, doubles, ignored


def missing(found: Mapping[str, Column]) -> list[str]:
    """What a sheet with these columns lacks, in words."""
    lacks = [field.replace("_", " ") for field in REQUIRED if field not in found]
    if "owner" not in found and "champions" not in found:
        lacks.append("owner or champions")
    return lacks
