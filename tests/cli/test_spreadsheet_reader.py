"""The spreadsheet reader: what organisations really write, and every fault at once."""

import io
import zipfile
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from okr_cli.spreadsheet import confidences, days, quantities
from okr_cli.spreadsheet.model import Plan, letters
from okr_cli.spreadsheet.people import people_in
from okr_cli.spreadsheet.reader import read_plan

HEADER = "Objective,Department,Owner,Key result,Start,Commit,Target,Unit,Current,Confidence,Due"


def plan(*lines: str, header: str = HEADER) -> Plan:
    return read_plan("\n".join((header, *lines)).encode())


def reasons(read: Plan) -> list[str]:
    return [fault.reason for fault in read.faults]


def workbook(*rows: list[object]) -> Workbook:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    return book


def saved(book: Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


XLSX_HEADER: list[object] = ["Objective", "Department", "Owner", "Key result", "Start", "Target", "Unit", "Due"]


# Headers


@pytest.mark.parametrize(
    ("field", "spelling"),
    [
        ("key_result", "KR"),
        ("key_result", "Key Result"),
        ("key_result", "Key-Result Title"),
        ("key_result", "key_results"),
        ("objective", "OBJECTIVE"),
        ("department", "Dept."),
        ("department", "Team"),
        ("owner", "Objective owner"),
        ("champions", "KR Owner(s)"),
        ("start", "Baseline"),
        ("start", "Start value"),
        ("target", "Goal"),
        ("target", "Target (stretch)"),
        ("commit", "Committed"),
        ("current", "Actual"),
        ("confidence", "Confidence (0-10)"),
        ("confidence", "Confidence %"),
        ("due_on", "Deadline"),
        ("due_on", "Due date"),
        ("parent_objective", "Contributes to"),
        ("unit", "Unit of measure"),
    ],
)
def test_headers_are_known_by_their_common_spellings(field: str, spelling: str) -> None:
    usual = {
        "objective": "Objective",
        "department": "Department",
        "owner": "Owner",
        "key_result": "Key result",
        "start": "Start",
        "target": "Target",
    }
    usual[field] = spelling
    read = read_plan(",".join(usual.values()).encode() + b"\nA,B,C,D,1,2\n")
    assert field in read.columns
    assert read.columns[field].header == spelling


def test_columns_may_stand_in_any_order_and_unknown_ones_are_reported_as_ignored() -> None:
    read = read_plan(
        b"Target;Mood;KR;Start;Unit;Dept;Owner;Objective\n9;:-);Lead time;12;days;Platform;Ana;Ship calmly\n"
    )
    assert read.faults == ()
    assert read.ignored_columns == ("B 'Mood'",)
    assert (read.rows[0].start, read.rows[0].target, read.rows[0].department) == ("12", "9", "Platform")


def test_titles_above_the_header_are_passed_over_and_rows_count_as_the_user_sees_them() -> None:
    read = read_plan(f"OKRs 2026,,,\n\n{HEADER}\nO,D,Ana,KR,1,,1,pts,,,\n".encode())
    assert [(fault.row, fault.cell, fault.header) for fault in read.faults] == [(4, "G4", "Target")]


def test_a_goal_is_an_objective_where_a_target_stands_beside_it() -> None:
    read = read_plan(b"Goal,Dept,Owner,KR,Start,Target\nO,D,Ana,K,1%,2%\n")
    assert (read.rows[0].objective, read.rows[0].target) == ("O", "2")


def test_a_goal_is_an_objective_where_nothing_else_is_and_from_and_to_give_the_numbers() -> None:
    read = read_plan(b"Goal,Team,Lead,Measure,From,To,Unit\nO,D,Ana,K,1,2,pts\n")
    assert read.faults == ()
    assert (read.rows[0].objective, read.rows[0].start, read.rows[0].target) == ("O", "1", "2")


def test_missing_columns_are_named_together() -> None:
    (fault,) = read_plan(b"Objective,KR,Start\nO,K,1\n").faults
    assert fault.reason == "MISSING_COLUMNS"
    assert "department, target, owner or champions" in fault.message


def test_a_column_that_stands_twice_is_a_fault() -> None:
    assert "COLUMN_TWICE" in reasons(plan("O,D,Ana,K,1,,2,pts,,,,7", header=HEADER + ",Actual"))


# Cells that mean "as above"


def test_blank_cells_mean_as_above() -> None:
    read = plan(
        "Calm releases,Platform,Ana,KR 1,1,,2,%,,,",
        ",,,KR 2,1,,2,€,,,",
        "Happy users,,,KR 3,1,,2,days,,,",
    )
    assert [(row.objective, row.department, row.owner, row.unit) for row in read.rows] == [
        ("Calm releases", "Platform", "Ana", "%"),
        ("Calm releases", "Platform", "Ana", "€"),
        ("Happy users", "Platform", "Ana", "days"),
    ]


def test_parent_and_champions_are_carried_within_one_objective_only() -> None:
    header = "Objective,Dept,Owner,Parent,KR,Champions,Start,Target"
    read = plan("A,D,Ana,Top,K1,Ben; Cy,1%,2%", ",,,,K2,,1%,2%", "B,,,,K3,,1%,2%", header=header)
    assert [(row.parent_objective, list(row.champions)) for row in read.rows] == [
        ("Top", ["Ben", "Cy"]),
        ("Top", ["Ben", "Cy"]),
        ("", ["Ana"]),
    ]


def test_a_heading_row_names_the_objective_of_the_rows_below_it() -> None:
    read = plan("Calm releases,Platform,Ana,,,,,,,,", ",,,KR 1,1,,2,pts,,,")
    assert read.faults == ()
    assert [(row.row, row.objective) for row in read.rows] == [(3, "Calm releases")]


def test_an_objective_without_key_results_is_a_fault() -> None:
    assert reasons(plan("Lonely,Platform,Ana,,,,,,,,", "Other,,,K,1,,2,pts,,,")) == ["NO_KEY_RESULTS"]


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        ("12.5", "12.5"),
        ("12,5", "12.5"),
        ("0,125", "0.125"),
        ("1,234.5", "1234.5"),
        ("1.234,5", "1234.5"),
        ("1 234,5", "1234.5"),
        ("1\u00a0234", "1234"),
        ("1'234'567.25", "1234567.25"),
        ("1\u2019234", "1234"),
        ("1,234,567", "1234567"),
        ("1.234.567", "1234567"),
        ("-3", "-3"),
        ("\u22123,5", "-3.5"),
        ("(40)", "-40"),
        ("€ 1.200,50", "1200.5"),
        ("1200 CHF", "1200"),
        ("45 %", "45"),
        (".5", "0.5"),
        ("+7", "7"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: str) -> None:
    numeral = quantities.numeral(text)
    assert numeral is not None
    assert not numeral.ambiguous
    assert quantities.written(numeral.value(".")) == value


@pytest.mark.parametrize(
    "text", ["", "many", "1,23,4", "1.2.3", "12,34,567.8", "--3", "1 23", "\u00b2", "\u0663", "1e"]
)
def test_what_is_no_number_is_not_guessed(text: str) -> None:
    numeral = quantities.numeral(text)
    assert numeral is None or numeral.tail


@pytest.mark.parametrize(
    ("evidence", "value"),
    [("2,5", "1.234"), ("2.5", "1234"), ("1.000,5", "1.234"), ("10", "1234")],
)
def test_an_ambiguous_number_is_settled_by_the_others_of_its_column(evidence: str, value: str) -> None:
    read = plan('O,D,Ana,K1,0,,"1,234",pts,,,', f',,,K2,0,,"{evidence}",pts,,,')
    assert read.rows[0].target == value
    assert any("G2" in note and value in note for note in read.notes)


def test_an_ambiguous_number_is_settled_by_the_file_when_its_column_says_nothing() -> None:
    assert plan('O,D,Ana,K1,"0,5",,"1,234",pts,,,').rows[0].target == "1.234"


def test_a_file_cut_by_semicolons_writes_decimal_commas_unless_it_proves_otherwise() -> None:
    header = HEADER.replace(",", ";")
    assert plan("O;D;Ana;K;0;;1,234;pts;;;", header=header).rows[0].target == "1.234"
    assert plan("O;D;Ana;K;0.5;;1,234;pts;;;", header=header).rows[0].target == "1234"


def test_contradicting_evidence_makes_an_ambiguous_number_a_fault() -> None:
    read = plan('O,D,Ana,K1,0,,"1,234",pts,,,', ',,,K2,0,,"1,5",pts,,,', ",,,K3,0,,1.5,pts,,,")
    assert [(fault.cell, fault.reason) for fault in read.faults] == [("G2", "AMBIGUOUS_NUMBER")]


def test_percentages_and_currencies_give_the_unit_when_it_is_blank() -> None:
    read = plan("O,D,Ana,K1,10%,,45 %,,,,", ",,,K2,€ 5,,€ 9,,,,", ",,,K3,10%,,45%,% of contract,,,")
    assert [(row.target, row.unit) for row in read.rows] == [("45", "%"), ("9", "€"), ("45", "% of contract")]


@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "-Infinity", "\u221e"])
def test_what_is_not_finite_is_refused(text: str) -> None:
    assert reasons(plan(f"O,D,Ana,K,{text},,2,pts,,,")) == ["NOT_FINITE"]


