"""XLSX workbooks: the first sheet that has the headers, with its native numbers, dates and percentages."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.cell import range_boundaries

from okr_cli.spreadsheet.model import (
    MAX_SHEET_COLUMNS,
    MAX_SHEET_ROWS,
    MAX_UNPACKED_BYTES,
    Cell,
    Sheet,
    UnreadableFileError,
    address,
)

MAX_SHEETS = 50
MAX_PARTS = 2_000
MAX_MERGES = 20_000
_MERGE = re.compile(rb"""<(?:\w+:)?mergeCell\s[^>]*?ref=["']([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})["']""")


def read_workbook(data: bytes, has_headers: Callable[[Sheet], bool]) -> Sheet:
    """The first visible sheet with the headers, or the first sheet when none has them.

    A workbook is a zip file from anywhere: its unpacked size is checked before anything is unpacked,
    and rows and columns are bounded while it is read.
    """
    _guard(data)
    try:
        return _read(data, has_headers)
    except UnreadableFileError:
        raise
    except Exception as error:  # openpyxl answers a damaged file with whatever it stumbled over
        raise UnreadableFileError(
            "BROKEN_WORKBOOK",
            f"the workbook is damaged and cannot be read ({type(error).__name__}); save it anew as .xlsx",
        ) from None


def _guard(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        raise UnreadableFileError("BROKEN_WORKBOOK", "the file begins like a workbook and is not a whole one") from None
    # Python never unpacks more of a part than its directory entry declares, so the declared sizes bound the real ones.
    unpacked = sum(part.file_size for part in parts)
    if unpacked > MAX_UNPACKED_BYTES or len(parts) > MAX_PARTS:
        raise UnreadableFileError(
            "WORKBOOK_TOO_LARGE",
            f"the workbook unpacks to {unpacked // 2**20} MiB in {len(parts)} parts; "
            f"at most {MAX_UNPACKED_BYTES // 2**20} MiB in {MAX_PARTS} parts are read",
        )
    if not any(part.filename == "[Content_Types].xml" for part in parts):
        raise UnreadableFileError(
            "NOT_A_SPREADSHEET", "this is a zip file and not a workbook; accepted are .csv and .xlsx"
        )


def _read(data: bytes, has_headers: Callable[[Sheet], bool]) -> Sheet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl warns of charts and validations it does not need
        values = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        formulas = load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_links=False)
    first: Sheet | None = None
    for name in values.sheetnames[:MAX_SHEETS]:
        worksheet = values[name]
        if not hasattr(worksheet, "iter_rows") or worksheet.sheet_state != "visible":
            continue
        sheet = Sheet(rows=_rows(worksheet, formulas[name], data), name=name)
        if has_headers(sheet):
            return sheet
        first = first or sheet
    if first is None:
        raise UnreadableFileError("EMPTY_FILE", "the workbook has no visible sheet with cells")
    return first


def _rows(worksheet: Any, formulas: Any, data: bytes) -> list[list[Cell]]:
    bounds = {"min_row": 1, "min_col": 1, "max_row": MAX_SHEET_ROWS + 1, "max_col": MAX_SHEET_COLUMNS}
    rows: list[list[Cell]] = []
    filled = 0
    for number, (shown, written) in enumerate(
        zip(worksheet.iter_rows(**bounds), formulas.iter_rows(**bounds), strict=False), 1
    ):
        cells = [_cell(*pair, address(number, index)) for index, pair in enumerate(zip(shown, written, strict=False))]
        while cells and cells[-1].blank:
            cells.pop()
        rows.append(cells)
        if cells:
            filled = number
    if filled > MAX_SHEET_ROWS:
        raise UnreadableFileError("TOO_MANY_ROWS", f"sheet {worksheet.title!r} has more than {MAX_SHEET_ROWS} rows")
    rows = rows[:filled]
    _spread_merges(rows, worksheet, data)
    return rows


def _cell(shown: Any, written: Any, place: str) -> Cell:
    value = shown.value
    if value is None:
        if written.data_type == "f":
            return Cell(
                trouble=f"{place} holds a formula that was never calculated; open the file, save it and try again"
            )
        return Cell()
    if shown.data_type == "e":
        return Cell(text=str(value), trouble=f"{place} shows the error {value}")
    if isinstance(value, bool):
        return Cell(text="TRUE" if value else "FALSE")
    if isinstance(value, datetime):
        return Cell(text=value.date().isoformat(), day=value.date())
    if isinstance(value, date):
        return Cell(text=value.isoformat(), day=value)
    if isinstance(value, int | float):
        # Excel computes and shows 15 digits; what lies beyond is binary noise (0.1 + 0.2).
        number = Decimal(value) if isinstance(value, int) else Decimal(format(value, ".15g"))
        if not number.is_finite():
            return Cell(text=str(value))
        percent = "%" in str(shown.number_format or "")
        return Cell(text=str(value), number=number * 100 if percent else number, percent=percent)
    # Escapes such as _xD800_ can smuggle half characters in, which no text can carry on.
    return Cell(text=str(value).encode("utf-8", "replace").decode("utf-8").strip())


def _spread_merges(rows: list[list[Cell]], worksheet: Any, data: bytes) -> None:
    """Gives every row of cells merged downwards the value of the first: that is what the eye sees.

    A streaming read does not report merges, so they are looked up in the sheet's own part, whose path
    openpyxl keeps in a private attribute.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        part = archive.read(worksheet._worksheet_path)
    for number, match in enumerate(_MERGE.finditer(part)):
        if number == MAX_MERGES:
            break
        left, top, _, bottom = range_boundaries(match[1].decode("ascii"))
        if not left or not top or not bottom or top > len(rows) or left > len(rows[top - 1]):
            continue
        for row in rows[top : min(bottom, len(rows))]:
            if not row:
                continue
            row.extend(Cell() for _ in range(left - len(row)))
            if row[left - 1].blank:
                row[left - 1] = rows[top - 1][left - 1]
