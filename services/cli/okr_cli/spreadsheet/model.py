"""What the reader works on and what it answers."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct

from okr.goals.v1.goals_pb2 import PlanRow

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_SHEET_ROWS = 10_000
MAX_SHEET_COLUMNS = 200
MAX_PLAN_ROWS = 5_000


class Cell(NamedTuple):
    """One cell. `text` is what a person reads in it; workbooks may know more than the text."""

    text: str = ""
    number: Decimal | None = None
    day: date | None = None
    percent: bool = False
    trouble: str = ""
    """Why the cell has no usable value, such as a formula that was never calculated."""

    @property
    def blank(self) -> bool:
        return not self.text and not self.trouble


class Sheet(Struct, frozen=True):
    """A rectangle of cells; the first list is row 1. `comma_locale`: the file itself suggests decimal commas."""

    rows: list[list[Cell]]
    name: str = ""
    comma_locale: bool = False


class Fault(Struct, frozen=True):
    """Something to put right, where the user sees it. Row 0 and no cell: the file as a whole."""

    reason: str
    message: str
    row: int = 0
    cell: str = ""
    header: str = ""
    field: str = ""


class UnreadableFileError(Exception):
    """The file cannot be opened at all: one fault says why."""

    def __init__(self, reason: str, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.fault = Fault(reason=reason, message=message, row=row)


class Column(Struct, frozen=True):
    """Where a field stands: counted from 0, with the header as it is written."""

    index: int
    header: str


class Plan(Struct, frozen=True):
    """What a file says. With faults, `rows` holds only those rows that have none."""

    rows: tuple[PlanRow, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    """Decisions the reader took that a careful person would like to know."""
    ignored_columns: tuple[str, ...] = ()
    columns: Mapping[str, Column] = {}
    sheet: str = ""

    def place(self, row: int, field: str) -> tuple[str, str]:
        """The cell (`E7`) and header of a field in a row; empty where the file has no such column."""
        column = self.columns.get(field)
        if column is None:
            return "", ""
        return address(row, column.index), column.header


def letters(index: int) -> str:
    """The spreadsheet's name of a column counted from 0: A … Z, AA …"""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def address(row: int, index: int) -> str:
    """A cell as spreadsheets name it: `E7`."""
    return f"{letters(index)}{row}"