def test_a_unit_behind_the_number_is_fine_when_the_unit_column_says_the_same() -> None:
    assert plan("O,D,Ana,K,9 weeks,,6 Weeks,weeks,,,").faults == ()
    assert reasons(plan("O,D,Ana,K,9 weeks,,6,days,,,")) == ["NOT_A_NUMBER"]


def test_a_key_result_without_a_unit_is_a_fault() -> None:
    (fault,) = plan("O,D,Ana,K,1,,2,,,,").faults
    assert (fault.cell, fault.reason, fault.field) == ("H2", "MISSING", "unit")


def test_a_row_that_names_nothing_is_a_fault_and_one_of_foreign_notes_is_not() -> None:
    header = HEADER + ",Notes"
    read = plan("O,D,Ana,K,1,,2,days,,,,", ",,Ben,,,,,,,,,", ",,,,,,,,,,,see above", header=header)
    assert [(fault.row, fault.field) for fault in read.faults] == [(3, "key_result")]


def test_more_digits_than_a_decimal_holds_are_refused() -> None:
    assert reasons(plan(f"O,D,Ana,K,0,,{'9' * 21},pts,,,")) == ["TOO_MANY_DIGITS"]


# Rules a row can break by itself


def test_start_equal_to_target_and_commit_beyond_target_are_faults() -> None:
    read = plan("O,D,Ana,K1,5,,5.0,pts,,,", ",,,K2,5,12,10,pts,,,", ",,,K3,10,4,5,pts,,,", ",,,K4,10,7,5,pts,,,")
    assert [(fault.cell, fault.reason) for fault in read.faults] == [
        ("G2", "START_EQUALS_TARGET"),
        ("F3", "COMMIT_OUT_OF_ORDER"),
        ("F4", "COMMIT_OUT_OF_ORDER"),
    ]


