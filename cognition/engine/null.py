"""A language model that computes nothing, to measure the runtime around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from cognition.engine.base import Finished, LanguageModel, Piece, Prompt, Sampling, StopReason, check_request


class NullLanguageModel(LanguageModel):
    """Answers every prompt at once with the same text in a fixed number of pieces.

    It is for benchmarks of the transport and the services, where a model's time would hide theirs. It is no stand-in
    for a model in tests of answers: what it says means nothing.
    """

    name = "null"
    context_tokens = 2**20

    def __init__(self, pieces: int = 16, text: str = "null ") -> None:
        self._pieces = [Piece(text)] * pieces

    async def generate(
        self,
        prompt: Prompt,
        *,
        new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        deadline_s: float | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[Piece | Finished, None]:
        """Yields the pieces, at most `new_tokens` of them, without ever giving way to the event loop."""
        check_request(prompt, new_tokens, deadline_s, stop)
        Sampling(temperature, top_p, seed)
        pieces = self._pieces[:new_tokens]
        for piece in pieces:
            yield piece
        reason = StopReason.DONE if new_tokens > len(pieces) else StopReason.TOKENS
        yield Finished(reason, self.count_tokens(prompt), len(pieces))

    def count_tokens(self, prompt: Prompt) -> int:
        """One token for each word."""
        texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
        return sum(len(text.split()) for text in texts)

    def close(self) -> None:
        """Nothing to end."""
