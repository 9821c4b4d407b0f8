"""Every error that Sapience raises on purpose.

    SapienceError
    ├── InvalidArgument       a field is wrong: `field` names it
    ├── NotFound              a namespace, Episode, Fact, Trace or model that is not there
    ├── AlreadyExists         a name or request_id that is taken
    ├── FailedPrecondition    right in itself, but not in this state (another vector space, a full disk)
    ├── PermissionDenied      no right to it, whether or not it exists
    ├── Unauthenticated       no token, or a wrong one
    ├── ResourceExhausted     too much at once: try again after `retry_after_s`
    ├── Unavailable           a store or a service does not answer: try again
    └── NotYet                a part that this version does not have

Each class stands for one gRPC status; `reason` is stable and in UPPER_SNAKE_CASE, for programs. The message is for
people: it names the offending value and says how to mend it.
"""

from __future__ import annotations


class SapienceError(Exception):
    """The base of all of them.

    `reason` is the stable name of this cause; `field` the path of the request field at fault, if one is.
    """

    def __init__(self, message: str, *, reason: str, field: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(SapienceError):
    """A value is wrong whatever the state of the system."""

    def __init__(self, message: str, *, field: str, reason: str = "INVALID_FIELD") -> None:
        super().__init__(message, reason=reason, field=field)


class NotFound(SapienceError):
    """What was named is not there."""


class AlreadyExists(SapienceError):
    """What was to be made is there already."""


class FailedPrecondition(SapienceError):
    """The request is right in itself, but not in the state the system is in."""


class PermissionDenied(SapienceError):
    """The caller has no right to it."""


class Unauthenticated(SapienceError):
    """The caller has not shown who it is."""


class ResourceExhausted(SapienceError):
    """A limit is reached; `retry_after_s` says when to try again."""


class Unavailable(SapienceError):
    """Something needed does not answer; trying again is safe."""


class NotYet(SapienceError):
    """This version does not have that part."""

    def __init__(self, message: str, *, reason: str = "NOT_YET") -> None:
        super().__init__(message, reason=reason)
