"""Sapience: remember, recall and ask, over gRPC.

    import sapience

    with sapience.connect() as mind:
        mind.remember("Nora moved to Bremen in March.", speaker="Felix")
        print(mind.ask("Where does Nora live?").text)

`connect` finds the local daemon (`sapience up` starts it) or the services that SAPIENCE_ADDRESS names. `sapience.aio`
is the same on asyncio, `sapience.errors` says what can go wrong, and `sapience.v1` is the contract itself, for those
who want the messages.
"""

from __future__ import annotations

from sapience import aio, errors
from sapience.aio import AsyncClient, AsyncStream
from sapience.client import Client, Stream, connect
from sapience.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SapienceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from sapience.plain import to_dict
from sapience.types import (
    Answer,
    Archived,
    AsOf,
    Budget,
    ChannelScore,
    ChatMessage,
    Check,
    Citation,
    Concept,
    DraftRetracted,
    Entity,
    Episode,
    Event,
    Expiry,
    Fact,
    Forgotten,
    Hit,
    ImportResult,
    Interval,
    Keeping,
    Model,
    ModelKind,
    Namespace,
    NewEpisode,
    Precision,
    Recalled,
    RecallPage,
    Remembered,
    Retained,
    ServiceStatus,
    SourceKind,
    Stats,
    StopReason,
    SystemStatus,
    Tensor,
    Thawed,
    Thought,
    TimelineEntry,
    TimelinePage,
    Token,
    Trace,
    TracedHit,
    Usage,
    Verdict,
    Wording,
)

__all__ = [
    "AlreadyExists", "Answer", "Archived", "AsOf", "AsyncClient", "AsyncStream", "Budget", "Cancelled", "ChannelScore",
    "ChatMessage", "Check", "Citation", "Client", "Concept", "DeadlineExceeded", "DraftRetracted", "Entity", "Episode",
    "Event", "Expiry", "Fact", "FailedPrecondition", "Forgotten", "Hit", "ImportResult", "Internal", "Interval",
    "InvalidArgument", "Keeping", "Model", "ModelKind", "Namespace", "NewEpisode", "NotFound", "PermissionDenied",
    "Precision", "RecallPage", "Recalled", "Remembered", "ResourceExhausted", "Retained", "SapienceError",
    "ServiceStatus", "SourceKind", "Stats", "StopReason", "Stream", "SystemStatus", "Tensor", "Thawed", "Thought",
    "TimelineEntry", "TimelinePage", "Token", "Trace", "TracedHit", "Unauthenticated", "Unavailable", "Unimplemented",
    "Usage", "Verdict", "Wording", "aio", "connect", "errors", "to_dict",
]  # fmt: skip
