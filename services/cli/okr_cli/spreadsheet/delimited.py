"""CSV and its cousins: text cut by commas, semicolons, tabs or bars."""

import csv
import io
import re

from okr_cli.spreadsheet.headers import columns_of
from okr_cli.spreadsheet.model import MAX_SHEET_COLUMNS, MAX_SHEET_ROWS, Cell, Sheet, UnreadableFileError

DELIMITERS = (",", ";", "\t", "|")
HEADER_WITHIN_ROWS = 30
"""How far down a header is looked for: titles and notes often stand above it."""

ACCEPTED = "accepted are UTF-8 (with or without byte order mark) and UTF-16 with byte order mark"
NAMED_ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso-8859-1", "iso-8859-15", "mac-roman")
"""Encodings a caller may name. One of single bytes decodes anything, so it is never guessed."""


def read_delimited(data: bytes, encoding: str | None = None) -> Sheet:
    """The sheet in a CSV file. Rows count as a spreadsheet shows them: a cell with line breaks is one row."""
    text = _decoded(data, encoding)
    stated = re.match(r"sep=([,;\t|])\r?\n", text)
    if stated is not None:
        return _cut(text[stated.end() :], stated[1])
    best = ","
    most = 0
    for delimiter in DELIMITERS:
        try:
            head = _cut(text, delimiter, HEADER_WITHIN_ROWS)
        except UnreadableFileError:
            continue
        known = max((len(columns_of(row)[0]) for row in head.rows), default=0)
        if known > most:
            best, most = delimiter, known
    return _cut(text, best)


def _decoded(data: bytes, encoding: str | None) -> str:
    if encoding is None:
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    elif encoding.lower() == "utf-8":
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise UnreadableFileError(
                "WRONG_ENCODING", f"byte {error.start + 1} is not {encoding}: {error.reason}; {ACCEPTED}"
            ) from None
        row = data.count(b"\n", 0, error.start) + 1
        found = " ".join(f"0x{byte:02X}" for byte in data[error.start : error.start + 1])
        raise UnreadableFileError(
            "WRONG_ENCODING",
            f"byte {error.start + 1} ({found}, line {row}) is not UTF-8; {ACCEPTED}. "
            "Save the file as 'CSV UTF-8', or name its encoding, as in --encoding cp1252",
            row=row,
        ) from None
    if "\0" in text:
        raise UnreadableFileError(
            "WRONG_ENCODING",
            f"character {text.index(chr(0)) + 1} is NUL: this is no text, or UTF-16 without byte order mark; "
            f"{ACCEPTED}",
        )
    return text


def _cut(text: str, delimiter: str, limit: int | None = None) -> Sheet:
    rows: list[list[Cell]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if limit is not None and len(rows) == limit:
                break
            if len(rows) == MAX_SHEET_ROWS:
                raise UnreadableFileError("TOO_MANY_ROWS", f"the file has more than {MAX_SHEET_ROWS} rows")
            rows.append([Cell(text=field.strip()) for field in record[:MAX_SHEET_COLUMNS]])
    except csv.Error as error:
        raise UnreadableFileError(
            "BROKEN_CSV",
            f"row {len(rows) + 1} (line {reader.line_num}) cannot be read: {error}; look for a quotation mark that is "
            "opened and not closed",
            row=len(rows) + 1,
        ) from None
    return Sheet(rows=rows, comma_locale=delimiter == ";")
