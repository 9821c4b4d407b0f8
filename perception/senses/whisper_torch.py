"""Whisper on transformers: any checkpoint in the layout of the Hugging Face Hub.

The same words as `perception.senses.whisper` gives of the same weights, several times slower. What it does not do:
align words with the audio; each piece of a word gets its share of the window by its place, so times are rough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from core.loading import alone
from core.nouns import Float32
from perception.senses.audio import RATE
from perception.senses.mel import log_mel
from perception.senses.weights import threads_or_half
from perception.senses.whisper import (
    BEAMS,
    MOST_TOKENS,
    Said,
    TokenBytes,
    Whisper,
    language_codes,
    repeats,
    said,
)


class TorchWhisper(Whisper):
    """A WhisperForConditionalGeneration in the memory of this process."""

    def __init__(self, folder: Path, *, device: str = "auto", threads: int | None = None, beams: int = BEAMS) -> None:
        from tokenizers import Tokenizer
        from transformers import WhisperForConditionalGeneration

        self._threads = threads_or_half(threads)
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        model: Any = alone(
            WhisperForConditionalGeneration.from_pretrained, str(folder), local_files_only=True, dtype=torch.float32
        )
        self._model: Any = model.eval().to(self.device)
        self.parameters = sum(weight.numel() for weight in self._model.parameters())
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._bytes = TokenBytes(self._tokenizer)
        self._beams = beams
        self._bands = int(self._model.config.num_mel_bins)
        codes = frozenset(language_codes(self._tokenizer))
        self._multilingual = bool(getattr(self._model.generation_config, "is_multilingual", len(codes) > 1))
        self._codes = codes if self._multilingual else frozenset({"en"})
        self._start = self._id("<|startoftranscript|>")
        self._end = self._id("<|endoftext|>")

    def languages(self) -> frozenset[str]:
        """See Whisper."""
        return self._codes

    def detect(self, samples: Float32) -> str:
        """See Whisper."""
        if not self._multilingual:
            return "en"
        ids = {self._id(f"<|{code}|>"): code for code in sorted(self._codes)}
        with torch.inference_mode():
            torch.set_num_threads(self._threads)
            start = torch.tensor([[self._start]], device=self.device)
            logits = self._model(input_features=self._features(samples), decoder_input_ids=start).logits[0, -1]
        return ids[max(ids, key=lambda one: float(logits[one]))]

    def words(self, samples: Float32, language: str) -> Said:
        """See Whisper."""
        start = [self._start]
        if self._multilingual:
            start += [self._id(f"<|{language}|>"), self._id("<|transcribe|>")]
        start.append(self._id("<|notimestamps|>"))
        with torch.inference_mode():
            torch.set_num_threads(self._threads)
            features = self._features(samples)
            ids = self._generated(features, start)
            if repeats(self._tokenizer.decode(ids)):
                ids = self._generated(features, start, no_repeat_ngram_size=3)
            if not ids:
                return Said("", ())
            given = torch.tensor([[*start, *ids]], device=self.device)
            logits = self._model(input_features=features, decoder_input_ids=given).logits[0, len(start) - 1 : -1]
            chances = logits.softmax(-1).gather(1, torch.tensor(ids, device=self.device)[:, None])[:, 0].tolist()
        share = len(samples) / RATE / len(ids)
        return said(self._bytes, ids, [place * share for place in range(len(ids) + 1)], chances)

    def _generated(self, features: Any, start: Sequence[int], **options: Any) -> list[int]:
        """Beam search by the model's own class, past Whisper's `generate`, which cuts and repeats windows by itself."""
        from transformers import GenerationConfig
        from transformers.generation.utils import GenerationMixin

        told = self._model.generation_config
        wanted = GenerationConfig(  # type: ignore[no-untyped-call]
            num_beams=self._beams,
            do_sample=False,
            max_new_tokens=MOST_TOKENS - len(start),
            eos_token_id=self._end,
            pad_token_id=self._end,
            decoder_start_token_id=self._start,
            suppress_tokens=getattr(told, "suppress_tokens", None),
            begin_suppress_tokens=getattr(told, "begin_suppress_tokens", None),
            **options,
        )
        given = torch.tensor([list(start)], device=self.device)
        found = GenerationMixin.generate(
            self._model, input_features=features, decoder_input_ids=given, generation_config=wanted
        )
        signs = min(self._start, self._end)
        ids: list[int] = found[0, len(start) :].tolist()
        return [one for one in ids if one < signs]

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"its tokenizer has no {token}")
        return found

    def _features(self, samples: Float32) -> Any:
        return torch.from_numpy(log_mel(samples, self._bands)[None]).to(self.device)
