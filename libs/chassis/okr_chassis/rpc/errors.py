"""Refusals on their way to the caller: every error becomes one google.rpc.Status, in one place.

| raised                                        | status              | reason, details                            |
|-----------------------------------------------|---------------------|--------------------------------------------|
| InvalidInputError, pydantic's ValidationError | INVALID_ARGUMENT    | its own; BadRequest with all violations    |
| CommandIdReusedError                          | INVALID_ARGUMENT    | REQUEST_ID_REUSED                          |
| NotFoundError                                 | NOT_FOUND           | its own                                    |
| AlreadyExistsError                            | ALREADY_EXISTS      | its own                                    |
| DomainError                                   | FAILED_PRECONDITION | its own; PreconditionFailure with them all |
| EtagMismatchError                             | ABORTED             | ETAG_MISMATCH, metadata current_version    |
| ConflictError                                 | ABORTED             | VERSION_CONFLICT, metadata current_version |
| NotCaughtUpError                              | UNAVAILABLE         | NOT_CAUGHT_UP; RetryInfo                   |
| StartingError                                 | UNAVAILABLE         | SERVER_STARTING; RetryInfo                 |
| LeavingError                                  | UNAVAILABLE         | SERVER_LEAVING; RetryInfo                  |
| StoreUnavailableError                         | UNAVAILABLE         | STORE_UNAVAILABLE; RetryInfo               |
| AuthenticationError                           | UNAUTHENTICATED     | its own                                    |
| PermissionDeniedError                         | PERMISSION_DENIED   | its own                                    |
| TooSlowError                                  | DEADLINE_EXCEEDED   | DEADLINE_EXCEEDED                          |
| MessageTooLargeError                          | RESOURCE_EXHAUSTED  | REQUEST_TOO_LARGE                          |
| a refusal by a peer                           | the peer's          | the peer's                                 |
| anything else                                 | INTERNAL            | INTERNAL, metadata correlation_id          |
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from pydantic import ValidationError

from okr_chassis.identity.auth import AuthenticationError, AuthError, PermissionDeniedError
from okr_chassis.rpc.violations import violations_of
from okr_contracts.errors import (
    AlreadyExistsError,
    DomainError,
    InvalidInputError,
    NotFoundError,
    OkrError,
    Violation,
)
from okr_eventstore.errors import CommandIdReusedError, ConflictError, StoreUnavailableError

log = logging.getLogger(__name__)

DOMAIN = "okr"
DETAILS_KEY = "grpc-status-details-bin"
RETRY_AFTER = timedelta(milliseconds=250)

LONGEST_MESSAGE = 1_000
"""Characters of a message. Status travels in HTTP/2 headers, which clients limit to 8 KiB in all."""
DETAILS_BYTES = 4_096
"""What the list of violations may take; what does not fit is counted."""

_PASSED_ON = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_LATER = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class CommandRefusedError(Exception):
    """One of many commands that were sent together was refused; `refusal` says why, as its own RPC would."""

    def __init__(self, status: status_pb2.Status) -> None:
        code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
        self.status = status
        self.refusal = refusal_in(code, status.message, status.details)
        super().__init__(f"{self.refusal.reason}: {self.refusal.message}")


class EtagMismatchError(ConflictError):
    """The caller's etag is older than the stream; nobody raced, and deciding again would not help."""


class NotCaughtUpError(Exception):
    """A read model has not reached the position a read asked for."""


class StartingError(Exception):
    """The server is up and not ready: what it needs is still being prepared."""


class LeavingError(Exception):
    """The server stops; the call may go on elsewhere."""


class TooSlowError(Exception):
    """A command of many took longer than a call of its own may; what became of it, a resend tells."""


