"""What the command prints: numbers, moments and tables, whatever the terminal."""

import io
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from okr.insights.v1.insights_pb2 import BoardKeyResult, BoardObjective, GetBoardResponse, HistoryEntry, Pace
from okr_cli import entries, lookups, moments, views, words
from okr_cli.failures import RefusedError, SetupError
from okr_cli.identity import organization_id, slug
from okr_cli.output import Output
from okr_cli.tables import Cell, Column, Row, clean, laid_out

NOW = datetime(2026, 6, 15, 15, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2100000", "2 100 000"),
        ("1250.50", "1250.5"),
        ("12500.25", "12 500.25"),
        ("-1234", "-1234"),
        ("-12345.60", "-12 345.6"),
        ("0.00", "0"),
        ("100", "100"),
    ],
)
def test_numbers_are_shown_with_their_thousands_apart_and_without_idle_zeros(text: str, shown: str) -> None:
    assert words.number(text) == shown


@pytest.mark.parametrize(
    ("ratio", "shown"), [("0.6175", "62 %"), ("0.9999", "99 %"), ("1", "100 %"), ("0", "0 %"), ("", "")]
)
def test_a_hundred_percent_is_shown_only_when_it_is_reached(ratio: str, shown: str) -> None:
    assert words.percent(ratio) == shown


def test_pace_says_ahead_or_behind_with_days_and_never_failed() -> None:
    assert words.pace(Pace.PACE_AHEAD, "8.5").text == "ahead +9 d"
    assert words.pace(Pace.PACE_FAR_BEHIND, "-7.2").text == "far behind -7 d"
    assert words.pace(Pace.PACE_ON_PACE, "1.0").text == "on pace"
    assert set(words.PACES) == set(Pace.values())


def test_confidence_is_shown_from_0_to_10() -> None:
    assert [words.confidence(text) for text in ("0.7", "0.55", "1", "")] == ["7", "5.5", "10", ""]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("now", NOW),
        ("4 weeks ago", NOW - timedelta(weeks=4)),
        ("a day ago", NOW - timedelta(days=1)),
        ("2 hours ago", NOW - timedelta(hours=2)),
        ("1 month ago", NOW.replace(month=5)),
        ("2026-06-15", NOW),
        ("2026-05-31T14:00", NOW.replace(month=5, day=31, hour=14, minute=0)),
        ("2026-05-31T14:00:00Z", datetime(2026, 5, 31, 14, tzinfo=UTC)),
    ],
)
def test_moments_are_understood_as_people_say_them(said: str, meant: datetime) -> None:
    assert moments.moment(said, NOW) == meant


def test_a_day_looked_back_at_means_its_end_and_a_day_something_happened_on_its_noon() -> None:
    assert moments.moment("2026-05-31", NOW).isoformat() == "2026-05-31T23:59:59.999999+02:00"
    assert moments.moment("yesterday", NOW, moments.noon_of).isoformat() == "2026-06-14T12:00:00+02:00"


@pytest.mark.parametrize("said", ["", "soon", "2026-02-30", "99999 weeks ago", "9999 years ago", "31.03.2026"])
def test_what_is_no_moment_is_refused_with_examples(said: str) -> None:
    with pytest.raises(SetupError, match="as in 2026-03-31"):
        moments.moment(said, NOW)


@pytest.mark.parametrize(
    ("typed", "value"), [("12.5", "12.5"), ("12,5", "12.5"), ("45%", "45"), ("-3", "-3"), ("€ 1.200,50", "1200.5")]
)
def test_values_are_typed_as_people_write_them(typed: str, value: str) -> None:
    assert entries.value(typed) == value


@pytest.mark.parametrize("typed", ["NaN", "inf", "1,234", "many", "3 weeks"])
def test_values_that_would_need_a_guess_are_refused(typed: str) -> None:
    with pytest.raises(SetupError):
        entries.value(typed)


