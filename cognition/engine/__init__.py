"""What computes thoughts: language models, loaded by address and run on a thread of their own.

Importing this package imports no torch; `cognition.engine.loading` is imported when a model is loaded:

    model = loaded(address, cache_dir=...)
"""

from cognition.engine.base import (
    Constraint,
    ConstraintKind,
    Finished,
    LanguageModel,
    LatentStep,
    Message,
    Mode,
    Piece,
    Request,
    Sampling,
    StopReason,
    StopRule,
    Thinking,
    ThoughtState,
)
from cognition.engine.null import NullLanguageModel

__all__ = [
    "Constraint",
    "ConstraintKind",
    "Finished",
    "LanguageModel",
    "LatentStep",
    "Message",
    "Mode",
    "NullLanguageModel",
    "Piece",
    "Request",
    "Sampling",
    "StopReason",
    "StopRule",
    "Thinking",
    "ThoughtState",
]
