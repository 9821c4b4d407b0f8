"""Every error that a call can raise, made from the rich status that the services send.

    SapienceError             `code` (grpc.StatusCode), `reason`, `field`, `retry_after`
    ├── InvalidArgument       a value is wrong: `field` names it
    ├── NotFound              a namespace, Episode, Fact, Trace or model that is not there
    ├── AlreadyExists         a name that is taken
    ├── FailedPrecondition    right in itself, but not in this state
    ├── PermissionDenied      no right to it, whether or not it exists
    ├── Unauthenticated       no token, or a wrong one
    ├── ResourceExhausted     too much at once: try again after `retry_after` seconds
    ├── Unavailable           the service is not reached, or something it needs is down: trying again is safe
    ├── Unimplemented         a part that this version of the service does not have
    ├── DeadlineExceeded      the call's `timeout` ran out
    ├── Cancelled             the call was cancelled
    └── Internal              a fault of the service

`reason` is stable and in UPPER_SNAKE_CASE, for programs; the message is for people. Client and services raise the same
classes: a naive datetime is refused here, before anything is sent, as an InvalidArgument.
"""

from __future__ import annotations

from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries a google.rpc.Status with its details."""


class SapienceError(Exception):
    """The base of all of them.

    `field` is the path of the request field at fault, "" where none is; `retry_after` is in seconds, 0 where unknown.
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        field: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.reason = reason
        self.field = field
        self.retry_after = retry_after


class InvalidArgument(SapienceError):
    """A value is wrong whatever the state of the system; `field` names it."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(SapienceError):
    """What was named is not there."""

    default_code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(SapienceError):
    """What was to be made is there already."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(SapienceError):
    """The request is right in itself, but not in the state the system is in."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class PermissionDenied(SapienceError):
    """The caller has no right to it."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(SapienceError):
    """The caller has not shown who it is: no token, or a wrong one."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(SapienceError):
    """A limit is reached; `retry_after` says when to try again."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(SapienceError):
    """The service, or something it needs, does not answer; trying again is safe."""

    default_code = grpc.StatusCode.UNAVAILABLE


class Unimplemented(SapienceError):
    """This version of the service does not have that part."""

    default_code = grpc.StatusCode.UNIMPLEMENTED


class DeadlineExceeded(SapienceError):
    """The call's `timeout` ran out before its answer came."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(SapienceError):
    """The call was cancelled, here or by the service."""

    default_code = grpc.StatusCode.CANCELLED


class Internal(SapienceError):
    """A fault of the service; its log knows more."""

    default_code = grpc.StatusCode.INTERNAL


_CLASSES: dict[grpc.StatusCode, type[SapienceError]] = {
    kind.default_code: kind
    for kind in (
        InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, PermissionDenied, Unauthenticated,
        ResourceExhausted, Unavailable, Unimplemented, DeadlineExceeded, Cancelled, Internal,
    )
}  # fmt: skip
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_status(status: status_pb2.Status) -> SapienceError:
    """The error that a google.rpc.Status tells of. Details of unknown types are passed over."""
    reason, field, retry_after = "", "", 0.0
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            field = bad_request.field_violations[0].field if bad_request.field_violations else ""
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return _make(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, reason, field, retry_after)


def from_rpc(error: grpc.RpcError, where: str) -> SapienceError:
    """The error that a failed call raises. `where` names the service and its address, for what gRPC itself reports.

    Takes what a sync or an asyncio call raised: both have `code()`, `details()` and `trailing_metadata()`.
    """
    code: grpc.StatusCode = error.code()
    rich = _rich_status(error)
    if rich is not None and rich.code == code.value[0]:
        made = from_status(rich)
    else:
        made = _make(code, f"{where}: {error.details() or code.name}")
    made.__cause__ = error
    return made


def _make(
    code: grpc.StatusCode, message: str, reason: str = "", field: str = "", retry_after: float = 0.0
) -> SapienceError:
    kind = _CLASSES.get(code, SapienceError)
    return kind(message, code=code, reason=reason, field=field, retry_after=retry_after)


def _rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None  # a proxy's own use of the key: the plain status still says what happened
    return None