def test_a_key_result_that_stands_twice_is_a_fault() -> None:
    assert reasons(plan("O,D,Ana,K,1,,2,pts,,,", ",,,k,1,,3,pts,,,")) == ["KEY_RESULT_TWICE"]


def test_departments_may_have_objectives_and_key_results_of_the_same_title() -> None:
    read = plan("Safe sites,North,Ana,Walks,1,,2,days,,,", "Safe sites,South,Ben,Walks,1,,3,days,,,")
    assert read.faults == ()
    assert [(row.department, list(row.champions)) for row in read.rows] == [("North", ["Ana"]), ("South", ["Ben"])]


def test_two_hundred_faults_are_all_told() -> None:
    read = plan(*(f"O{n},D,Ana,K,many,,few,pts,,," for n in range(100)))
    assert len(read.faults) == 200
    assert read.rows == ()


def test_text_without_end_and_control_characters_are_faults() -> None:
    assert reasons(plan(f"{'x' * 5000},D,Ana,K,1,,2,pts,,,")) == ["TOO_LONG"]
    assert reasons(plan("O\x07,D,Ana,K,1,,2,pts,,,")) == ["CONTROL_CHARACTER"]


# Confidence and dates


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (["0.7", "1"], ["0.7", "1"]),
        (["0,7"], ["0.7"]),
        (["70%", "100 %"], ["0.7", "1"]),
        (["7", "10", "1"], ["0.7", "1", "0.1"]),
        (["70", "5"], ["0.7", "0.05"]),
        (["7/10", "3 of 10"], ["0.7", "0.3"]),
        (["-", "n/a"], ["", ""]),
    ],
)
def test_confidence_is_read_by_the_scale_of_its_column(written: list[str], read_as: list[str]) -> None:
    read = plan(*(f'O,D,Ana,K{n},1,,2,pts,,"{text}",' for n, text in enumerate(written)))
    assert read.faults == ()
    assert [row.confidence for row in read.rows] == read_as


@pytest.mark.parametrize("text", ["1.2", "-0.1", "120%", "101", "high", "NaN"])
def test_a_confidence_outside_of_its_scale_is_a_fault(text: str) -> None:
    assert reasons(plan(f"O,D,Ana,K,1,,2,pts,,{text},")) == ["CONFIDENCE_OUT_OF_RANGE"]