@pytest.mark.parametrize(
    ("typed", "value"), [("0.7", "0.7"), ("70%", "0.7"), ("7/10", "0.7"), ("7", "0.7"), ("1", "1")]
)
def test_confidence_is_typed_in_any_of_its_scales(typed: str, value: str) -> None:
    assert entries.confidence(typed) == value


@pytest.mark.parametrize("typed", ["1.2", "-0.1", "120%", "11", "high"])
def test_a_confidence_outside_of_every_scale_is_refused(typed: str) -> None:
    with pytest.raises(SetupError):
        entries.confidence(typed)


def test_names_of_organisations_become_ids_that_never_change() -> None:
    assert slug("Crust & Crumb Bakery") == "crust-and-crumb-bakery"
    assert slug("Ünïon  Straße!") == "union-strasse"
    assert organization_id("Brightwater Software") == organization_id("brightwater-software")
    assert str(organization_id("brightwater-software")) == "2e691547-6ac9-5f17-a593-73936ea7f453"
    assert str(organization_id("2E691547-6ac9-5f17-a593-73936ea7f453")) == "2e691547-6ac9-5f17-a593-73936ea7f453"


KNOWN = [
    ("aaaa1111-0000-4000-8000-000000000001", "Change failure rate"),
    ("aaaa2222-0000-4000-8000-000000000002", "Lead time"),
    ("bbbb1111-0000-4000-8000-000000000003", "Café visits"),
    ("cccc1111-0000-4000-8000-000000000004", "Lead time to invoice"),
]


@pytest.mark.parametrize(
    ("said", "index"), [("aaaa1", 0), ("failure", 0), ("rate change", 0), ("cafe", 2), ("lead time", 1), ("INVOICE", 3)]
)
def test_a_key_result_is_meant_by_the_beginning_of_its_id_or_words_of_its_title(said: str, index: int) -> None:
    assert lookups.chosen(KNOWN, said, "key result") == KNOWN[index][0]


def test_what_fits_several_key_results_lists_them_and_what_fits_none_says_so() -> None:
    with pytest.raises(RefusedError) as several:
        lookups.chosen(KNOWN, "lead", "key result")
    assert several.value.reason == "AMBIGUOUS"
    assert [line.split("  ")[1] for line in several.value.details] == ["Lead time", "Lead time to invoice"]
    with pytest.raises(RefusedError) as none:
        lookups.chosen(KNOWN, "velocity", "key result")
    assert none.value.reason == "KEY_RESULT_NOT_FOUND"


def test_ids_are_shortened_as_far_as_they_stay_apart() -> None:
    twins = ["aaaaaaaa-1000", "aaaaaaaa-2000"]
    assert lookups.short_ids(twins) == {"aaaaaaaa-1000": "aaaaaaaa-1", "aaaaaaaa-2000": "aaaaaaaa-2"}


COLUMNS = (
    Column("title", flexible=True, least=10),
    Column("owner", drop=1),
    Column("value", align="right"),
    Column("id"),
)
ROWS = [
    Row(["A key result with a long title", "Ana Ribeiro", "1 250 000 €", "e0f81d9e"]),
    Row(["B", "Ben", "7", "a58cbf79"]),
]


def test_numbers_stand_right_aligned_below_each_other() -> None:
    lines = [line.plain for line in laid_out(COLUMNS, ROWS, 120)]
    assert len({line.index("e0f81d9e") for line in lines[1:2]} | {line.index("a58cbf79") for line in lines[2:3]}) == 1
    assert lines[1].index("€") == lines[2].rindex("7  ")


@pytest.mark.parametrize("width", range(20, 120, 7))
def test_no_width_breaks_an_id_or_a_number(width: int) -> None:
    text = "\n".join(line.plain for line in laid_out(COLUMNS, ROWS, width))
    assert "e0f81d9e" in text
    assert "1 250 000 €" in text


