"""Errors on the wire: core errors become google.rpc.Status with rich details, and come back as what they were.

core error           gRPC status            details beside ErrorInfo
InvalidArgument      INVALID_ARGUMENT       BadRequest with the field path
NotFound             NOT_FOUND
AlreadyExists        ALREADY_EXISTS
FailedPrecondition   FAILED_PRECONDITION
PermissionDenied     PERMISSION_DENIED
Unauthenticated      UNAUTHENTICATED
ResourceExhausted    RESOURCE_EXHAUSTED     RetryInfo
Unavailable          UNAVAILABLE            RetryInfo where a time is known
NotYet               UNIMPLEMENTED
DeadlineExceeded     DEADLINE_EXCEEDED
anything else        INTERNAL
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from core import errors
from services.runtime.deadline import DeadlineExceeded

DOMAIN = "sapience"
DETAILS_KEY = "grpc-status-details-bin"

CODES: dict[type[errors.SapienceError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.NotYet: grpc.StatusCode.UNIMPLEMENTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: errors.SapienceError) -> grpc.StatusCode:
    """The gRPC status that an error stands for."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.INTERNAL)


def to_status(error: errors.SapienceError) -> status_pb2.Status:
    """The rich status of an error."""
    code: int = code_of(error).value[0]
    status = status_pb2.Status(code=code, message=error.message)
    _pack(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message, reason=error.reason
        )
        _pack(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(error.retry_after_s * 1e6))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def trailing(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a rich status."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def passed_on(error: grpc.aio.AioRpcError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata for a caller whose call failed because one that was made for it did.

    What the other service said is said again. Where gRPC itself failed there are no details: nobody answered.
    """
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return ((DETAILS_KEY, value),)
    code: int = error.code().value[0]
    status = status_pb2.Status(code=code, message=error.details() or "")
    _pack(status, error_details_pb2.ErrorInfo(reason=error.code().name, domain=DOMAIN))
    return trailing(status)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The stable reason that another service gave; empty where none did."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def _pack(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
