"""Everything commands print, in one place: tables and lines for people, one JSON document for programs.

What people read may be coloured when the terminal allows (never with NO_COLOR, never in a pipe), and
text from the platform is printed as it is, without the control characters it may contain.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from okr_cli.failures import CommandError
from okr_cli.tables import Column, Row, clean, laid_out

NARROWEST = 60
PIPED_WIDTH = 200
"""How wide lines may be where no terminal says so."""


class Meter(Protocol):
    """What long work reports to."""

    def update(self, done: int, total: int, doing: str = "") -> None: ...


class Output:
    """Where a command's words go. `as_json`: stdout carries exactly one document, people's lines are left out."""

    def __init__(self, as_json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.as_json = as_json
        self.out = _console(stdout or sys.stdout)
        self.err = _console(stderr or sys.stderr)

    def document(self, document: Any) -> None:
        """The one JSON document of a command that was given `--json`."""
        self.out.file.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")

    def json_line(self, document: Any) -> None:
        self.out.file.write(json.dumps(document, ensure_ascii=False) + "\n")
        self.out.file.flush()

    def say(self, text: str = "", style: str = "") -> None:
        """A line for people. Left out with --json."""
        if not self.as_json:
            self.out.print(Text(clean(text), style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """A line beside the answer, on stderr, so that pipes carry the answer alone."""
        self.err.print(Text(clean(text), style="dim"), soft_wrap=True)

    def fail(self, error: CommandError) -> None:
        """The one clear line a command ends with, and all that stands behind it."""
        if self.as_json:
            if error.document is not None:
                self.document(error.document)
            told = {"reason": error.reason, "message": error.message, "details": list(error.details)}
            if error.document is not None:
                told["details"] = []  # the document has them all
            self.err.file.write(json.dumps({"error": told, "exit_code": error.exit_code}, ensure_ascii=False) + "\n")
            return
        line = Text("okr: ", style="bold red" if error.exit_code != 3 else "bold yellow")
        line.append(clean(error.message), style="default")
        self.err.print(line, soft_wrap=True)
        for detail in error.details:
            self.err.print(Text(f"  {clean(detail)}"), soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        for line in laid_out(columns, list(rows), max(self.out.width, NARROWEST)):
            self.out.print(line, soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Meter]:
        """A bar on a terminal; elsewhere a plain line now and then, on stderr both."""
        if self.err.is_terminal and not self.as_json:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=self.err, transient=True) as bar:
                yield _Bar(bar, title)
        else:
            yield _Lines(self, title)


class _Bar:
    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=None)

    def update(self, done: int, total: int, doing: str = "") -> None:
        if doing:
            self._bar.update(self._task, completed=done, total=total or None, description=clean(doing))
        else:
            self._bar.update(self._task, completed=done, total=total or None)


class _Lines:
    """Plain progress for logs and pipes: every tenth of the way, never more."""

    def __init__(self, output: Output, title: str) -> None:
        self._output = output
        self._title = title
        self._told = 0

    def update(self, done: int, total: int, doing: str = "") -> None:
        tenth = 10 * done // total if total else 0
        if tenth > self._told and not self._output.as_json:
            self._told = tenth
            self._output.note(f"{self._title}: {done} of {total}")


class _Console(Console):
    """rich ends the program by itself when the reader of a pipe has gone; here the command decides."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(file: TextIO) -> Console:
    width = None if file.isatty() or os.environ.get("COLUMNS", "").isdigit() else PIPED_WIDTH
    return _Console(file=file, width=width, highlight=False, markup=False, emoji=False)