def test_narrow_terminals_lose_the_least_important_column_first() -> None:
    assert "Ana Ribeiro" in "\n".join(line.plain for line in laid_out(COLUMNS, ROWS, 80))
    narrow = [line.plain for line in laid_out(COLUMNS, ROWS, 40)]
    assert "Ana Ribeiro" not in "\n".join(narrow)
    assert all(len(line) <= 40 for line in narrow)


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert clean("\x1b[2Jgone\x07") == "\ufffd[2Jgone\ufffd"
    assert [line.plain for line in laid_out((Column("t"),), [Row(["a\x1b[31m\nb"])], 80)] == ["t", "a\ufffd[31m b"]


def test_branches_of_a_tree_go_on_over_wrapped_lines() -> None:
    rows = [Row(["├─ a rather long title indeed"]), Row(["└─ another rather long one"])]
    lines = [line.plain for line in laid_out((Column("t", flexible=True, least=10),), rows, 16)]
    assert [line[:3] for line in lines[1:]] == ["├─ ", "│  ", "└─ ", "   ", "   "]


def output(as_json: bool = False) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(as_json, stdout=out, stderr=err), out, err


def test_what_is_no_terminal_gets_no_colours() -> None:
    printed, out, _ = output()
    printed.say("fine", style="bold green")
    printed.table((Column("t"),), [Row([Cell("x", "red")])])
    assert "\x1b" not in out.getvalue()


def test_a_failure_is_one_line_and_its_details_on_stderr() -> None:
    printed, out, err = output()
    printed.fail(RefusedError("two things must be put right", details=["value: is no number", "note: too long"]))
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "okr: two things must be put right",
        "  value: is no number",
        "  note: too long",
    ]


def test_a_failure_with_json_is_a_document_on_stderr_and_the_answer_on_stdout() -> None:
    printed, out, err = output(as_json=True)
    printed.fail(RefusedError("no", reason="PLAN_REFUSED", document={"applied": False}))
    assert json.loads(out.getvalue()) == {"applied": False}
    assert json.loads(err.getvalue()) == {
        "error": {"reason": "PLAN_REFUSED", "message": "no", "details": []},
        "exit_code": 1,
    }


def test_progress_without_a_terminal_is_a_plain_line_now_and_then() -> None:
    printed, _, err = output()
    with printed.progress("folding") as meter:
        for done in range(1, 101):
            meter.update(done, 100)
    assert len(err.getvalue().splitlines()) == 10


BOARD = GetBoardResponse(
    organization_name="Brightwater",
    cycle_id="c1",
    cycle_name="Q1",
    cycle_starts_on="2026-01-01",
    cycle_ends_on="2026-03-31",
    as_of="2026-02-15T12:00:00Z",
    objectives=[
        BoardObjective(
            objective_id="o1",
            title="Calm releases",
            unit_id="u1",
            unit_name="Platform",
            owner_id="p1",
            state="active",
            progress="0.5",
            pace=Pace.PACE_ON_PACE,
            key_results=[
                BoardKeyResult(
                    key_result_id="k1",
                    title="Change failure rate",
                    unit="%",
                    start="18",
                    commit="12",
                    target="8",
                    value="13",
                    confidence="0.6",
                    progress="0.5",
                    pace=Pace.PACE_ON_PACE,
                    pace_days="0.2",
                    checked_in_at="2026-02-12T12:00:00Z",
                    accountable_id="p2",
                    open=True,
                )
            ],
        )
    ],
)


def test_the_board_document_has_a_stable_shape() -> None:
    document = views.board_document(BOARD, {"p1": "Ana"})
    assert list(document) == ["organization", "cycle", "as_of", "objectives"]
    (objective,) = document["objectives"]
    assert objective["owner"] == {"id": "p1", "name": "Ana"}
    (key_result,) = objective["key_results"]
    assert key_result["value"] == "13"
    assert key_result["pace"] == "on pace"
    assert key_result["accountable"] == {"id": "p2", "name": None}
    assert list(key_result) == [
        "id", "title", "unit", "start", "commit", "target", "value", "confidence", "progress", "expected", "pace",
        "pace_days", "checked_in_at", "accountable", "open", "starts_on", "due_on", "type", "stretch", "range",
        "guard_rail", "weight",
    ]  # fmt: skip


