"""SONAR's text decoder by transformers: an M2M100 decoder that attends to one vector.

The same logits as sonar-space and fairseq2 give, to 1e-4, and the same texts (`make test-sonar` holds it), from a
folder that `perception.sonar.converting` wrote. The beam search is fairseq2's: five beams, scores divided by lengths,
the language's own score counted, an end after as many finished texts as beams.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

from core.models import ModelAddress
from core.nouns import Float32
from perception.decoders.base import Decoder
from perception.encoders.sentence import Device
from perception.sonar.loading import loaded
from perception.sonar.vocabulary import EOS, PAD

if TYPE_CHECKING:
    import torch

BEAMS = 5
MAX_NEW_TOKENS = 129
"""As many as fairseq2 writes at most for a source of one vector."""
_PROMPT = 2
"""The end, which begins every text, and the language."""


class SonarDecoder(Decoder):
    """SONAR's text decoder in this process. Safe to use from several threads, one computes at a time."""

    def __init__(
        self,
        address: ModelAddress,
        *,
        device: Device = "auto",
        threads: int | None = None,
        batch_size: int = 8,
        accepted: Set[str] = frozenset(),
    ) -> None:
        """Loads the model: seconds, so call it on a thread.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, LICENCE_NOT_ACCEPTED,
        DEVICE_UNAVAILABLE).
        """
        half = loaded(
            address, "decoder", _architecture, device=device, threads=threads, accepted=accepted
        )  # fmt: skip
        self.device, self._threads = half.device, half.threads
        self._vocabulary, self._model = half.vocabulary, half.model
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self.address = address
        self.licence = half.description.licence
        self.space = half.description.named_space
        self.mean_length = half.description.mean_length
        self.parameters = half.parameters

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that it writes."""
        return self._vocabulary.languages

    def decode(self, vectors: Float32, *, language: str = "") -> Sequence[str]:
        """See Decoder."""
        token = self._vocabulary.language(language)
        with self._lock:
            return [
                self._vocabulary.text(tokens)
                for start in range(0, len(vectors), self._batch_size)
                for tokens in self._written(vectors[start : start + self._batch_size], token)
            ]

    def logits(self, vector: Float32, tokens: Sequence[int]) -> Float32:
        """The logits [tokens, vocabulary] after each of `tokens`, where they begin with the end and the language."""
        import torch

        with self._lock, torch.inference_mode():
            found = self._model(encoder_outputs=self._memory(vector[None]), decoder_input_ids=self._row(tokens)[None])
            logits: Float32 = found.logits[0].cpu().numpy()
            return logits

    def _written(self, vectors: Float32, language: int) -> list[list[int]]:
        import torch
        from transformers import LogitsProcessorList

        most = min(_PROMPT + MAX_NEW_TOKENS, self._model.config.max_position_embeddings)

        def as_fairseq2(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """The language first and the end last, each at its own score; <pad> is never written."""
            only = {1: language, most - 1: EOS}.get(tokens.shape[1])
            if only is None:
                masked = scores.clone()
                masked[:, PAD] = -torch.inf
            else:
                masked = torch.full_like(scores, -torch.inf)
                masked[:, only] = scores[:, only]
            return masked

        torch.set_num_threads(self._threads)  # for the calling thread: OpenMP keeps the number for each
        with torch.inference_mode():
            found = self._model.generate(
                encoder_outputs=self._memory(vectors),
                logits_processor=LogitsProcessorList([as_fairseq2]),
                num_beams=BEAMS,
                do_sample=False,
                early_stopping=True,
                length_penalty=1.0,
                max_length=most,
                decoder_start_token_id=EOS,
                pad_token_id=PAD,
                eos_token_id=EOS,
            )
        rows: list[list[int]] = [row[_PROMPT:] for row in found.tolist()]
        return [row[: row.index(EOS)] if EOS in row else row for row in rows]

    def _memory(self, vectors: Float32) -> object:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=torch.from_numpy(vectors).to(self.device)[:, None])

    def _row(self, tokens: Sequence[int]) -> torch.Tensor:
        import torch

        return torch.tensor(list(tokens), device=self.device)


def _architecture() -> Any:
    from transformers import M2M100ForConditionalGeneration

    return M2M100ForConditionalGeneration
