"""SONAR's official checkpoints to folders that transformers loads: other names, four rows in another order.

A checkpoint is a file of torch, read with `weights_only`, so that nothing in it runs. Two forms are known: that of
fairseq2, which sonar-space writes ("encoder_frontend.embed.weight"), and that of fairseq before it
("embed_tokens.weight" under "state_dict"), whose rows and names are almost Hugging Face's. Every weight has to find its
place and no place may stay empty; else it raises, and writes nothing.

It converts text encoders and text decoders. Speech encoders run by sonar-space only.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import AlreadyExists, FailedPrecondition, NotFound
from core.models import ModelAddress
from perception.decoders.sonar import SonarDecoder
from perception.encoders.sonar import SonarEncoder
from perception.sonar.catalogue import NON_COMMERCIAL, SAMPLE, SPACE
from perception.sonar.folder import PIECES, Description, Part
from perception.sonar.vocabulary import ALL_LANGUAGES, BOS, EOS, FAIRSEQ2_ROWS, PAD, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

_FAIRSEQ2 = (
    (re.compile(r"^(?:encoder|decoder)_frontend\.embed\."), "embed_tokens."),
    (re.compile(r"^(?:encoder|decoder)\.(layers|layer_norm)\."), r"\1."),
    (re.compile(r"\.encoder_decoder_attn(_layer_norm)?\."), r".encoder_attn\1."),
    (re.compile(r"_attn\.output_proj\."), "_attn.out_proj."),
    (re.compile(r"\.ffn\.inner_proj\."), ".fc1."),
    (re.compile(r"\.ffn\.output_proj\."), ".fc2."),
    (re.compile(r"\.ffn_layer_norm\."), ".final_layer_norm."),
    (re.compile(r"^(?:final_proj|output_projection)\."), "lm_head."),
)
_IGNORED = re.compile(r"^(?:version|embed_positions\..*|.*\.pos_encoder\..*)$")
_LAYER = re.compile(r"^layers\.(\d+)\.")


def convert(
    out: Path,
    *,
    pieces: Path,
    encoder: Path | None = None,
    decoder: Path | None = None,
    languages: Sequence[str] = ALL_LANGUAGES,
    default_language: str = "eng_Latn",
    space: tuple[str, str] = (SPACE.name, SPACE.version),
    licence: str = NON_COMMERCIAL,
    heads: int = 16,
    max_tokens: int = 512,
) -> dict[Part, Path]:
    """Writes `out`/encoder and `out`/decoder, as far as their checkpoints are given, for `file:` addresses.

    `pieces` is the SentencePiece model. What a checkpoint does not say is given: the languages in the order of their
    tokens, the attention heads, the longest text in tokens. Vectors of the encoder are measured for their usual length,
    which the decoder's description keeps too.

    Raises AlreadyExists (FOLDER_EXISTS), NotFound (MODEL_NOT_FOUND), and FailedPrecondition (MODEL_LOAD_FAILED) for
    files that are no such checkpoints.
    """
    for path in (pieces, encoder, decoder):
        if path is not None and not path.is_file():
            raise NotFound(f"there is no file {path}", reason="MODEL_NOT_FOUND")
    parts: dict[Part, Path] = {}
    if encoder is not None:
        parts["encoder"] = encoder
    if decoder is not None:
        parts["decoder"] = decoder
    for part in parts:
        if (out / part).exists():
            raise AlreadyExists(f"{out / part} is there; remove it, or name another folder", reason="FOLDER_EXISTS")
    out.mkdir(parents=True, exist_ok=True)
    length = 0.0
    written: dict[Part, Path] = {}
    for part, checkpoint in parts.items():
        with tempfile.TemporaryDirectory(dir=out) as made:
            folder = Path(made) / part
            folder.mkdir()
            shutil.copyfile(pieces, folder / PIECES)
            dimensions = _write(part, checkpoint, folder, heads, max_tokens, languages, default_language)
            about = Description(
                part, *space, dimensions, licence, tuple(languages), default_language, mean_length=length
            )
            about.write(folder)
            if part == "encoder":
                length = _usual_length(folder, licence)
                replace(about, mean_length=length).write(folder)
            else:
                # Loaded as it will be: a weight that is missing is told now.
                SonarDecoder(ModelAddress("file", str(folder.resolve())), device="cpu", accepted={licence})
            folder.rename(out / part)
        written[part] = out / part
    return written


def renamed(part: Part, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A checkpoint's weights by the names and rows of M2M100's encoder or decoder alone, without a prefix.

    Raises ValueError for a checkpoint that is in neither form.
    """
    import torch

    state = state.get("model", state)
    state = state.get("state_dict", state)
    fairseq2 = f"{part}_frontend.embed.weight" in state
    if not fairseq2 and "embed_tokens.weight" not in state:
        some = ", ".join(list(state)[:3])
        raise ValueError(f"it has no {part}_frontend.embed.weight and no embed_tokens.weight, but {some}, …")
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if _IGNORED.match(name):
            continue
        for pattern, written in _FAIRSEQ2:
            name = pattern.sub(written, name)
        found[name] = value
    if fairseq2:
        rows = torch.arange(len(found["embed_tokens.weight"]))
        rows[: len(FAIRSEQ2_ROWS)] = torch.tensor(FAIRSEQ2_ROWS)
        for name in {"embed_tokens.weight", "lm_head.weight"} & found.keys():
            found[name] = found[name][rows]
    if (head := found.pop("lm_head.weight", None)) is not None and not torch.equal(head, found["embed_tokens.weight"]):
        raise ValueError("what the decoder writes with is not its embeddings; SONAR's are one")
    return found