def test_the_board_shows_objectives_with_their_key_results_and_the_age_of_values() -> None:
    now = datetime(2026, 2, 15, 12, tzinfo=UTC)
    rows = views.board_rows(BOARD, {"p1": "Ana", "p2": "Dev"}, now)
    lines = [line.plain for line in laid_out(views.BOARD_COLUMNS, rows, 160)]
    assert lines[1].startswith("Calm releases (Platform, Ana)")
    assert "13 %" in lines[2]
    assert "3 d" in lines[2]
    assert "Dev" in lines[2]


def test_the_tree_shows_each_objective_below_the_one_it_contributes_to() -> None:
    def objective(identifier: str, title: str) -> BoardObjective:
        return BoardObjective(objective_id=identifier, title=title)

    objectives = [objective("c", "Below"), objective("a", "Top"), objective("d", "Deep"), objective("b", "Side")]
    parents = {"c": "a", "d": "c", "b": "a"}
    titles = [Cell(*row.cells[0]).text for row in views.tree_rows(objectives, parents, {})]
    assert titles == ["Top", "├─ Below", "│  └─ Deep", "└─ Side"]
    (top,) = views.tree_document(objectives, parents, {})
    assert [each["title"] for each in top["contributed_by"]] == ["Below", "Side"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (HistoryEntry(kind="CheckInRecorded"), "check-in"),
        (HistoryEntry(kind="CheckInCorrected", previous_value="1710000"), "corrected, was 1 710 000 €"),
        (
            HistoryEntry(
                kind="TargetRevised", previous_commit="2.3", commit="2.2", previous_target="3.0", target="2.6"
            ),
            "commit and target revised: 2.3 → 2.2, 3 → 2.6",
        ),
        (HistoryEntry(kind="ChampionAssigned", champion_id="p1", role="data_steward"), "Ana is data steward"),
        (HistoryEntry(kind="KeyResultOpened"), "key result opened"),
        (HistoryEntry(kind="SomethingNew"), "something new"),
    ],
)
def test_history_is_told_in_words(entry: HistoryEntry, told: str) -> None:
    assert views.happened(entry, BoardKeyResult(unit="€"), {"p1": "Ana"}) == told


@pytest.mark.parametrize(
    ("key_result", "shown"),
    [
        (BoardKeyResult(type="increase", value="13", unit="%", start="5", target="20"), ("5", "13 %", "20")),
        (BoardKeyResult(type="milestone", value="0.36", start="0", target="1"), ("", "36 %", "100 %")),
        (BoardKeyResult(type="binary", value="1", start="0", target="1"), ("", "done", "")),
        (BoardKeyResult(type="ordinal", value="2", start="0", target="2"), ("", "target", "")),
        (
            BoardKeyResult(type="maintain", value="99.95", unit="%", start="0", target="1", low="99.9"),
            ("", "99.95 %", "≥ 99.9"),
        ),
    ],
    ids=lambda value: value.type if isinstance(value, BoardKeyResult) else "",
)
def test_marks_and_values_read_as_their_kind_has_them(key_result: BoardKeyResult, shown: tuple[str, str, str]) -> None:
    start, target = words.mark(key_result, key_result.start), words.mark(key_result, key_result.target)
    assert (start, words.value_of(key_result), target) == shown


@pytest.mark.parametrize(
    ("key_result", "said"),
    [
        (BoardKeyResult(type="increase", start="0", commit="5", target="9", unit="t"), "start 0, commit 5, target 9 t"),
        (
            BoardKeyResult(type="maintain", start="0", commit="0.9", target="1", low="95", unit="%"),
            "to be kept ≥ 95, 90 % of the time promised",
        ),
        (BoardKeyResult(type="milestone", commit="0.5", target="1"), "commit 50 %, target 100 % of its milestones"),
        (BoardKeyResult(type="binary", start="0", commit="1", target="1"), ""),
    ],
    ids=["way", "range", "milestones", "binary"],
)
def test_a_history_says_what_was_promised_as_its_type_has_it(key_result: BoardKeyResult, said: str) -> None:
    assert views.marks(key_result) == said