def test_a_header_may_name_the_scale_of_confidence() -> None:
    read = plan("O,D,Ana,K,1,,2,pts,,1,", header=HEADER.replace("Confidence", "Confidence (0-10)"))
    assert read.rows[0].confidence == "0.1"
    assert confidences.stated_scale("Confidence %") == Decimal(100)


@pytest.mark.parametrize(
    "text", ["2026-03-31", "31.03.2026", "31.3.26", "31/03/2026", "03/31/2026", "31 Mar 2026", "March 31, 2026"]
)
def test_dates_are_read_as_people_write_them(text: str) -> None:
    assert plan(f'O,D,Ana,K,1,,2,pts,,,"{text}"').rows[0].due_on == "2026-03-31"


def test_day_and_month_are_told_apart_by_the_rest_of_the_column() -> None:
    assert [row.due_on for row in plan("O,D,Ana,K1,1,,2,pts,,,03/04/2026", ",,,K2,1,,2,pts,,,30/04/2026").rows] == [
        "2026-04-03",
        "2026-04-30",
    ]
    assert plan("O,D,Ana,K1,1,,2,pts,,,03/04/2026", ",,,K2,1,,2,pts,,,04/30/2026").rows[0].due_on == "2026-03-04"


def test_a_date_that_nothing_settles_is_a_fault() -> None:
    (fault,) = plan("O,D,Ana,K,1,,2,pts,,,03/04/2026").faults
    assert (fault.cell, fault.header, fault.reason) == ("K2", "Due", "AMBIGUOUS_DATE")
    assert "2026-04-03 or 2026-03-04" in fault.message


@pytest.mark.parametrize("text", ["2026-02-30", "46112", "soon", "13/13/2026"])
def test_what_is_no_date_is_a_fault(text: str) -> None:
    assert days.written_day(text) is None
    assert reasons(plan(f"O,D,Ana,K,1,,2,pts,,,{text}")) == ["NOT_A_DATE"]


def test_a_due_date_outside_of_the_cycle_is_a_fault_when_the_cycle_is_known() -> None:
    body = f"{HEADER}\nO,D,Ana,K,1,,2,pts,,,2026-07-01".encode()
    assert reasons(read_plan(body, cycle=(date(2026, 4, 1), date(2026, 6, 30)))) == ["DUE_OUTSIDE_CYCLE"]


def test_champions_are_parted_by_what_people_use() -> None:
    assert (
        people_in("Ana; Ben")
        == people_in("Ana, Ben")
        == people_in("Ana / Ben")
        == people_in("Ana and Ben")
        == ["Ana", "Ben"]
    )
    assert people_in("Lima, Ana; Okafor, Ben") == ["Lima, Ana", "Okafor, Ben"]
    assert people_in("Amanda Sand & Andy") == ["Amanda Sand", "Andy"]


def test_where_owners_are_written_surname_first_a_comma_parts_no_champions() -> None:
    header = "Objective,Department,Owner,Key result,Champions,Start,Target,Unit"
    read = plan('O,D,"Lima, Ana",K1,"Lima, Ana",1,2,pts', ',,,K2,"Lima, Ana & Okafor, Ben",1,2,pts', header=header)
    assert read.faults == ()
    assert [list(row.champions) for row in read.rows] == [["Lima, Ana"], ["Lima, Ana", "Okafor, Ben"]]

    (fault,) = plan('O,D,"Lima, Ana",K1,"Lima, Ana, Okafor, Ben",1,2,pts', header=header).faults
    assert (fault.reason, fault.cell) == ("PEOPLE_RUN_TOGETHER", "E2")


# Files that are not what they should be


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \r\n\r\n", b"\xff\xfe"])
def test_an_empty_file_is_one_fault(data: bytes) -> None:
    assert reasons(read_plan(data)) == ["EMPTY_FILE"]


