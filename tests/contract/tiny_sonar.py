"""Tiny SONAR checkpoints with random weights, written by hand in the names of fairseq2 and of fairseq before it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.models import ModelAddress
from perception.sonar.converting import convert

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn")
DIMENSIONS, LAYERS, HEADS, INNER, MAX_TOKENS = 32, 2, 4, 48, 24
WORDS = "the a cat dog house runs sleeps eats red blue big small under over near river tree bird sings flies".split()


@dataclass(frozen=True)
class TinySonar:
    encoder: Path
    decoder: Path
    pieces: Path


def checkpoint(part: str, rows: int) -> dict[str, Any]:
    """Random weights by fairseq2's names."""
    layers: dict[str, tuple[int, ...]] = {}
    blocks = ["self_attn"] if part == "encoder" else ["self_attn", "encoder_decoder_attn"]
    for layer in range(LAYERS):
        at = f"{part}.layers.{layer}"
        for block in blocks:
            for name in ("q_proj", "k_proj", "v_proj", "output_proj"):
                layers[f"{at}.{block}.{name}.weight"] = (DIMENSIONS, DIMENSIONS)
                layers[f"{at}.{block}.{name}.bias"] = (DIMENSIONS,)
            layers[f"{at}.{block}_layer_norm.weight"] = layers[f"{at}.{block}_layer_norm.bias"] = (DIMENSIONS,)
        layers[f"{at}.ffn.inner_proj.weight"], layers[f"{at}.ffn.inner_proj.bias"] = (INNER, DIMENSIONS), (INNER,)
        layers[f"{at}.ffn.output_proj.weight"] = (DIMENSIONS, INNER)
        layers[f"{at}.ffn.output_proj.bias"] = (DIMENSIONS,)
        layers[f"{at}.ffn_layer_norm.weight"] = layers[f"{at}.ffn_layer_norm.bias"] = (DIMENSIONS,)
    norm = "layer_norm" if part == "encoder" else "decoder.layer_norm"
    layers[f"{norm}.weight"] = layers[f"{norm}.bias"] = (DIMENSIONS,)
    draw = torch.Generator().manual_seed(len(part))
    found = {name: torch.randn(shape, generator=draw) * 0.3 for name, shape in layers.items()}
    found[f"{part}_frontend.embed.weight"] = torch.randn(rows, DIMENSIONS, generator=draw) * DIMENSIONS**-0.5
    if part == "decoder":
        found["final_proj.weight"] = found["decoder_frontend.embed.weight"].clone()
    return found


def make(folder: Path) -> TinySonar:
    folder.mkdir(parents=True)
    draw = random.Random(0)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(draw.choices(WORDS, k=6)) for _ in range(500)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "pieces"), vocab_size=90, model_type="bpe", unk_id=0, bos_id=1,
        eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    pieces = folder / "pieces.model"
    rows = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).get_piece_size() + 1 + len(LANGUAGES) + 3
    for part in ("encoder", "decoder"):
        torch.save({"model": checkpoint(part, rows)}, folder / f"{part}.pt")
    return TinySonar(folder / "encoder.pt", folder / "decoder.pt", pieces)


def converted(tiny: TinySonar, out: Path, **changed: Any) -> Path:
    options: dict[str, Any] = {
        "pieces": tiny.pieces, "encoder": tiny.encoder, "decoder": tiny.decoder, "languages": LANGUAGES,
        "space": ("tiny", "1"), "licence": "CC0-1.0", "heads": HEADS, "max_tokens": MAX_TOKENS,
    }  # fmt: skip
    convert(out, **options | changed)
    return out


def address(folder: Path) -> ModelAddress:
    return ModelAddress("file", str(folder.resolve()))
