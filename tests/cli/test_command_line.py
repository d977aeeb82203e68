"""The command line where no platform is needed: help, arguments, exit codes."""

import json
import os
import re
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from okr_chassis.identity.issuer import InternalIssuer
from okr_cli.app import build
from okr_cli.commands.importing import Cycle
from okr_cli.failures import EXIT_CODES, SetupError

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "up", "token", "import", "board", "check-in", "correct", "history", "tree", "inbox", "events tail",
    "rebuild insights", "verify", "doctor", "status", "parked list", "parked retry", "kafka provision", "keys",
    "database provision", "database restored", "samples",
    "lint", "template list", "template preview", "template apply", "template save",
)  # fmt: skip
HEADER = "Objective,Department,Owner,Key result,Start,Target,Unit\n"


@pytest.fixture(autouse=True)
def nobody_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No platform, no token, an empty data directory."""
    for name in [name for name in os.environ if name.startswith("OKR_")] + ["DATABASE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OKR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OKR_GRPC_PORT", "1")


def okr(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


def written(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content)
    return str(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_json_and_the_exit_codes(command: str) -> None:
    result = okr(*command.split(), "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    text = " ".join(result.stdout.split())
    assert all(f"{code} {meaning}" in text for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize("command", ["board", "token", "inbox", "verify", "events tail", "parked list", "tree"])
def test_without_a_platform_every_command_says_so_in_one_line(command: str) -> None:
    result = okr(*command.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("okr: there is no development key")
    assert "okr up" in line


def test_a_platform_that_does_not_answer_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKR_TOKEN", "anything")
    monkeypatch.setattr("okr_cli.client.CONNECT_SECONDS", 0.2)
    result = okr("board")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("okr: no platform answers at 127.0.0.1:1;")


def test_failures_with_json_are_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    result = okr("board", "--json")
    assert result.stdout == ""
    told = json.loads(result.stderr)
    assert told["error"]["reason"] == "NO_TOKEN"
    assert told["exit_code"] == result.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("bord",),
        ("board", "--as-off", "now"),
        ("check-in", "lead time"),
        ("history",),
        ("board", "--as-of", "soon"),
        ("check-in", "lead time", "NaN"),
        ("check-in", "lead time", "inf"),
        ("check-in", "lead time", "1,234"),
        ("check-in", "lead time", "5", "--confidence", "1.2"),
        ("check-in", "lead time", "5", "--on", "31.31.2026"),
        ("correct", "lead time", "5"),
        ("correct", "lead time", "--reason", "typing error"),
        ("events", "tail", "--from", "abc"),
        ("events", "tail", "--from", "7"),
        ("events", "tail", "--from", "goals:7:1:42", "--service", "checkins"),
        ("events", "tail", "--service", "insights"),
        ("import", "missing.csv"),
        ("import", "."),
        ("import", "missing.csv", "--from", "2026-01-01"),
        ("import", "missing.csv", "--from", "2026-01-01", "--to", "2025-01-01"),
        ("rebuild", "everything"),
    ],
)
def test_bad_arguments_end_with_2_and_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = okr(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def test_a_token_and_a_handle_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKR_TOKEN", "anything")
    result = okr("board", "--as", "ana")
    assert result.exit_code == 2
    assert "OKR_TOKEN" in result.stderr


def test_settings_that_cannot_be_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKR_GRPC_PORT", "many")
    result = okr("board")
    assert result.exit_code == 2
    assert "OKR_GRPC_PORT" in result.stderr


def test_an_unforeseen_error_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("okr_cli.session.Settings.load", explode)
    result = okr("board")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "ZeroDivisionError: of all things" in line


# What is wrong with a file is told without a platform


def test_faults_of_a_file_are_told_with_their_cells_and_end_with_1(tmp_path: Path) -> None:
    result = okr("import", written(tmp_path, "okrs.csv", HEADER + "O,D,Ana,K,1,1,%\nO2,D,Ana,,x,2,\n"))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "okr: okrs.csv: 3 faults, nothing was imported"
    assert lines[1].startswith("  F2 (Target): start and target are both 1")
    assert any(line.startswith("  D3 (Key result): key result is missing") for line in lines)
    assert any(line.startswith("  E3 (Start): 'x' is not a number") for line in lines)


def test_two_hundred_faults_are_counted_for_people_and_listed_for_programs(tmp_path: Path) -> None:
    file = written(tmp_path, "okrs.csv", HEADER + "".join(f"O{n},D,Ana,K,x,2,%\n" for n in range(200)))
    people = okr("import", file)
    assert people.exit_code == 1
    assert len(people.stderr.splitlines()) == 52
    assert people.stderr.splitlines()[-1] == "  and 150 more; --json lists all"
    programs = okr("import", file, "--json")
    assert programs.exit_code == 1
    document = json.loads(programs.stdout)
    assert document["applied"] is False
    assert len(document["faults"]) == 200
    assert document["faults"][199] == {
        "row": 201,
        "cell": "E201",
        "column": "Start",
        "field": "start",
        "reason": "NOT_A_NUMBER",
        "message": "'x' is not a number, as in 12.5 or 1,200",
    }


@pytest.mark.parametrize(
    ("content", "said"), [("", "is empty"), (HEADER, "no key results below"), ("a,b\n1,2\n", "no header")]
)
def test_files_without_content_are_one_fault(tmp_path: Path, content: str, said: str) -> None:
    result = okr("import", written(tmp_path, "okrs.csv", content))
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_wrong_encoding_is_told_and_its_name_helps(tmp_path: Path) -> None:
    file = tmp_path / "okrs.csv"
    file.write_bytes((HEADER + "Größe,D,Ana,K,1,1,€\n").encode("cp1252"))
    assert "is not UTF-8" in okr("import", str(file)).stderr
    assert "start and target are both 1" in okr("import", str(file), "--encoding", "cp1252").stderr
    assert okr("import", str(file), "--encoding", "klingon").exit_code == 2


@pytest.mark.parametrize(
    ("today", "name", "first", "last"),
    [
        (date(2026, 1, 1), "Q1 2026", date(2026, 1, 1), date(2026, 3, 31)),
        (date(2026, 6, 30), "Q2 2026", date(2026, 4, 1), date(2026, 6, 30)),
        (date(2024, 12, 31), "Q4 2024", date(2024, 10, 1), date(2024, 12, 31)),
    ],
)
def test_the_cycle_of_an_import_is_the_quarter_around_today(today: date, name: str, first: date, last: date) -> None:
    assert Cycle.around(today) == Cycle(name, first, last)


def test_a_cycle_may_be_named_and_dated() -> None:
    today = date(2026, 6, 15)
    assert Cycle.of(today, "Spring", None, None).name == "Spring"
    assert Cycle.of(today, None, "2026-02-01", "2026-05-31").name == "2026-02-01 to 2026-05-31"
    with pytest.raises(SetupError, match="before it has begun"):
        Cycle.of(today, None, "2026-02-01", "2026-02-01")


# Starting


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OKR_GRPC_PORT": "99999"}, "OKR_GRPC_PORT"),
        ({"OKR_DATA_DIR": str(ROOT)}, "is not a data directory of this platform"),
        ({"OKR_DATA_DIR": "/proc/nowhere"}, "cannot be used"),
        ({"DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/okr"}, "DATABASE_URL"),
        ({"OKR_ENV": "production", "DATABASE_URL": "postgresql://me@127.0.0.1:1/okr"}, "OKR_ISSUER"),
    ],
)
def test_what_keeps_the_platform_from_starting_is_one_line_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("OKR_GRPC_PORT", "0")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-m", "okr_cli", "up"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("okr: ")
    assert said in line
    assert "secret" not in line


def test_a_port_in_use_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**os.environ, "OKR_GRPC_PORT": str(port)}
        done = subprocess.run(
            [sys.executable, "-m", "okr_cli", "up"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
    assert done.returncode == 2
    assert (
        done.stderr
        == f"okr: 127.0.0.1:{port} is in use by another process; stop it or set OKR_GRPC_PORT to a free port\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_missing_library_is_one_line_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('none here', name='grpc')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "okr_cli", "board"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("okr: the library 'grpc' is missing")
    assert len(done.stderr.splitlines()) == 1


# Keys


def test_keys_are_made_once_for_their_owner_alone_and_kept_ever_after(tmp_path: Path) -> None:
    first = okr("keys")
    made = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    second = okr("keys", "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.count("made now") == 2
    assert [each["made"] for each in json.loads(second.stdout)["keys"]] == [False, False]
    assert b"PRIVATE KEY" in made["internal.pem"]
    assert len(made["vault.key"]) == 32
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert {(tmp_path / "data" / name).stat().st_mode & 0o777 for name in ("internal.pem", "vault.key")} == {0o600}


def test_keys_lie_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OKR_INTERNAL_KEY_FILE", str(tmp_path / "internal"))
    monkeypatch.setenv("OKR_VAULT_KEY_FILE", str(tmp_path / "vault"))
    assert okr("keys").exit_code == 0
    assert InternalIssuer(tmp_path / "internal").trusted().keys
    assert len((tmp_path / "vault").read_bytes()) == 32


def test_a_key_that_is_none_is_left_alone_and_told(tmp_path: Path) -> None:
    okr("keys")
    (tmp_path / "data" / "internal.pem").write_text("not a key")
    result = okr("keys")
    assert result.exit_code == 2
    assert "internal.pem" in result.stderr
    assert (tmp_path / "data" / "internal.pem").read_text() == "not a key"


def test_a_command_does_not_wait_for_what_only_the_platform_needs() -> None:
    """Each of these takes longer to import than an answer takes to come."""
    heavy = ("aiokafka", "faststream", "okr_chassis.platform", "okr_goals", "openpyxl", "prometheus_client")
    program = f"import sys, okr_cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# Documentation


def test_the_reference_names_every_command_and_exit_code() -> None:
    reference = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    for command in COMMANDS:
        assert f"`okr {command}" in reference
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^\| {code} \| {re.escape(meaning)} \|$", reference, re.MULTILINE), code
