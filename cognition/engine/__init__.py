"""What computes thoughts: language models, loaded by address and run on a thread of their own.

Importing this package imports no torch; `load_language_model` does.
"""

from cognition.engine.base import Finished, LanguageModel, Message, Piece, StopReason
from cognition.engine.null import NullLanguageModel

__all__ = ["Finished", "LanguageModel", "Message", "NullLanguageModel", "Piece", "StopReason"]
