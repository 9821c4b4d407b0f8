"""The transformers path against fairseq2 on the same tiny checkpoints: vectors, logits and texts.

What fairseq2 gives is left in a folder, so that the main environment's transformers, which is another version, is held
to the same numbers: tests/unit/test_sonar_reference.py, by `make test-sonar`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import HEADS, LANGUAGES, MAX_TOKENS, sentences

from core.models import ModelAddress
from perception.decoders.sonar import SonarDecoder
from perception.encoders.sonar import SonarEncoder
from perception.sonar.converting import convert
from perception.sonar.vocabulary import EOS, FAIRSEQ2_ROWS

LINES = [*sentences(30, seed=7), "dog", "The weather in Zürich?"]


def to_hf(tokens: torch.Tensor) -> list[int]:
    return [FAIRSEQ2_ROWS.index(token) if token < 4 else token for token in tokens.tolist()]


@pytest.fixture(scope="module")
def fairseq2(tiny):
    """What fairseq2 makes of sentences, of vectors that no sentence has, and of tokens that are given."""
    from fairseq2.nn import BatchLayout
    from sonar.inference_pipelines.text import EmbeddingToTextModelPipeline, TextToEmbeddingModelPipeline

    read = TextToEmbeddingModelPipeline("tiny_text_encoder", "tiny_text_encoder")
    write = EmbeddingToTextModelPipeline("tiny_text_decoder", "tiny_text_decoder")
    vectors = read.predict(LINES, source_lang="eng_Latn")
    strange = vectors.norm(dim=1).mean() / 8 * torch.randn(40, 64, generator=torch.Generator().manual_seed(1))
    every = torch.cat([vectors, strange])
    encode = write.tokenizer.create_encoder(lang="deu_Latn", mode="target")
    logits, tokens = [], []
    with torch.inference_mode():
        for line, vector in zip(LINES[:8], vectors, strict=False):
            given = encode(line)[None]
            memory = vector[None, None]
            states = write.model.decoder.decode(given, BatchLayout.of(given), memory, BatchLayout.of(memory))
            found = write.model.decoder.project(states)[0]
            rows = torch.arange(found.shape[1])
            rows[:4] = torch.tensor(FAIRSEQ2_ROWS)
            logits.append(found[:, rows].numpy())
            tokens.append(to_hf(given[0]))
    return {
        "vectors": every.numpy(),
        "texts": {code: write.predict(every, target_lang=code) for code in LANGUAGES},
        "tokens": tokens,
        "logits": logits,
    }


@pytest.fixture(scope="module")
def folders(tiny, handed, fairseq2):
    """Both converted models; and the reference, left beside them."""
    found = convert(
        handed / "converted", pieces=tiny.pieces, encoder=tiny.encoder, decoder=tiny.decoder, languages=LANGUAGES,
        space=("tiny", "1"), licence="CC0-1.0", heads=HEADS, max_tokens=MAX_TOKENS,
    )  # fmt: skip
    np.savez(
        handed / "reference.npz", vectors=fairseq2["vectors"],
        **{f"logits{at}": one for at, one in enumerate(fairseq2["logits"])},
    )  # fmt: skip
    kept = {"lines": LINES, "texts": fairseq2["texts"], "tokens": fairseq2["tokens"]}
    (handed / "reference.json").write_text(json.dumps(kept))
    return found


@pytest.fixture(scope="module")
def encoder(folders):
    return SonarEncoder(ModelAddress("file", str(Path(folders["encoder"]).resolve())), device="cpu", threads=1)


@pytest.fixture(scope="module")
def decoder(folders):
    return SonarDecoder(ModelAddress("file", str(Path(folders["decoder"]).resolve())), device="cpu", threads=1)


def test_vectors_agree(encoder, fairseq2):
    found = encoder.encode(LINES, language="eng_Latn")
    own = found.vectors * found.lengths[:, None]
    np.testing.assert_allclose(own, fairseq2["vectors"][: len(LINES)], atol=1e-5, rtol=0)


def test_logits_agree(decoder, fairseq2):
    for vector, tokens, logits in zip(fairseq2["vectors"], fairseq2["tokens"], fairseq2["logits"], strict=False):
        assert tokens[0] == EOS
        np.testing.assert_allclose(decoder.logits(vector, tokens), logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("code", LANGUAGES)
def test_five_beams_write_the_same(decoder, fairseq2, code):
    assert list(decoder.decode(fairseq2["vectors"], language=code)) == fairseq2["texts"][code]
    assert len(set(fairseq2["texts"][code])) > 20, "texts that differ"
