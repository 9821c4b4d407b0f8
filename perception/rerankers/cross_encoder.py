"""Cross-encoders of Hugging Face: any model that gives a pair of texts one score, by its address.

sentence-transformers loads and runs it. Code that a model brings with it is never run, and nothing is downloaded but by
`core.models.locate` for an `hf:` address. A known family: the MS MARCO cross-encoders (Nogueira and Cho, "Passage
Re-ranking with BERT", 2019, describe the method).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from core.loading import alone
from core.models import ModelAddress, locate
from perception.encoders.sentence import Device, torch_device
from perception.rerankers.base import Reranked, Reranker


class CrossEncoderReranker(Reranker):
    """A cross-encoder in the memory of this process. Safe to use from several threads, one computes at a time."""

    def __init__(
        self, address: ModelAddress, *, device: Device = "auto", threads: int | None = None, batch_size: int = 16
    ) -> None:
        """Finds and loads the model: seconds, so call it on a thread.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE): also
        for a model with more than one score for a pair, which is a classifier and no reranker.
        """
        folder = locate(address)
        place = torch_device(device)
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._set_threads()
        try:
            from sentence_transformers import CrossEncoder

            model = alone(
                CrossEncoder,
                str(folder),
                device=place,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": "float32"},
            )
        except Exception as error:  # whatever a broken folder makes of the libraries below
            raise FailedPrecondition(
                f"{address}: {folder} could not be loaded as a cross-encoder ({type(error).__name__}: {error}); "
                "check that it is a whole sequence-classification model, or get it again",
                reason="MODEL_LOAD_FAILED",
            ) from error
        if model.num_labels != 1:
            raise FailedPrecondition(
                f"{address} gives {model.num_labels} scores for a pair, a reranker 1; name a model trained to rank",
                reason="MODEL_LOAD_FAILED",
            )
        self._model = model.eval()
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self.address = address
        self.device = place
        self.max_tokens = int(model.max_seq_length or model.tokenizer.model_max_length)
        self.parameters = sum(weight.numel() for weight in model.parameters())

    def score(self, question: str, texts: Sequence[str]) -> Reranked:
        """See Reranker. Scores are the model's logits: an activation would only squeeze what is compared."""
        import torch

        if not question.strip():
            raise InvalidArgument("the question is blank; give the words that are looked for", field="question")
        for place, text in enumerate(texts):
            if not text.strip():
                raise InvalidArgument(f"text {place} of {len(texts)} is blank; leave it out", field=f"texts[{place}]")
        if not texts:
            return Reranked(np.empty(0), 0)
        pairs = [(question, text) for text in texts]
        with self._lock:
            self._set_threads()
            lengths = self._model.tokenizer(pairs, truncation=False, padding=False, verbose=False)["input_ids"]
            scores = self._model.predict(
                pairs,
                batch_size=self._batch_size,
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
                convert_to_numpy=True,
            )
        if not np.isfinite(scores).all():
            raise FailedPrecondition(
                f"{self.address} gave a score that is not finite; its weights are damaged: get them again",
                reason="MODEL_OUTPUT_INVALID",
            )
        return Reranked(np.asarray(scores, np.float64), sum(len(one) > self.max_tokens for one in lengths))

    def _set_threads(self) -> None:
        """For the calling thread: OpenMP keeps the number for each."""
        import torch

        torch.set_num_threads(self._threads)
