"""Questions about graphs for the engine: what a model of symbols is given, and what its one token says.

Such a model (`models/prosqa-latent`) reads no text. Its questions are those of ProsQA, written as they are there; a
chat is asked by its last message. The answer is one token out of two, since the question names both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cognition.engine.base import Prompt, ThoughtState
from cognition.engine.prompts import PromptEncoder
from cognition.engine.thought import Encoded, Input
from cognition.latent.tasks.prosqa import fact
from cognition.latent.tasks.prosqa_rows import GraphTokenizer
from core.errors import InvalidArgument


class GraphEncoder(PromptEncoder):
    """Encodes questions for a model with so many symbols."""

    words = False

    def __init__(self, symbols: int) -> None:
        self._tokenizer = GraphTokenizer(symbols)

    def encode(self, prompt: Prompt) -> Encoded:
        """See PromptEncoder. Raises InvalidArgument for what is no question of ProsQA."""
        graph = self._tokenizer.encode(prompt if isinstance(prompt, str) else prompt[-1].content)
        return Encoded(
            rows=list(graph.rows),
            suffix=(graph.answer_row,),
            decode=_sentences(graph.answer),
            symbols=graph.symbols,
            allowed=graph.allowed,
            most_tokens=1,
        )

    def continued(self, state: ThoughtState, rows: list[Input], suffix: tuple[Input, ...]) -> Encoded:
        """See PromptEncoder. The words are those that the state keeps."""
        vocabulary = self._tokenizer.vocabulary
        starts = [row.ids for row in state.prompt if row.ids[:1] == (vocabulary.start_type,)]
        if len(state.symbols) != vocabulary.size or len(starts) != 1 or len(starts[0]) != 2:
            raise InvalidArgument("the Thought has no words for its symbols; begin from the question", field="prompt")
        root = state.symbols[starts[0][1]]

        def answer(token: int) -> str:
            word = state.symbols[token]
            return fact(root, word) if word else ""

        return Encoded(rows, suffix, _sentences(answer), state.symbols, state.allowed, most_tokens=1)

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """See PromptEncoder: symbols have no text of their own."""
        return [f"#{token}" for token in tokens]


def _sentences(answer: Callable[[int], str]) -> Callable[[list[int]], str]:
    return lambda tokens: " ".join(filter(None, map(answer, tokens)))
