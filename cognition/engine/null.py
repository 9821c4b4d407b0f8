"""A language model that computes nothing, to measure the runtime around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from cognition.engine.base import Finished, LanguageModel, Piece, Prompt, Request, StopReason, ThoughtState


class NullLanguageModel(LanguageModel):
    """Answers every prompt at once with the same text in a fixed number of pieces.

    It is for benchmarks of the transport and the services, where a model's time would hide theirs. It is no stand-in
    for a model in tests of answers: what it says means nothing.
    """

    name = "null"
    context_tokens = 2**20

    def __init__(self, pieces: int = 16, text: str = "null ") -> None:
        self._pieces = [Piece(text)] * pieces

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finished, None]:
        """Yields the pieces, at most `new_tokens` of them, without ever giving way to the event loop."""
        pieces = self._pieces[: request.new_tokens]
        for piece in pieces:
            yield piece
        reason = StopReason.DONE if request.new_tokens > len(pieces) else StopReason.TOKENS
        yield Finished(reason, self._prompt_tokens(request), len(pieces))

    def _prompt_tokens(self, request: Request) -> int:
        prompt = request.prompt
        return len(prompt.prompt) if isinstance(prompt, ThoughtState) else self.count_tokens(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        """One token for each word."""
        texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
        return sum(len(text.split()) for text in texts)

    def close(self) -> None:
        """Nothing to end."""
