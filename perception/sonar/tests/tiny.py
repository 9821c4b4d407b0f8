"""Tiny SONAR models in fairseq2's own form: real architectures, a SentencePiece model of 30 words, weights made here.

Text encoder and decoder are trained together for some steps, so that what is decoded are words and the beams differ.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn")
HEADS, MAX_TOKENS = 4, 128
_DIMENSIONS, _LAYERS, _INNER = 64, 2, 128
_WORDS = (
    "the a cat dog house runs sleeps eats red blue big small under over near river tree bird sings flies quickly "
    "slowly man woman child reads writes book letter"
).split()


@dataclass(frozen=True)
class Tiny:
    """Where it all is; `assets` is for FAIRSEQ2_USER_ASSET_DIR."""

    folder: Path

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder.pt"

    @property
    def decoder(self) -> Path:
        return self.folder / "decoder.pt"

    @property
    def pieces(self) -> Path:
        return self.folder / "pieces.model"


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(_WORDS) for _ in range(draw.randint(3, 10))) for _ in range(count)]


def make(folder: Path) -> Tiny:
    """Writes the vocabulary, the checkpoints with random weights, and the cards."""
    import sentencepiece
    from fairseq2.data.tokenizers import VocabularyInfo
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.w2vbert import W2VBertConfig
    from sonar.models.sonar_speech import SonarSpeechEncoderConfig
    from sonar.models.sonar_speech.factory import SonarSpeechEncoderFactory
    from sonar.models.sonar_text import (
        SonarTextDecoderConfig,
        SonarTextDecoderFactory,
        SonarTextEncoderConfig,
        SonarTextEncoderFactory,
    )

    tiny = Tiny(folder)
    tiny.assets.mkdir(parents=True)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(sentences(3000)))
    # The layout of NLLB: unk 0, bos 1, eos 2, no pad; fairseq2 puts that before them.
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "pieces"), vocab_size=200, model_type="bpe", unk_id=0, bos_id=1,
        eos_id=2, pad_id=-1, hard_vocab_limit=False, character_coverage=1.0, minloglevel=2, num_threads=1,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tiny.pieces)).get_piece_size()
    size = pieces + 1 + len(LANGUAGES) + 3
    words = VocabularyInfo(size=size, unk_idx=1, bos_idx=2, eos_idx=3, pad_idx=1)
    common: dict[str, Any] = {
        "model_dim": _DIMENSIONS, "max_seq_len": MAX_TOKENS, "vocab_info": words, "num_encoder_layers": _LAYERS,
        "num_decoder_layers": _LAYERS, "num_encoder_attn_heads": HEADS, "num_decoder_attn_heads": HEADS,
        "ffn_inner_dim": _INNER,
    }  # fmt: skip
    torch.manual_seed(0)
    encoder = SonarTextEncoderConfig(**common, pooling="mean", _from_fairseq=True)
    decoder = SonarTextDecoderConfig(
        **common, activation_fn="ReLU", no_scale_embedding=False, no_token_positional_embeddings=False,
        learned_pos=False, emb_dropout_p=0.1, attention_dropout_p=0.1, activation_dropout_p=0.1, normalize_before=True,
    )  # fmt: skip
    # The factories change the configuration that they are given.
    save(SonarTextEncoderFactory(copy.deepcopy(encoder)).create_model(), tiny.encoder)
    save(SonarTextDecoderFactory(copy.deepcopy(decoder)).create_model(), tiny.decoder)
    waves = W2VBertConfig().w2v2_config.encoder_config
    waves.model_dim, waves.num_encoder_layers, waves.num_encoder_attn_heads = _DIMENSIONS, _LAYERS, HEADS
    waves.ffn_inner_dim, waves.max_seq_len = _INNER, 1024
    speech = SonarSpeechEncoderConfig(
        w2v2_encoder_config=waves, final_dropout_p=0.1, model_dim=_DIMENSIONS, max_seq_len=1024, pad_idx=1, bos_idx=2,
        num_decoder_layers=_LAYERS, num_decoder_attn_heads=HEADS, decoder_norm_order=TransformerNormOrder.POST,
        ffn_inner_dim=_INNER, dropout_p=0.1,
    )  # fmt: skip
    save(SonarSpeechEncoderFactory(speech).create_model(), folder / "speech.pt")
    (tiny.assets / "tiny.yaml").write_text(_cards(folder, size))
    return tiny


def save(model: torch.nn.Module, path: Path) -> None:
    torch.save({"model": model.state_dict()}, path)


def train(tiny: Tiny, steps: int) -> float:
    """Trains encoder and decoder to give a sentence back, and saves them; returns the last loss, in nats a token."""
    from fairseq2.data.tokenizers import load_tokenizer
    from fairseq2.models import load_model
    from fairseq2.nn import BatchLayout
    from sonar.models.sonar_translation import SonarEncoderDecoderModel

    torch.manual_seed(0)
    draw = random.Random(0)
    place = {"device": torch.device("cpu"), "dtype": torch.float32}
    encoder, decoder = load_model("tiny_text_encoder", **place), load_model("tiny_text_decoder", **place)
    tokens = load_tokenizer("tiny_text_encoder")
    read = tokens.create_encoder(lang="eng_Latn", mode="source")
    write = {code: tokens.create_encoder(lang=code, mode="target") for code in LANGUAGES}
    model = SonarEncoderDecoderModel(encoder, decoder).train()
    for module in model.modules():
        for name in ("dropout_p", "p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    lines = sentences(3000)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98))
    loss = torch.tensor(0.0)
    pad = tokens.vocab_info.pad_idx
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (1 - step / steps) + 1e-5
        chosen = draw.sample(lines, 32)
        code = LANGUAGES[step % len(LANGUAGES)]
        # "German" is the sentence backwards, so that another language is other words.
        turned = [" ".join(line.split()[::-1]) if code == "deu_Latn" else line for line in chosen]
        sources, targets = [read(line) for line in chosen], [write[code](line) for line in turned]
        source = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=pad)
        target = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=pad)
        given, wanted = target[:, :-1], target[:, 1:]
        logits = model(
            source, BatchLayout.of(source, [len(one) for one in sources]),
            given, BatchLayout.of(given, [len(one) - 1 for one in targets]),
        )  # fmt: skip
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=pad)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    save(encoder, tiny.encoder)
    save(decoder, tiny.decoder)
    return loss.item()


def _cards(folder: Path, size: int) -> str:
    words = f"{{size: {size}, unk_idx: 1, bos_idx: 2, eos_idx: 3, pad_idx: 1}}"
    text = f"""model_config:
  _set_:
    model_dim: {_DIMENSIONS}
    max_seq_len: {MAX_TOKENS}
    num_encoder_layers: {_LAYERS}
    num_decoder_layers: {_LAYERS}
    num_encoder_attn_heads: {HEADS}
    num_decoder_attn_heads: {HEADS}
    ffn_inner_dim: {_INNER}
    vocab_info: {words}
