"""What computes thoughts: language models, loaded by address and run on a thread of their own.

Importing this package imports no torch; `cognition.engine.runner` is imported when a model is loaded:

    runner = LanguageModelRunner(load_model(address, cache_dir=...))
"""

from cognition.engine.base import Finished, LanguageModel, Message, Piece, StopReason
from cognition.engine.null import NullLanguageModel

__all__ = ["Finished", "LanguageModel", "Message", "NullLanguageModel", "Piece", "StopReason"]
