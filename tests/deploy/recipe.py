"""A Dockerfile read and followed without a container engine: its build stage, in a directory instead of an image.

Only what our recipe says is understood. A path that an image would have at its root lies below `root` here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
OURS = re.compile(r"(?<![\w/.])/(?=opt/|opt\b|build\b|var/lib/okr)")
"""Where a path begins that belongs to the image and not to the machine."""


class Instruction(NamedTuple):
    word: str
    rest: str


class Stage(NamedTuple):
    """What stands between one FROM and the next."""

    base: str
    name: str
    instructions: list[Instruction]

    def all(self, word: str) -> list[str]:
        return [each.rest for each in self.instructions if each.word == word]

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for rest in self.all("ENV") for name, value in re.findall(r"(\w+)=(\S+)", rest)}

    @property
    def health_check(self) -> list[str]:
        (rest,) = self.all("HEALTHCHECK")
        return _words(rest.partition(" CMD ")[2])

    @property
    def command(self) -> list[str]:
        return _words(self.all("CMD")[-1])


def read_recipe(path: Path) -> list[Stage]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name, []))
        elif word and stages:
            stages[-1].instructions.append(Instruction(word, rest.strip()))
    return stages


class Image:
    """A root directory in which a stage is built, and its programs run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._where = root
        machine = root / "usr-bin"
        machine.mkdir(parents=True)
        # The official image calls its interpreter `python`; ours is the one that runs the tests.
        (machine / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        self._path = f"{machine}:/usr/bin:/bin"

    def build(self, stage: Stage, context: Path) -> None:
        for word, rest in stage.instructions:
            match word:
                case "WORKDIR":
                    self._where = self.at(rest)
                    self._where.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    *sources, target = rest.split()
                    for source in sources:
                        self._copy(context, source, target)
                case "RUN":
                    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
                    command = ["sh", "-euc", self.placed(rest)]
                    done = subprocess.run(
                        command, cwd=self._where, env=kept | {"PATH": self._path}, capture_output=True, text=True
                    )
                    assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
                case _:
                    raise AssertionError(f"{word} is not understood here: {rest}")

    def environment(self, stage: Stage) -> dict[str, str]:
        """What a program in the finished image finds, and nothing of this machine."""
        placed = {name: self.placed(value.replace("$PATH", self._path)) for name, value in stage.environment.items()}
        return {"LANG": "C.UTF-8"} | placed

    def at(self, path: str) -> Path:
        """Where a path of the image is here."""
        return self.root / path.lstrip("/") if path.startswith("/") else self._where / path

    def placed(self, text: str) -> str:
        return OURS.sub(f"{self.root}/", text)

    def _copy(self, context: Path, source: str, target: str) -> None:
        found = [path for path in sent(context) if path.is_relative_to(source)]
        assert found, f"COPY {source}: nothing of that name is sent to the builder"
        for path in found:
            inside = path.relative_to(source) if (context / source).is_dir() else Path(path.name)
            destination = self.at(target) / inside
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context / path, destination)


def sent(context: Path) -> list[Path]:
    """What .dockerignore leaves of the work tree, by the rules it uses: the last pattern that matches decides."""
    patterns = [line for line in (context / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    roots = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    paths = [
        path.relative_to(context)
        for root in roots
        for path in ([context / root] if (context / root).is_file() else sorted((context / root).rglob("*")))
        if path.is_file()
    ]
    return [path for path in paths if not _ignored(path, patterns)]


def _ignored(path: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        of_any_folder = bare.removeprefix("**/")
        if of_any_folder != bare:
            matches = any(fnmatch(part, of_any_folder) for part in path.parts)
        else:
            matches = bare == "*" or path.is_relative_to(bare)
        if matches:
            ignored = not pattern.startswith("!")
    return ignored


def _words(text: str) -> list[str]:
    words: list[str] = json.loads(text)
    return words