tokenizer: "file://{folder}/pieces.model"
tokenizer_family: nllb
tokenizer_config:
  _set_:
    default_lang: eng_Latn
    langs: [{", ".join(LANGUAGES)}]
sapience_space: tiny
sapience_licence: CC0-1.0
"""
    return f"""name: tiny_text_encoder
model_family: transformer_encoder
model_arch: basic
checkpoint: "file://{folder}/encoder.pt"
{text}
---

name: tiny_text_decoder
model_family: transformer_decoder
model_arch: basic
checkpoint: "file://{folder}/decoder.pt"
{text}
---

name: tiny_speech_encoder
model_family: sonar_speech
model_arch: english
checkpoint: "file://{folder}/speech.pt"
model_config:
  _set_:
    model_dim: {_DIMENSIONS}
    max_seq_len: 1024
    num_decoder_layers: {_LAYERS}
    num_decoder_attn_heads: {HEADS}
    ffn_inner_dim: {_INNER}
  w2v2_encoder_config:
    _set_:
      model_dim: {_DIMENSIONS}
      max_seq_len: 1024
      num_encoder_layers: {_LAYERS}
      num_encoder_attn_heads: {HEADS}
      ffn_inner_dim: {_INNER}
sapience_space: tiny
sapience_licence: CC0-1.0
"""