def test_a_header_alone_is_one_fault() -> None:
    assert reasons(read_plan(HEADER.encode())) == ["NO_ROWS"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_files_are_read_with_and_without_mark(encoding: str) -> None:
    assert read_plan(f"{HEADER}\nÜber alles,D,Zoë,K,1,,2,€,,,".encode(encoding)).rows[0].owner == "Zoë"


def test_a_wrong_encoding_is_one_clear_fault_rather_than_mojibake() -> None:
    (fault,) = read_plan(f"{HEADER}\nÜber alles,D,Zoë,K,1,,2,€,,,".encode("cp1252")).faults
    assert fault.reason == "WRONG_ENCODING"
    assert f"byte {len(HEADER) + 2} (0xDC, line 2) is not UTF-8" in fault.message
    assert "--encoding cp1252" in fault.message


def test_an_encoding_told_by_name_is_used() -> None:
    read = read_plan(f"{HEADER}\nÜber alles,D,Zoë,K,1,,2,€,,,".encode("cp1252"), encoding="cp1252")
    assert (read.rows[0].objective, read.rows[0].unit) == ("Über alles", "€")


def test_utf_16_without_mark_is_told_as_such() -> None:
    (fault,) = read_plan(HEADER.encode("utf-16-le")).faults
    assert fault.reason == "WRONG_ENCODING"


def test_a_quotation_mark_that_never_closes_is_one_fault() -> None:
    assert reasons(plan('O,D,"Ana,K,1,,2,,,,')) == ["BROKEN_CSV"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(delimiter: str) -> None:
    text = f"{HEADER}\nO,D,Ana,K,1,,2,pts,,,".replace(",", delimiter)
    assert read_plan(text.encode()).rows[0].key_result == "K"


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: HEADER.encode() + b"\n" + tail))
@example(b"PK\x03\x04")
@example(b"PK\x03\x04" + b"\0" * 60)
@example(b"\xd0\xcf\x11\xe0")
@example(b"\xff\xfe\x00\xd8")
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    read = read_plan(data)
    assert read.faults or read.rows


@given(st.lists(st.lists(st.text(max_size=12), min_size=11, max_size=11), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_cells_make_the_reader_raise(rows: list[list[str]]) -> None:
    quoted = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    read = read_plan(f"{HEADER}\n{quoted}".encode("utf-8", "replace"))
    assert read.faults or read.rows


# Workbooks


def test_workbooks_give_their_native_numbers_dates_and_percentages() -> None:
    book = workbook(XLSX_HEADER, ["O", "D", "Ana", "K", 0.1, 0.3, None, datetime(2026, 3, 31)])  # noqa: DTZ001 cells have no zone
    sheet = book.active
    assert sheet is not None
    sheet["E2"].number_format = sheet["F2"].number_format = "0.0%"
    (row,) = read_plan(saved(book)).rows
    assert (row.start, row.target, row.unit, row.due_on) == ("10", "30", "%", "2026-03-31")


def test_the_first_sheet_with_the_headers_is_taken() -> None:
    book = workbook(["Notes"], ["nothing here"])
    second = book.create_sheet("OKRs")
    second.append(XLSX_HEADER)
    second.append(["O", "D", "Ana", "K", 1, 2, "days"])
    read = read_plan(saved(book))
    assert (read.sheet, len(read.rows)) == ("OKRs", 1)


def test_merged_cells_hold_for_every_row_they_cover() -> None:
    book = workbook(XLSX_HEADER, ["O", "D", "Ana", "K1", 1, 2, "days"], [None, None, None, "K2", 3, 4])
    sheet = book.active
    assert sheet is not None
    for column in "ABCG":
        sheet.merge_cells(f"{column}2:{column}3")
    assert [(row.objective, row.unit) for row in read_plan(saved(book)).rows] == [("O", "days"), ("O", "days")]


def test_a_formula_that_was_never_calculated_is_a_fault() -> None:
    (fault,) = read_plan(saved(workbook(XLSX_HEADER, ["O", "D", "Ana", "K", 1, "=E2*2"]))).faults[:1]
    assert (fault.cell, fault.reason) == ("F2", "CELL_WITHOUT_VALUE")


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"0" * (70 * 1024 * 1024))
    assert reasons(read_plan(file.getvalue())) == ["WORKBOOK_TOO_LARGE"]


def test_a_sheet_that_claims_a_million_rows_is_read_in_bounded_time() -> None:
    book = workbook(XLSX_HEADER, ["O", "D", "Ana", "K", 1, 2, "days"])
    sheet = book.active
    assert sheet is not None
    sheet["XFD1048576"] = "far away"
    assert [row.key_result for row in read_plan(saved(book)).rows] == ["K"]


def test_a_damaged_workbook_and_other_zip_files_are_told_apart() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert reasons(read_plan(file.getvalue())) == ["NOT_A_SPREADSHEET"]
    assert reasons(read_plan(saved(workbook(XLSX_HEADER))[:500])) == ["BROKEN_WORKBOOK"]


def test_columns_are_lettered_as_spreadsheets_do() -> None:
    assert [letters(index) for index in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
