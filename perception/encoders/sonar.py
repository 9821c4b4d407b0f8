"""SONAR's text encoder by transformers: an M2M100 encoder whose outputs are averaged.

The same vectors as sonar-space and fairseq2 give, to 1e-5 (`make test-sonar` holds it), from a folder that
`perception.sonar.converting` wrote. The vector of a text is the mean of the encoder's outputs over all its tokens, the
language and the end among them (Duquenne et al. 2023, arXiv 2308.11466, section 3).

A text of more than 250 characters is cut and its pieces' vectors are averaged: see `perception.encoders.joining`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from typing import Any

import numpy as np

from core.models import ModelAddress
from core.nouns import Float32
from perception.encoders.base import Encoded, MultilingualEncoder
from perception.encoders.joining import MAX_CHARS, joined, pieces_of
from perception.encoders.sentence import Device
from perception.sonar.loading import loaded
from perception.sonar.vocabulary import PAD

_MAX_TOKENS = 512
"""What the official encoder was built for. Two more are its language and end; 250 characters are never so many."""


class SonarEncoder(MultilingualEncoder):
    """SONAR's text encoder in this process. Safe to use from several threads, one computes at a time."""

    def __init__(
        self,
        address: ModelAddress,
        *,
        device: Device = "auto",
        threads: int | None = None,
        batch_tokens: int = 2048,
        accepted: Set[str] = frozenset(),
    ) -> None:
        """Loads the model: seconds, so call it on a thread. A batch is at most `batch_tokens`, padding counted.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, LICENCE_NOT_ACCEPTED,
        DEVICE_UNAVAILABLE).
        """
        half = loaded(
            address, "encoder", _architecture, device=device, threads=threads, accepted=accepted
        )  # fmt: skip
        self.device, self._threads = half.device, half.threads
        self._vocabulary, self._model = half.vocabulary, half.model
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self.address = address
        self.licence = half.description.licence
        self.space = half.description.named_space
        self.mean_length = half.description.mean_length
        self.max_tokens = _MAX_TOKENS
        self.parameters = half.parameters

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that it reads."""
        return self._vocabulary.languages

    def encode(self, texts: Sequence[str], *, query: bool = False, language: str = "") -> Encoded:
        """See MultilingualEncoder."""
        token = self._vocabulary.language(language)
        pieces, owners = pieces_of(texts, MAX_CHARS)
        if not pieces:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0, np.empty(0, np.float32))
        with self._lock:
            own = self.own_vectors([self._vocabulary.source(piece, token) for piece in pieces])
        return joined(own, owners, len(texts), self.space)

    def own_vectors(self, tokens: Sequence[Sequence[int]]) -> Float32:
        """The vectors [texts, dimensions] as the model gives them, of token sequences of `Vocabulary.source`."""
        import torch

        torch.set_num_threads(self._threads)  # for the calling thread: OpenMP keeps the number for each
        vectors = np.empty((len(tokens), self.space.dimensions), np.float32)
        with torch.inference_mode():
            for places in self._batches(tokens):
                rows = [torch.tensor(tokens[place]) for place in places]
                ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(self.device)
                mask = (ids != PAD).to(torch.float32)
                states = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
                mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                vectors[places] = mean.cpu().numpy()
        return vectors

    def _batches(self, tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of texts of about one length, so that little is computed for padding."""
        batch: list[int] = []
        for place in sorted(range(len(tokens)), key=lambda one: len(tokens[one]), reverse=True):
            if batch and (len(batch) + 1) * len(tokens[batch[0]]) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(place)
        yield batch


def _architecture() -> Any:
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

    return M2M100Encoder