class MessageTooLargeError(Exception):
    """A request larger than anybody needs."""


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Refusal:
    """What a caller learns about a call that failed. Programs read `reason`, people read `message`."""

    code: grpc.StatusCode
    reason: str
    message: str
    violations: tuple[Violation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def status_of(error: Exception, correlation_id: UUID) -> status_pb2.Status:
    """The status an error is answered with. What nobody foresaw is logged in full and told to nobody."""
    match error:
        case InvalidInputError():
            return _invalid(error.reason, error.violations)
        case ValidationError():
            return _invalid("INVALID_REQUEST", violations_of(error))
        case NotFoundError():
            return _status(code_pb2.NOT_FOUND, error.reason, error.message)
        case AlreadyExistsError():
            return _status(code_pb2.ALREADY_EXISTS, error.reason, error.message)
        case DomainError() | OkrError():
            return _status(code_pb2.FAILED_PRECONDITION, error.reason, error.message, [_failure(error)])
        case ConflictError():
            reason = "ETAG_MISMATCH" if isinstance(error, EtagMismatchError) else "VERSION_CONFLICT"
            metadata = {"current_version": str(error.actual), "expected_version": str(error.expected)}
            return _status(code_pb2.ABORTED, reason, str(error), metadata=metadata)
        case CommandIdReusedError():
            return _invalid("REQUEST_ID_REUSED", [Violation("request_id", str(error), "REQUEST_ID_REUSED")])
        case NotCaughtUpError():
            return _status(code_pb2.UNAVAILABLE, "NOT_CAUGHT_UP", str(error), [_retry()])
        case StartingError():
            return _status(code_pb2.UNAVAILABLE, "SERVER_STARTING", str(error), [_retry()])
        case LeavingError():
            return _status(code_pb2.UNAVAILABLE, "SERVER_LEAVING", str(error), [_retry()])
        case StoreUnavailableError():
            log.warning("the store is unavailable: %s", error)
            message = "the store does not answer now; send the same request again"
            return _status(code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", message, [_retry()])
        case AuthenticationError():
            return _status(code_pb2.UNAUTHENTICATED, error.reason, error.message)
        case PermissionDeniedError() | AuthError():
            return _status(code_pb2.PERMISSION_DENIED, error.reason, error.message)
        case TooSlowError():
            return _status(code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", str(error))
        case MessageTooLargeError():
            return _status(code_pb2.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", str(error))
        case DecodeError():
            violation = Violation("request", "is not a message of this method", "MESSAGE_MALFORMED")
            return _invalid("INVALID_REQUEST", [violation])
        case grpc.RpcError():
            return _peers_refusal(error, refusal_of(error), _details(error), correlation_id)
        case CommandRefusedError():
            return _peers_refusal(error, error.refusal, error.status, correlation_id)
        case _:
            return _unforeseen(error, correlation_id)


def _peers_refusal(
    error: Exception, refusal: Refusal, status: status_pb2.Status | None, correlation_id: UUID
) -> status_pb2.Status:
    """What another service of ours refused is the caller's answer too; what went wrong there is not."""
    if refusal.code in _LATER:
        log.warning("a peer is unavailable: %s", refusal.message)
        message = "a service this call needs does not answer now; send the same request again"
        return _status(code_pb2.UNAVAILABLE, "PEER_UNAVAILABLE", message, [_retry()])
    if refusal.code in _PASSED_ON and status is not None:
        return status
    return _unforeseen(error, correlation_id)


def _unforeseen(error: Exception, correlation_id: UUID) -> status_pb2.Status:
    log.error("an error nobody foresaw, correlation id %s", correlation_id, exc_info=error)
    message = f"something went wrong inside; the log tells more under {correlation_id}"
    return _status(code_pb2.INTERNAL, "INTERNAL", message, metadata={"correlation_id": str(correlation_id)})


def _invalid(reason: str, violations: Iterable[Violation]) -> status_pb2.Status:
    """All violations, as far as headers carry them: the rest is counted, and found by the next try."""
    found = list(violations)
    request = error_details_pb2.BadRequest()
    room = DETAILS_BYTES
    for index, violation in enumerate(found):
        shown = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field[:200], description=violation.message[:200], reason=violation.reason
        )
        room -= shown.ByteSize()
        if room < 0:
            more = f"and {len(found) - index} more violations"
            request.field_violations.add(field="request", description=more, reason="MORE_VIOLATIONS")
            break
        request.field_violations.append(shown)
    message = "; ".join(f"{each.field}: {each.message}" for each in found[:10])
    return _status(code_pb2.INVALID_ARGUMENT, reason, message, [request])


def _failure(error: OkrError) -> error_details_pb2.PreconditionFailure:
    """What a rule says, and everything that stands in the way where that is more than one thing: as far as headers
    carry it, the rest counted."""
    failure = error_details_pb2.PreconditionFailure()
    found = error.violations if isinstance(error, DomainError) else ()
    if not found:
        failure.violations.add(type=error.reason, subject=DOMAIN, description=_short(error.message))
    room = DETAILS_BYTES
    for index, violation in enumerate(found):
        shown = error_details_pb2.PreconditionFailure.Violation(
            type=violation.reason, subject=violation.field[:200], description=violation.message[:200]
        )
        room -= shown.ByteSize()
        if room < 0:
            more = f"and {len(found) - index} more"
            failure.violations.add(type="MORE_VIOLATIONS", subject="request", description=more)
            break
        failure.violations.append(shown)
    return failure


def _status(
    code: int,
    reason: str,
    message: str,
    details: Iterable[Message] = (),
    metadata: Mapping[str, str] | None = None,
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_short(message))
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {})
    for detail in (info, *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _retry() -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromTimedelta(RETRY_AFTER)
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _short(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"


# --- the caller's side ---------------------------------------------------------------------------


def refusal_of(error: grpc.RpcError) -> Refusal:
    """What a failed call says, for the command line and for tests."""
    call: Any = error
    code = call.code() if hasattr(call, "code") else grpc.StatusCode.UNKNOWN
    message = (call.details() if hasattr(call, "details") else None) or ""
    status = _details(error)
    return refusal_in(code, message, status.details if status is not None else ())


def refusal_in(code: grpc.StatusCode, message: str, details: Iterable[AnyMessage]) -> Refusal:
    """What a status says, wherever it stood."""
    reason, violations, metadata = code.name, list[Violation](), dict[str, str]()
    for detail in details:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        failure = error_details_pb2.PreconditionFailure()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            violations = [Violation(each.field, each.description, each.reason) for each in request.field_violations]
        elif detail.Unpack(failure):
            standing = (each for each in failure.violations if each.subject != DOMAIN)
            violations = [Violation(each.subject, each.description, each.type) for each in standing]
    return Refusal(code, reason, message, tuple(violations), metadata)


def _details(error: grpc.RpcError) -> status_pb2.Status | None:
    call: Any = error
    trailing = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for key, value in trailing or ():
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
