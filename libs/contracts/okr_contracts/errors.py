"""Why a command is refused. The chassis turns each family into its gRPC status, once.

OkrError
├── InvalidInputError   the request itself is malformed; carries every violation  → INVALID_ARGUMENT
├── NotFoundError       no such thing in the caller's organisation                → NOT_FOUND
├── AlreadyExistsError  the id is taken by something else                         → ALREADY_EXISTS
└── DomainError         the request is well-formed and a rule says no             → FAILED_PRECONDITION

A `reason` is for programs (UPPER_SNAKE, unique over the platform), the message for people: it names
the thing, what was expected, what was found and the way out.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One fault of a request: the `field` is a dotted path such as `champions.1.role`.

    Where a rule says no, it is what stands in the way, by its title.
    """

    field: str
    message: str
    reason: str = "INVALID"


class OkrError(Exception):
    """Root of everything the platform refuses on purpose."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidInputError(OkrError):
    """The request is malformed; all its violations at once."""

    def __init__(self, violations: Sequence[Violation], reason: str = "INVALID_REQUEST") -> None:
        super().__init__(reason, "; ".join(f"{each.field}: {each.message}" for each in violations))
        self.violations = tuple(violations)


class NotFoundError(OkrError):
    """Unknown here. Another organisation's id looks exactly the same."""

    def __init__(self, kind: str, identifier: object) -> None:
        super().__init__(f"{kind.upper().replace(' ', '_')}_NOT_FOUND", f"{kind} {identifier} does not exist")


class AlreadyExistsError(OkrError):
    """The id is taken by something that differs."""

    def __init__(self, kind: str, identifier: object) -> None:
        reason = f"{kind.upper().replace(' ', '_')}_ALREADY_EXISTS"
        super().__init__(reason, f"{kind} {identifier} exists already and differs; choose another id")


class DomainError(OkrError):
    """A rule of the domain says no; where many things stand in the way, all of them are its `violations`."""

    def __init__(self, reason: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(reason, message)
        self.violations = tuple(violations)
