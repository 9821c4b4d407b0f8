"""Causal language models by address: weights, tokenizer and limits, ready to compute.

Any model that transformers can load as AutoModelForCausalLM works: a Hugging Face folder or repository as it is, a GGUF
file after a conversion that is kept (`cognition.engine.gguf`). GPT-2, the Llama family and this project's own
checkpoints run on `cognition.engine.decoder`, many Thoughts at once and with latent steps; what was converted here
starts without transformers, too. Code that a model brings with it is never run.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cognition.engine.architecture import DecoderConfig, Unsupported, described
from cognition.engine.gguf import converted
from cognition.engine.memory import Room, reserved, stored_numbers
from cognition.engine.precision import Precision, measured
from cognition.engine.tokenizer import ChatTokenizer, FolderTokenizer, TransformersTokenizer
from core.errors import FailedPrecondition, SapienceError
from core.loading import alone
from core.models import ModelAddress, locate

if TYPE_CHECKING:
    from torch import Tensor

    from cognition.engine.cache import KeyValueCache
    from cognition.engine.decoder import Decoder
    from cognition.engine.precision import Choice
    from cognition.engine.products import Formats
    from cognition.engine.prompts import PromptEncoder

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]

_SMALL = 8_000_000
"""Numbers of a model that is exact for nothing: in float32 it fits into a processor's cache."""
_NO_LIMIT = 2**20
"""Context of a model that states none, in tokens."""


class CausalModel(ABC):
    """A causal language model in memory. One thread at a time computes with it."""

    name: str
    address: ModelAddress
    tokenizer: ChatTokenizer
    context_tokens: int
    end_tokens: frozenset[int]
    """Tokens that end a text."""
    precision: Precision
    device: str
    parameters: int
    """How many numbers it has learned."""
    threads: int
    """Those that torch computes with on a CPU; to be set on the thread that computes."""

    @abstractmethod
    def step(self, ids: list[int], state: Any) -> tuple[Tensor, Any]:
        """Computes tokens on top of a state (None: an empty one), which it takes over.

        Returns the logits of the last token, shape [vocabulary], and the state that holds these tokens too.
        """

    @abstractmethod
    def cropped(self, state: Any, length: int, to: int) -> bool:
        """Shortens a state of `length` tokens to its first `to`; False, and the state is lost, if that can't be."""


class TransformersModel(CausalModel):
    """A model of the transformers library."""

    def __init__(self, folder: Path, *, device: str, precision: Precision) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        module: Any = alone(
            AutoModelForCausalLM.from_pretrained, folder, dtype=getattr(torch, precision), local_files_only=True
        )
        self._module = module.eval().requires_grad_(False).to(device)
        self.parameters = int(module.num_parameters())
        self.tokenizer = TransformersTokenizer(tokenizer)
        limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        self.context_tokens = int(min(limit or tokenizer.model_max_length, _NO_LIMIT))
        self.end_tokens = _end_tokens(module.generation_config.eos_token_id) | self.tokenizer.end_tokens
        parameters = inspect.signature(module.forward).parameters
        self._options = {"use_cache": True} | ({"logits_to_keep": 1} if "logits_to_keep" in parameters else {})

    def step(self, ids: list[int], state: Any) -> tuple[Tensor, Any]:
        """See CausalModel. The state is the cache that the model itself makes."""
        import torch

        tokens = torch.tensor([ids], device=self._module.device)
        output = self._module(tokens, past_key_values=state, **self._options)
        return output.logits[0, -1], output.past_key_values

    def cropped(self, state: Any, length: int, to: int) -> bool:
        """See CausalModel. Only full attention can go back: a window or a recurrent state has forgotten."""
        from transformers.cache_utils import DynamicLayer

        layers = getattr(state, "layers", ())
        if not layers or not all(type(layer) is DynamicLayer for layer in layers):
            return False
        if to < length:
            state.crop(to - length)
        return True


class DecoderModel:
    """A model that `cognition.engine.decoder` computes, and the room for its Thoughts: what an Engine runs."""

    name: str
    address: ModelAddress
    device: str
    precision: Precision
    threads: int

    def __init__(
        self,
        decoder: Decoder,
        room: Room,
        encoder: PromptEncoder,
        end_tokens: frozenset[int],
        tokenizer: ChatTokenizer | None = None,
    ) -> None:
        self.decoder, self.encoder = decoder, encoder
        self.end_tokens, self.tokenizer = end_tokens, tokenizer
        self.slots, self.context_tokens = room.slots, room.context
        self.memory_bytes = decoder.nbytes + room.cache

    def new_cache(self) -> KeyValueCache:
        """Keys and values of as many Thoughts as there is room for."""
        import torch

        from cognition.engine.cache import KeyValueCache

        kind = torch.float32 if self.precision == "float32" else torch.bfloat16
        return KeyValueCache(self.decoder.config, self.slots, self.context_tokens, self.device, kind)


