"""The language models that are trained: loaded by address, or made new, with the tokens that thoughts are written with.

    wheel:…, hf:…, file:/…     a model of transformers, as everywhere (`core.models`)
    new:4x256                  a GPT-2 shape of 4 layers and width 256 with random weights, and a tokenizer whose tokens
                               are the words of the task: for runs that fit a CPU

The three marker tokens are added where the tokenizer lacks them. Their embeddings begin as that of `<<`, as in Coconut,
or, where a tokenizer has no such token, as the mean of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cognition.latent.curriculum import Markers
from core.errors import FailedPrecondition, InvalidArgument, SapienceError
from core.loading import alone
from core.models import ModelAddress, locate

START, LATENT, END = "<|start-latent|>", "<|latent|>", "<|end-latent|>"
STOP, UNKNOWN, PADDING = "<|endoftext|>", "<|unknown|>", "<|padding|>"
HEAD_SIZE = 64
POSITIONS = 1024

_NEW = re.compile(r"new:(\d+)x(\d+)")
_WORDS = r"\n| ?###| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]"
"""A token of a new model: a word with the space before it, a digit, a sign. Joined, tokens are the text again."""


class Projection(nn.Sequential):
    """CODI's projection of thoughts (arXiv 2502.21074, section 3): an MLP, then a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states to rows of input, both [..., width]."""
        return self.norm(self[2](self[1](self[0](hidden))))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model of transformers, its tokenizer, and the ids of its markers."""

    model: Any
    tokenizer: Any
    markers: Markers
    is_new: bool

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids of parts of rows, without special tokens."""
        return list(self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids; markers are left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def is_new(address: str) -> bool:
    """Whether an address asks for a model to be made."""
    return address.startswith("new:")


def load(address: str, texts: Callable[[], Iterable[str]], *, cache_dir: Path, seed: int = 0) -> TextModel:
    """Loads or makes a model in float32 on the CPU; `texts` are those that a new tokenizer is made for.

    Raises InvalidArgument for an address that is none, what `core.models.locate` raises, and FailedPrecondition
    (MODEL_LOAD_FAILED) for a folder that transformers cannot load.
    """
    if is_new(address):
        match = _NEW.fullmatch(address)
        if not match or not int(match[1]) or int(match[2]) % HEAD_SIZE or not int(match[2]):
            raise InvalidArgument(
                f"{address!r} makes no model; write new:LAYERSxWIDTH with a width that {HEAD_SIZE} divides, such as "
                "new:4x256",
                field="model",
            )
        return _made(int(match[1]), int(match[2]), word_tokenizer(texts()), seed)
    return _loaded(ModelAddress.parse(address), cache_dir)


def word_tokenizer(texts: Iterable[str]) -> Any:
    """A tokenizer whose tokens are the words of some texts, with the space before them; others are unknown to it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: place for place, word in enumerate([PADDING, UNKNOWN, STOP, START, LATENT, END, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([PADDING, UNKNOWN, STOP, START, LATENT, END])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=STOP, unk_token=UNKNOWN, pad_token=PADDING, model_max_length=POSITIONS
    )


def add_markers(model: Any, tokenizer: Any) -> Markers:
    """Adds what is missing of the three markers to a tokenizer and a model; gives the ids of all.

    Raises FailedPrecondition (MODEL_UNSUPPORTED) for a tokenizer that knows no token to end a text with.
    """
    if tokenizer.eos_token_id is None:
        raise FailedPrecondition(
            "the model's tokenizer names no token that ends a text; set eos_token in its tokenizer_config.json",
            reason="MODEL_UNSUPPORTED",
            field="model",
        )
    known = tokenizer.get_vocab()
    missing = [token for token in (START, LATENT, END) if token not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        # From here on the rows are set, so transformers need not draw them.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    vocabulary = tokenizer.get_vocab()
    new = [vocabulary[token] for token in missing]
    like = known.get("<<")
    with torch.no_grad():
        for table in {
            id(part.weight): part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())
        }.values():
            table[new] = table[like] if like is not None else table[: len(known)].mean(0)
    return Markers(vocabulary[START], vocabulary[LATENT], vocabulary[END], int(tokenizer.eos_token_id))


def _made(layers: int, width: int, tokenizer: Any, seed: int) -> TextModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    stop = int(tokenizer.eos_token_id)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=width, n_layer=layers, n_head=width // HEAD_SIZE,
        # A few passes over a task's data leave nothing to hold back from.
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=stop, eos_token_id=stop,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    vocabulary = tokenizer.get_vocab()
    return TextModel(model, tokenizer, Markers(vocabulary[START], vocabulary[LATENT], vocabulary[END], stop), True)


def _loaded(address: ModelAddress, cache_dir: Path) -> TextModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    folder = locate(address)
    if folder.is_file():
        from cognition.engine.gguf import converted

        folder = converted(folder, cache_dir)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = alone(AutoModelForCausalLM.from_pretrained, folder, dtype=torch.float32, local_files_only=True)
        return TextModel(model, tokenizer, add_markers(model, tokenizer), False)
    except SapienceError:
        raise
    except Exception as error:  # whatever a broken folder makes of the library below
        raise FailedPrecondition(
            f"{address}: {folder} could not be loaded as a causal language model ({type(error).__name__}: {error})",
            reason="MODEL_LOAD_FAILED",
            field="model",
        ) from error