def _write(
    part: Part, checkpoint: Path, folder: Path, heads: int, max_tokens: int, languages: Sequence[str], default: str
) -> int:
    """Writes the configuration and the weights; returns the dimensions."""
    import torch
    from safetensors.torch import save_file
    from transformers import M2M100Config

    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        weights = renamed(part, state)
        rows, dimensions = weights["embed_tokens.weight"].shape
        vocabulary = Vocabulary(folder / PIECES, languages, default)
        if rows != vocabulary.size:
            raise ValueError(
                f"it has {rows} embeddings; the pieces and {len(languages)} languages are {vocabulary.size}"
            )
        if dimensions % heads:
            raise ValueError(f"its {dimensions} dimensions are not a multiple of {heads} heads")
        layers = 1 + max(int(match[1]) for name in weights if (match := _LAYER.match(name)))
        inner = len(weights["layers.0.fc1.weight"])
    except Exception as error:  # whatever torch and sentencepiece make of files that are something else
        raise FailedPrecondition(
            f"{checkpoint} could not be read as a checkpoint of SONAR's text {part} ({type(error).__name__}: {error})",
            reason="MODEL_LOAD_FAILED",
        ) from error
    config = M2M100Config(
        vocab_size=rows,
        d_model=dimensions,
        encoder_layers=layers if part == "encoder" else 0,
        decoder_layers=layers if part == "decoder" else 0,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=max_tokens,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
    )
    if part == "encoder":
        config.architectures = ["M2M100Encoder"]
    else:
        config.architectures = ["M2M100ForConditionalGeneration"]
        embeddings = weights.pop("embed_tokens.weight")
        weights = {f"model.decoder.{name}": value for name, value in weights.items()}
        weights["model.shared.weight"] = embeddings
        # The class has an encoder too. It is left empty: an encoder of no layers is a norm, and is never run.
        weights["model.encoder.layer_norm.weight"] = torch.ones(dimensions)
        weights["model.encoder.layer_norm.bias"] = torch.zeros(dimensions)
    config.save_pretrained(folder)
    save_file(
        {name: value.float().contiguous() for name, value in weights.items()},
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )
    return int(dimensions)


def _usual_length(folder: Path, licence: str) -> float:
    encoder = SonarEncoder(ModelAddress("file", str(folder.resolve())), device="cpu", accepted={licence})
    lengths = encoder.encode(SAMPLE).lengths
    assert lengths is not None
    return round(float(np.mean(lengths)), 6)
