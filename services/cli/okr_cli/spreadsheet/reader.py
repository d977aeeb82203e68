"""From a spreadsheet's bytes to a plan: every row that can be read, and every fault at once.

One row is one key result. Where cells are blank:

- objective: the objective above;
- department, owner: as above, also across objectives;
- parent objective: as above within the same objective; a new objective without one has none;
- champions: as above within the same objective, else the objective's owner;
- unit: what the row's numbers show (`%`, a currency); otherwise it is missing, for key results rarely share one;
- commit, current, confidence, due: none; the platform's defaults hold.

A row with an objective and nothing of a key result is a heading for the rows below it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from okr.goals.v1.goals_pb2 import PlanRow
from okr_chassis.rpc.fields import NAME_LENGTH, NUMBER_DIGITS, NUMBER_PLACES, TITLE_LENGTH
from okr_cli.spreadsheet import confidences, days, headers, quantities
from okr_cli.spreadsheet.delimited import HEADER_WITHIN_ROWS, read_delimited
from okr_cli.spreadsheet.model import (
    MAX_FILE_BYTES,
    MAX_PLAN_ROWS,
    Cell,
    Column,
    Fault,
    Plan,
    Sheet,
    UnreadableFileError,
    address,
)
from okr_cli.spreadsheet.people import people_in

NUMBERS: Final = ("start", "commit", "target", "current")
TITLES: Final = ("objective", "parent_objective", "key_result")
OF_A_KEY_RESULT: Final = ("key_result", "start", "commit", "target", "current", "confidence", "due_on")
EMPTY = Cell()


def read_plan(data: bytes, encoding: str | None = None, cycle: tuple[date, date] | None = None) -> Plan:
    """The plan in a CSV or XLSX file, told apart by the content. Never raises: what is wrong is a fault.

    `encoding` is for CSV files that are neither UTF-8 nor marked. `cycle`, its first and last day,
    lets due dates outside of it be told together with all the rest.
    """
    try:
        sheet = _open(data, encoding)
        return _Reading(sheet, cycle).plan()
    except UnreadableFileError as error:
        return Plan(faults=(error.fault,))


def _open(data: bytes, encoding: str | None) -> Sheet:
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableFileError(
            "FILE_TOO_LARGE", f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"
        )
    if not data.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0"):
        raise UnreadableFileError("EMPTY_FILE", "the file is empty; it needs a header row and one row per key result")
    if data.startswith(b"PK\x03\x04"):
        from okr_cli.spreadsheet.workbook import read_workbook  # openpyxl is slow to load, and CSV needs none of it

        return read_workbook(data, lambda sheet: _header_row(sheet) is not None)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UnreadableFileError(
            "OLD_OR_LOCKED_WORKBOOK",
            "this is an .xls file, or a workbook with a password; save it as .xlsx without a password, or as CSV",
        )
    return read_delimited(data, encoding)


def _header_row(sheet: Sheet) -> int | None:
    """The index of the row that names all columns we need, or None."""
    for index, row in enumerate(sheet.rows[:HEADER_WITHIN_ROWS]):
        if not headers.missing(headers.columns_of(row)[0]):
            return index
    return None


class _Reading:
    """One pass over one sheet."""

    def __init__(self, sheet: Sheet, cycle: tuple[date, date] | None) -> None:
        self.sheet = sheet
        self.cycle = cycle
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.faulty_rows: set[int] = set()
        self.columns: Mapping[str, Column] = {}

    def plan(self) -> Plan:
        header_at = self._header()
        known = [column.index for column in self.columns.values()]
        body = [
            (number, row)
            for number, row in enumerate(self.sheet.rows[header_at + 1 :], header_at + 2)
            if any(index < len(row) and not row[index].blank for index in known)
        ]
        if not body:
            raise UnreadableFileError(
                "NO_ROWS", "the file has a header row and no key results below it; each row is one", row=header_at + 1
            )
        self._weigh_evidence(body)
        rows = [row for row in self._rows(body) if row.row not in self.faulty_rows]
        if len(body) > MAX_PLAN_ROWS:
            self._fault(
                0, "", "TOO_MANY_ROWS", f"the plan has {len(body)} rows; at most {MAX_PLAN_ROWS} are taken at once"
            )
        return Plan(
            rows=tuple(rows),
            faults=tuple(sorted(self.faults, key=lambda fault: fault.row)),
            notes=tuple(self.notes),
            ignored_columns=tuple(self.ignored),
            columns=self.columns,
            sheet=self.sheet.name,
        )

    # The header

    def _header(self) -> int:
        if not any(not cell.blank for row in self.sheet.rows for cell in row):
            raise UnreadableFileError(
                "EMPTY_FILE", "the file is empty; it needs a header row and one row per key result"
            )
        found = _header_row(self.sheet)
        if found is None:
            found = max(
                range(min(len(self.sheet.rows), HEADER_WITHIN_ROWS)),
                key=lambda index: (len(headers.columns_of(self.sheet.rows[index])[0]), -index),
            )
            self._refuse_header(found)
        self.columns, doubles, self.ignored = headers.columns_of(self.sheet.rows[found])
        for field, first, second in doubles:
            self._fault(
                found + 1,
                field,
                "COLUMN_TWICE",
                f"{address(found + 1, first.index)} {first.header!r} and {address(found + 1, second.index)} "
                f"{second.header!r} both mean {field.replace('_', ' ')}; rename or remove one",
            )
        return found

    def _refuse_header(self, index: int) -> None:
        row = self.sheet.rows[index]
        known, _, _ = headers.columns_of(row)
        shown = ", ".join(repr(cell.text[:40]) for cell in row[:20] if cell.text) or "nothing"
        if not known:
            raise UnreadableFileError(
                "NO_HEADER",
                f"no header row was found; it names at least {', '.join(headers.REQUIRED).replace('_', ' ')} "
                f"and owner or champions. Row {index + 1} holds {shown}",
                row=index + 1,
            )
        raise UnreadableFileError(
            "MISSING_COLUMNS",
            f"columns are missing: {', '.join(headers.missing(known))}. The header in row {index + 1} has {shown}",
            row=index + 1,
        )

    # What the file's own habits settle

    def _weigh_evidence(self, body: Sequence[tuple[int, Sequence[Cell]]]) -> None:
        written: dict[str, list[quantities.Numeral]] = {}
        for field in NUMBERS:
            texts = (cell.text for _, cell in self._cells(body, field) if cell.number is None and cell.text)
            written[field] = [numeral for text in texts if (numeral := quantities.numeral(text)) is not None]
        in_file = quantities.decimal_sign(numeral for numerals in written.values() for numeral in numerals)
        self.signs: dict[str, quantities.DecimalSign | None] = {}
        for field, numerals in written.items():
            sign = quantities.decimal_sign(numerals) or in_file or ("," if self.sheet.comma_locale else ".")
            self.signs[field] = None if sign == "mixed" else sign
        self.surname_first = any("," in cell.text for _, cell in self._cells(body, "owner"))
        dates = (days.written_day(cell.text) for _, cell in self._cells(body, "due_on") if cell.day is None)
        self.day_order = days.order(day for day in dates if day is not None)
        self.scale = confidences.FRACTION
        column = self.columns.get("confidence")
        if column is not None:
            bare = (self._bare(cell) for _, cell in self._cells(body, "confidence"))
            told = confidences.told_scale(number for number in bare if number is not None)
            self.scale = confidences.stated_scale(column.header) or told
            if self.scale != confidences.FRACTION:
                of = "10" if self.scale == confidences.TENTHS else "100"
                self.notes.append(f"confidence in column {column.header!r} is read as a number out of {of}")

    def _cells(self, body: Sequence[tuple[int, Sequence[Cell]]], field: str) -> Iterator[tuple[int, Cell]]:
        column = self.columns.get(field)
        if column is not None:
            for number, row in body:
                if column.index < len(row):
                    yield number, row[column.index]

    @staticmethod
    def _bare(cell: Cell) -> Decimal | None:
        if cell.number is not None:
            return None if cell.percent else cell.number
        numeral = quantities.numeral(cell.text)
        if numeral is None or numeral.percent or numeral.tail:
            return None
        return numeral.value("." if numeral.point is not None and "." in cell.text else ",")

    # Row by row

    def _rows(self, body: Sequence[tuple[int, Sequence[Cell]]]) -> Iterator[PlanRow]:
        above: dict[str, str] = {}
        headings: dict[str, int] = {}
        seen: dict[tuple[str, str, str], int] = {}
        for number, row in body:
            cells = {
                field: row[column.index] if column.index < len(row) else EMPTY for field, column in self.columns.items()
            }
            for field, cell in cells.items():
                if cell.trouble:
                    self._fault(number, field, "CELL_WITHOUT_VALUE", cell.trouble)
            texts = {field: self._text(number, field, cell) for field, cell in cells.items() if field not in NUMBERS}
            above = self._carried(texts, above)
            if not any(field in cells and not cells[field].blank for field in OF_A_KEY_RESULT):
                if cells.get("objective", EMPTY).text:
                    headings.setdefault(above["objective"].casefold(), number)
                else:
                    self._fault(number, "key_result", "MISSING", "this row names neither a key result nor an objective")
                continue
            headings.pop(above["objective"].casefold(), None)
            plan_row = self._plan_row(number, cells, texts, above)
            # Departments may have objectives of the same title.
            key = (plan_row.department.casefold(), plan_row.objective.casefold(), plan_row.key_result.casefold())
            if all(key) and key in seen:
                self._fault(
                    number,
                    "key_result",
                    "KEY_RESULT_TWICE",
                    f"{plan_row.key_result!r} stands under this objective already, in row {seen[key]}",
                )
            seen.setdefault(key, number)
            yield plan_row
        for title, number in headings.items():
            if not any(objective == title for _, objective, _ in seen):
                self._fault(number, "objective", "NO_KEY_RESULTS", "this objective has no key results below it")

    @staticmethod
    def _carried(texts: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
        """What holds for this row where blank cells take from the rows above."""
        objective = texts.get("objective", "") or above.get("objective", "")
        carried = {"objective": objective}
        for field in ("department", "owner"):
            carried[field] = texts.get(field, "") or above.get(field, "")
        same = all(
            carried[field].casefold() == above.get(field, "").casefold() for field in ("objective", "department")
        )
        for field in ("parent_objective", "champions"):
            carried[field] = texts.get(field, "") or (above.get(field, "") if same else "")
        return carried

    def _plan_row(
        self, number: int, cells: Mapping[str, Cell], own: Mapping[str, str], held: Mapping[str, str]
    ) -> PlanRow:
        """A row from its `own` texts and those that hold for it from above."""
        champions = people_in(held["champions"], self.surname_first)
        crowded = next((name for name in champions if name.count(",") > 1), None) if self.surname_first else None
        if crowded is not None:
            message = f"{crowded[:60]!r}: owners are written as 'Lima, Ana', so put semicolons between people"
            self._fault(number, "champions", "PEOPLE_RUN_TOGETHER", message)
        owner = held["owner"] or (champions[0] if champions else "")
        own_unit, title = own.get("unit", ""), own.get("key_result", "")
        amounts, shown_unit = self._amounts(number, cells, own_unit)
        for field, text in (
            ("objective", held["objective"]),
            ("department", held["department"]),
            ("key_result", title),
        ):
            if not text:
                above = "" if field == "key_result" else ", and no row above has one"
                self._fault(number, field, "MISSING", f"{field.replace('_', ' ')} is missing{above}")
        if not owner:
            field = "owner" if "owner" in self.columns else "champions"
            self._fault(number, field, "MISSING", f"{field} is missing, and no row above names one")
        for field in ("start", "target"):
            if cells.get(field, EMPTY).blank:
                self._fault(number, field, "MISSING", f"{field} is missing; a key result goes from a start to a target")
        unit = own_unit or shown_unit
        if not unit and title:
            field = "unit" if "unit" in self.columns else "target"
            self._fault(number, field, "MISSING", "unit is missing; say what the numbers count, as in days, € or %")
        self._check_distance(number, amounts)
        if len(champions) != len({name.casefold() for name in champions}):
            self._fault(number, "champions", "CHAMPION_TWICE", f"{held['champions']!r} names someone twice")
        return PlanRow(
            row=number,
            objective=held["objective"],
            department=held["department"],
            owner=owner,
            parent_objective=held["parent_objective"],
            key_result=title,
            champions=champions or [owner],
            start=amounts.get("start", ""),
            commit=amounts.get("commit", ""),
            target=amounts.get("target", ""),
            unit=unit,
            current=amounts.get("current", ""),
            confidence=self._confidence(number, cells.get("confidence", EMPTY)),
            due_on=self._due(number, cells.get("due_on", EMPTY)),
        )

    def _text(self, number: int, field: str, cell: Cell) -> str:
        lines = (" ".join(line.split()) for line in cell.text.splitlines())
        text = ("\n" if field == "champions" else " ").join(line for line in lines if line)
        limit = TITLE_LENGTH if field in TITLES else NAME_LENGTH * (8 if field == "champions" else 1)
        if len(text) > limit:
            self._fault(number, field, "TOO_LONG", f"{len(text):,} characters; at most {limit} fit")
            return text[:limit]
        control = next((char for char in text if (char < " " and char != "\n") or "\x7f" <= char < "\xa0"), None)
        if control is not None:
            self._fault(number, field, "CONTROL_CHARACTER", f"U+{ord(control):04X} is a control character; remove it")
            return "?"
        return text

    # Numbers

    def _amounts(self, number: int, cells: Mapping[str, Cell], unit: str) -> tuple[dict[str, str], str]:
        """The row's numbers as contracts carry them, and the unit they show by themselves."""
        amounts: dict[str, str] = {}
        shown = ""
        for field in NUMBERS:
            cell = cells.get(field, EMPTY)
            if (
                cell.blank
                or cell.trouble
                or (field in ("commit", "current") and cell.text.casefold() in quantities.BLANKS)
            ):
                continue
            value, cell_unit = self._amount(number, field, cell, unit)
            shown = shown or cell_unit
            if value is None:
                continue
            if cell.number is not None and quantities.places(value) > NUMBER_PLACES:
                value = round(value, NUMBER_PLACES)  # a computed 1/3 has more places than anyone meant
            if quantities.digits(value) > NUMBER_DIGITS or quantities.places(value) > NUMBER_PLACES:
                message = f"at most {NUMBER_DIGITS} digits, {NUMBER_PLACES} of them after the decimal sign, are kept"
                self._fault(number, field, "TOO_MANY_DIGITS", message)
                continue
            amounts[field] = quantities.written(value)
        return amounts, shown

    def _amount(self, number: int, field: str, cell: Cell, unit: str) -> tuple[Decimal | None, str]:
        if cell.number is not None:
            return cell.number, "%" if cell.percent else ""
        numeral = quantities.numeral(cell.text)
        if numeral is None:
            self._not_a_number(number, field, cell)
            return None, ""
        if numeral.tail and numeral.tail.casefold() != unit.casefold():
            self._fault(
                number,
                field,
                "NOT_A_NUMBER",
                f"{cell.text[:60]!r}: expected a number alone; put {numeral.tail[:30]!r} into the unit column, or "
                "write the number in full",
            )
            return None, ""
        sign = self.signs[field]
        if sign is None and numeral.ambiguous:
            self._fault(
                number,
                field,
                "AMBIGUOUS_NUMBER",
                f"{cell.text!r} is {numeral.value('.')} or {numeral.value(',')}: the column writes decimals with a "
                "point and with a comma; write it without thousands separator",
            )
            return None, ""
        value = numeral.value(sign or ".")
        if numeral.ambiguous:
            place = address(number, self.columns[field].index)
            self.notes.append(f"{place} {cell.text!r} is read as {quantities.written(value)}")
        return value, "%" if numeral.percent else numeral.currency

    def _not_a_number(self, number: int, field: str, cell: Cell) -> None:
        if cell.text.strip("+-").casefold() in {"nan", "inf", "infinity", "\u221e"}:
            self._fault(number, field, "NOT_FINITE", f"{cell.text!r} cannot be measured; expected a finite number")
        else:
            self._fault(number, field, "NOT_A_NUMBER", f"{cell.text[:60]!r} is not a number, as in 12.5 or 1,200")

    def _check_distance(self, number: int, amounts: Mapping[str, str]) -> None:
        if "start" not in amounts or "target" not in amounts:
            return
        start, target = Decimal(amounts["start"]), Decimal(amounts["target"])
        if start == target:
            self._fault(
                number,
                "target",
                "START_EQUALS_TARGET",
                f"start and target are both {amounts['start']}: no distance to cover",
            )
        elif "commit" in amounts:
            commit = Decimal(amounts["commit"])
            if not (start < commit <= target or start > commit >= target):
                self._fault(
                    number,
                    "commit",
                    "COMMIT_OUT_OF_ORDER",
                    f"commit {amounts['commit']} must lie beyond start {amounts['start']} and not beyond target "
                    f"{amounts['target']}",
                )

    # Confidence and due date

    def _confidence(self, number: int, cell: Cell) -> str:
        if cell.blank or cell.trouble or cell.text.casefold() in quantities.BLANKS:
            return ""
        value = confidences.of_ten(cell.text)
        bare: Decimal | None = None
        if value is None:
            numeral = quantities.numeral(cell.text)
            if cell.percent and cell.number is not None:
                value = cell.number / 100
            elif cell.number is not None:
                bare = cell.number
            elif numeral is not None and numeral.percent and not numeral.ambiguous:
                value = numeral.value(".") / 100
            else:
                bare = self._bare(cell)
        if bare is not None:
            value = confidences.scaled(bare, self.scale)
        if value is None or not 0 <= value <= 1 or quantities.places(value) > NUMBER_PLACES:
            self._fault(
                number,
                "confidence",
                "CONFIDENCE_OUT_OF_RANGE",
                f"{cell.text[:40]!r}: expected 0.0 to 1.0, 0 % to 100 %, or 0 to 10 in whole and half steps "
                "throughout the column",
            )
            return ""
        return quantities.written(value)

    def _due(self, number: int, cell: Cell) -> str:
        if cell.blank or cell.trouble or cell.text.casefold() in quantities.BLANKS:
            return ""
        day = cell.day
        if day is None:
            written = None if cell.number is not None else days.written_day(cell.text)
            if written is None:
                self._fault(
                    number, "due_on", "NOT_A_DATE", f"{cell.text[:40]!r} is not a date, as in 2026-03-31 or 31.03.2026"
                )
                return ""
            if written.ambiguous and self.day_order is None:
                self._fault(
                    number,
                    "due_on",
                    "AMBIGUOUS_DATE",
                    f"{cell.text!r} is {written.day_first} or {written.month_first}, and no other date in the column "
                    "settles it; write it as 2026-03-31",
                )
                return ""
            first, second = written.day_first, written.month_first
            day = (second or first) if self.day_order == "month first" else (first or second)
        assert day is not None, "a written day has at least one reading"
        if self.cycle is not None and not self.cycle[0] <= day <= self.cycle[1]:
            self._fault(
                number,
                "due_on",
                "DUE_OUTSIDE_CYCLE",
                f"{day} lies outside the cycle, {self.cycle[0]} to {self.cycle[1]}; name another with --from and --to",
            )
        return day.isoformat()

    # Faults

    def _fault(self, row: int, field: str, reason: str, message: str) -> None:
        column = self.columns.get(field)
        cell, header = (address(row, column.index), column.header) if column is not None and row else ("", "")
        fault = Fault(reason=reason, message=message, row=row, cell=cell, header=header, field=field)
        self.faults.append(fault)
        self.faulty_rows.add(row)
