"""The README is true: every block of it is run, in the order in which a newcomer would."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.embedded import Answer, Installation, installation

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
BESIDE_OTHERS = (["make", "run"], ["make", "cluster"], ["make", "test"], ["source", ".venv/bin/activate"])
"""What is run elsewhere: above, in tests/journeys/test_make_cluster.py, by continuous integration, by nobody."""


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """`make run`, on a data directory and a port of its own."""
    async with installation(tmp_path_factory.mktemp("readme") / "data") as built:
        await built.start(command=("make", "--no-print-directory", "-C", str(ROOT), "run"))
        yield built


async def test_make_run_prints_the_board_the_readme_shows(home: Installation) -> None:
    printed = "\n".join(home.printed)
    (shown,) = re.findall(r"```\n(Brightwater.*?)```", README, flags=re.DOTALL)
    rows = shown.splitlines()[3:]
    assert len(rows) == 3
    for row in rows:
        for cell in re.split(r" {2,}", row.strip()):
            assert cell in printed, cell


async def test_every_command_does_what_the_readme_says(home: Installation) -> None:
    ran: dict[str, Answer] = {}
    for line in COMMANDS:
        words = shlex.split(line, comments=True)
        if words[0] == "okr":
            answer = await home.okr(*words[1:], cwd=ROOT)
            assert answer.code == 0, f"{line}\n{answer.err}"
            ran[line] = answer
        else:
            assert words in BESIDE_OTHERS, line

    assert ran["okr verify"].out.strip().splitlines()[-1].startswith("Equal:")
    history = ran['okr history "onboarding tickets"'].out
    assert "12.9" in history
    assert "13.1" in history
    assert "counted one team twice" in history
    assert "Corner Bakery" in ran['okr board --organization "Corner Bakery" --as rosa.maia'].out


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "make test" in COMMANDS
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_file_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for package, path in re.findall(r"`(okr_\w+)/([\w/]+\.\w+)`", text):
        assert list(ROOT.glob(f"*/*/{package}/{path}")), f"{package}/{path}"
