"""The house stands as the plans say: folders, packages, generated code and the lock agree with each other."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def packages() -> set[str]:
    """Every package of the project, by its folder."""
    found = {path.parent for path in ROOT.glob("libs/*/okr*/") for path in path.glob("*") if path.name == "py.typed"}
    found |= {path.parent for path in ROOT.glob("services/*/okr_*/py.typed")}
    return {str(path.relative_to(ROOT)) for path in found}


def test_every_package_is_in_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == packages()


def test_every_package_stands_under_the_rules_of_import() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    assert set(rules["importlinter"]["root_packages"].split()) == {Path(path).name for path in packages()}


SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if path.name != "cli")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_rooms(service: str) -> None:
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "services" / service / f"okr_{service}").iterdir()}
    expected = {"__main__", "api", "read_model", "subscribers"} | ({"decider"} if service != "insights" else set())
    assert expected <= rooms


def test_the_generated_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    protos = [str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto").rglob("*.proto"))]
    scripts = Path(sys.executable).parent
    plugins = ("--python_out={}", "--grpc_python_out={}", "--mypy_out=quiet:{}", "--mypy_grpc_out=quiet,only_async:{}")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *(each.format(tmp_path) for each in plugins)]
    subprocess.run([*command, *protos], cwd=ROOT, check=True, env={"PATH": f"{scripts}:/usr/bin:/bin"})
    generated = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.py*")}
    protocol = ROOT / "libs" / "protocol"
    committed = {
        str(path.relative_to(protocol)): path.read_text()
        for path in protocol.rglob("*_pb2*.py*")
        if "__pycache__" not in path.parts
    }
    assert generated == committed


def test_the_lock_names_hashes_and_no_hosts() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert not re.search(r"https?://", lock)


def test_no_test_sleeps() -> None:
    """A pause of nothing, which only lets others run, is none; waiting for what is so has a place of its own."""
    sleeps = re.compile(r"(asyncio|time)\.sleep\((?!0\))")
    waiting = ROOT / "tests" / "support" / "waiting.py"
    others = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path not in (Path(__file__), waiting)]
    assert [str(path) for path in others if sleeps.search(path.read_text())] == []


def test_the_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert f"[{project['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()
