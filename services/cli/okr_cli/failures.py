"""How a command ends when it does not end well. Each family is one exit code, shown in every command's help.

CommandError
├── RefusedError     1    the platform said no, or `verify` found a difference
├── SetupError       2    the command or its surroundings must be put right first
└── TryAgainError    3    the platform does not answer now; the same command may be given again
"""

from collections.abc import Sequence
from typing import Any

EXIT_CODES = {
    0: "done",
    1: "refused by the platform, or a difference was found",
    2: "the command or its surroundings must be put right: arguments, a port in use, nothing reachable",
    3: "unavailable now: give the same command again",
    130: "interrupted",
}


class CommandError(Exception):
    """Root of everything that ends a command with one clear line. `details` follow it, one line each."""

    exit_code = 1

    def __init__(self, message: str, *, reason: str = "", details: Sequence[str] = (), document: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__.removesuffix("Error").upper()
        self.details = tuple(details)
        self.document = document
        """What `--json` prints besides, for commands whose answer is the refusal itself."""


class RefusedError(CommandError):
    exit_code = 1


class SetupError(CommandError):
    exit_code = 2


class TryAgainError(CommandError):
    exit_code = 3
