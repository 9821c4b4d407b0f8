"""From prompts to rows: text by a model's tokenizer, and whatever other symbols a model was trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from cognition.engine.architecture import Latent
from cognition.engine.base import Prompt, ThoughtState
from cognition.engine.thought import Encoded, Input
from cognition.engine.tokenizer import ChatTokenizer


class PromptEncoder(ABC):
    """Encodes prompts for one model. Safe to use from several threads."""

    words: bool = True
    """Whether tokens are text, so that text can be constrained."""

    @abstractmethod
    def encode(self, prompt: Prompt) -> Encoded:
        """Raises InvalidArgument for what the model cannot read."""

    @abstractmethod
    def continued(self, state: ThoughtState, rows: list[Input], suffix: tuple[Input, ...]) -> Encoded:
        """A state's own prompt, whose rows and suffix are given as the engine has them."""

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """The text of each token by itself, for people."""
        return [str(token) for token in tokens]


class TextEncoder(PromptEncoder):
    """Text and chats. A model that was trained to think gets the tokens that stand around its thoughts."""

    def __init__(self, tokenizer: ChatTokenizer, latent: Latent) -> None:
        self._tokenizer = tokenizer
        self._before: list[Input] = [] if latent.start_token is None else [latent.start_token]
        self._suffix: tuple[Input, ...] = () if latent.end_token is None else (latent.end_token,)

    def encode(self, prompt: Prompt) -> Encoded:
        """See PromptEncoder."""
        ids: list[Input] = list(self._tokenizer.encode(prompt))
        return Encoded(ids + self._before if ids else [], self._suffix, self._tokenizer.decode)

    def continued(self, state: ThoughtState, rows: list[Input], suffix: tuple[Input, ...]) -> Encoded:
        """See PromptEncoder."""
        return Encoded(rows, suffix, self._tokenizer.decode)

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """See PromptEncoder."""
        return [self._tokenizer.decode([token]) for token in tokens]
