"""What can go wrong between a decision and the log.

StoreError
├── ConflictError           the stream moved on; re-read and decide again     → ABORTED
├── CommandIdReusedError    this command id was used with another body        → INVALID_ARGUMENT
├── StoreUnavailableError   PostgreSQL cannot be reached or answer in time    → UNAVAILABLE
├── EventRejectedError      PostgreSQL refused the bytes themselves           → INTERNAL: nobody foresaw it
└── UnknownEventError       stored by a newer release, or damaged; it waits   → INTERNAL
"""

from uuid import UUID


class StoreError(Exception):
    """Root of the event store's errors."""


class ConflictError(StoreError):
    """Another writer was first, or the caller's expected version is stale."""

    def __init__(self, stream_id: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream_id}: expected version {expected}, found {actual}; read it again and decide anew")
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual


class CommandIdReusedError(StoreError):
    """The id of a finished command came again with another body."""

    def __init__(self, command_id: UUID) -> None:
        super().__init__(f"request id {command_id} was used before with another body; take a new id for a new command")
        self.command_id = command_id


class StoreUnavailableError(StoreError):
    """The outcome may be unknown: send the same command id again."""


class EventRejectedError(StoreError):
    """PostgreSQL refused the data of one command; its neighbours were not harmed."""


class UnknownEventError(StoreError):
    """An event that cannot be read: damaged, or written by a newer release and readable after an upgrade."""