def load_model(
    address: ModelAddress,
    *,
    cache_dir: Path,
    device: Device = "auto",
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    plain: bool = True,
    slots: int | None = None,
    context: int | None = None,
) -> DecoderModel | TransformersModel:
    """Loads a model: seconds, and once some 20 s for a GGUF file, so call it on a thread.

    `precision` auto is float32 for a small model, bfloat16 on a GPU, and the fastest on a CPU, by a measurement that
    is kept; quantised, what a file holds in four bits stays so where that is faster (for few rows), beside bfloat16.
    `threads` are torch's on a CPU, by default half the cores, so that the loop, the stores and the encoder have
    theirs. `slots` Thoughts compute at once, each of up to `context` rows; by default what a quarter of the free memory
    holds. `plain` False uses transformers even where the decoder would do, to compare the two.

    Raises what `core.models.locate` and `converted` raise, and FailedPrecondition (MODEL_LOAD_FAILED,
    MODEL_TOO_LARGE, DEVICE_UNAVAILABLE).
    """
    folder = locate(address)
    is_ours = folder.is_file()
    if is_ours:
        folder = converted(folder, cache_dir)
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition(
            "the device cuda was asked for, but torch sees no GPU; set the device to auto or cpu",
            reason="DEVICE_UNAVAILABLE",
        )
    place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
    torch.set_num_threads(threads)
    model: DecoderModel | TransformersModel
    try:
        if precision == "auto" and 0 < stored_numbers(folder) <= _SMALL:
            precision = "float32"
        choice = None if place == "cuda" or precision == "float32" else measured(cache_dir)
        if precision == "auto":
            precision = "bfloat16" if choice is None else choice.precision(quantised=is_ours and plain)
        if place == "cuda" and precision == "quantised":
            precision = "bfloat16"
        config = _decoder_config(folder) if plain else None
        if config is not None:
            room = reserved(folder, config, precision, place, slots, context)
            logger.info("loading %s: %s", address, room)
            if room.short:
                raise FailedPrecondition(
                    f"{address} does not fit: {room}; free some, or load a smaller one", reason="MODEL_TOO_LARGE"
                )
            formats = None if place == "cuda" else _formats(choice, precision, cache_dir)
            model = _decoder_model(folder, config, room, place, precision, formats, is_ours)
        else:
            if precision == "quantised":
                precision = "bfloat16" if choice is None else choice.full
            model = TransformersModel(folder, device=place, precision=precision)
    except SapienceError:
        raise
    except Exception as error:  # whatever a broken folder makes of the libraries below
        raise FailedPrecondition(
            f"{address}: {folder} could not be loaded as a causal language model ({type(error).__name__}: {error}); "
            + ("delete that folder, and it is made again" if is_ours else "check that it is whole, or get it again"),
            reason="MODEL_LOAD_FAILED",
        ) from error
    model.name, model.address = address.short_name, address
    model.device, model.precision, model.threads = place, precision, threads
    return model


def _decoder_config(folder: Path) -> DecoderConfig | None:
    """What the decoder would compute; None where transformers has to."""
    if not any(folder.glob("*.safetensors")):
        return None
    try:
        return described(json.loads((folder / "config.json").read_text()))
    except Unsupported as reason:
        logger.info("%s runs on transformers, without batches and latent steps: %s", folder.name, reason)
        return None


def _decoder_model(
    folder: Path,
    config: DecoderConfig,
    room: Room,
    device: str,
    precision: Precision,
    formats: Formats | None,
    is_ours: bool,
) -> DecoderModel:
    import torch

    from cognition.engine import weights
    from cognition.engine.decoder import Decoder
    from cognition.engine.prompts import TextEncoder

    # What is quantised shows its grid only in float32.
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    decoder = Decoder(config, weights.read(folder, config, lambda tensor: tensor.to(kind).to(device)), formats)
    told: dict[str, Any] = json.loads((folder / "config.json").read_text())
    if symbols := told.get("symbols"):
        from cognition.latent.served import GraphEncoder

        return DecoderModel(decoder, room, GraphEncoder(symbols["count"]), frozenset())
    tokenizer: ChatTokenizer
    if is_ours or config.own:
        tokenizer = FolderTokenizer(folder)
    else:
        from transformers import AutoTokenizer

        tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    ends = _end_tokens(told.get("eos_token_id")) | _generation_ends(folder) | tokenizer.end_tokens
    return DecoderModel(decoder, room, TextEncoder(tokenizer, config.latent), ends, tokenizer)


def _formats(choice: Choice | None, precision: Precision, cache_dir: Path) -> Formats:
    """How matrices are held on a CPU, and what is compiled for it."""
    from cognition.engine.native import load
    from cognition.engine.products import Formats

    native = load(cache_dir)
    return Formats(native=native) if choice is None else choice.formats(precision, native)


def _generation_ends(folder: Path) -> frozenset[int]:
    file = folder / "generation_config.json"
    return _end_tokens(json.loads(file.read_text()).get("eos_token_id")) if file.is_file() else frozenset()


def _end_tokens(stated: int | list[int] | None) -> frozenset[int]:
    return frozenset(stated if isinstance(stated, list) else [] if stated is None else [stated])
