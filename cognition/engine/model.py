"""Causal language models by address: weights, tokenizer and limits, ready to compute.

Any model that transformers can load as AutoModelForCausalLM works: a Hugging Face folder or repository as it is, a GGUF
file after a conversion that is kept (`cognition.engine.gguf`). Code that a model brings with it is never run.

On a CPU the number format is chosen by a short measurement, kept in the cache: bfloat16 is much faster where the
processor computes in it, and much slower where it does not.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cognition.engine.base import Prompt
from cognition.engine.gguf import converted
from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress, locate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16"]

_NO_LIMIT = 2**20
"""Context of a model that states none, in tokens."""
_WORTH_IT = 0.9
"""float32 is exact, so bfloat16 must take less than this part of its time to be chosen."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model in memory. Not thread-safe: one thread at a time computes with it."""

    name: str
    address: ModelAddress
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context_tokens: int
    end_tokens: frozenset[int]
    """Tokens that end a text."""
    keeps_last_logits: bool
    """Whether the model can compute the logits of the last position alone."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt: a text with the tokenizer's own special tokens, a chat by its template."""
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt, verbose=False)["input_ids"])
        if not self.tokenizer.chat_template:
            raise InvalidArgument(f"{self.address} has no chat template; give the prompt as one text", field="prompt")
        chat = [{"role": message.role, "content": message.content} for message in prompt]
        try:
            text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template may refuse a chat, by any error it likes
            raise InvalidArgument(f"the chat template of {self.address} refuses it: {error}", field="prompt") from error
        # The template writes the special tokens itself.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, without special tokens."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


def load_model(
    address: ModelAddress, *, cache_dir: Path, device: Device = "auto", dtype: DType = "auto"
) -> LoadedModel:
    """Loads a model: seconds, and once some 20 s for a GGUF file, so call it on a thread.

    Raises what `core.models.locate` and `converted` raise, and FailedPrecondition (MODEL_LOAD_FAILED,
    DEVICE_UNAVAILABLE).
    """
    folder = locate(address)
    if folder.is_file():
        folder = converted(folder, cache_dir)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition(
            "the device cuda was asked for, but torch sees no GPU; set the device to auto or cpu",
            reason="DEVICE_UNAVAILABLE",
        )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except Exception as error:  # whatever a broken folder makes of the libraries below
        raise FailedPrecondition(
            f"{address}: {folder} could not be loaded as a causal language model ({error}); check that it is whole, or "
            "download it again",
            reason="MODEL_LOAD_FAILED",
        ) from error
    module.eval().requires_grad_(False)
    if dtype == "bfloat16" or (dtype == "auto" and on_gpu):
        module.to(torch.bfloat16)
    elif dtype == "auto":
        module.to(_measured_dtype(module, folder, cache_dir))
    if on_gpu:
        module.to("cuda")
    return LoadedModel(
        name=address.short_name,
        address=address,
        module=module,
        tokenizer=tokenizer,
        context_tokens=_context(module.config, tokenizer),
        end_tokens=_end_tokens(module, tokenizer),
        keeps_last_logits="logits_to_keep" in inspect.signature(module.forward).parameters,
    )


def _context(config: Any, tokenizer: Any) -> int:
    stated = getattr(config.get_text_config(), "max_position_embeddings", None) or tokenizer.model_max_length
    return int(min(stated, _NO_LIMIT))


def _end_tokens(module: Any, tokenizer: Any) -> frozenset[int]:
    stated = module.generation_config.eos_token_id if module.generation_config else None
    ends = stated if isinstance(stated, list) else [stated]
    return frozenset(int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None)


def _measured_dtype(module: Any, folder: Path, cache_dir: Path) -> torch.dtype:
    """The faster of float32 and bfloat16 for one token after another, as measured here once."""
    import torch

    setting = [str(folder), platform.node(), torch.__version__, torch.get_num_threads(), os.cpu_count()]
    key = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
    kept = cache_dir / "models" / f"dtype-{key}.json"
    if kept.is_file():
        try:
            return torch.bfloat16 if json.loads(kept.read_text())["dtype"] == "bfloat16" else torch.float32
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s); measuring again", kept, error)
    seconds = {}
    for name in ("bfloat16", "float32"):
        module.to(getattr(torch, name))
        seconds[name] = _seconds_per_token(module)
    fastest = "bfloat16" if seconds["bfloat16"] < _WORTH_IT * seconds["float32"] else "float32"
    logger.info("%s computes in %s here; seconds a token: %s", folder.name, fastest, seconds)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"dtype": fastest, "seconds_per_token": seconds}))
    except OSError as error:
        logger.warning(
            "the choice of %s could not be kept in %s (%s); it is measured at every start", fastest, kept, error
        )
    return torch.bfloat16 if fastest == "bfloat16" else torch.float32


def _seconds_per_token(module: Any) -> float:
    """The least of a few steps: what else runs on the machine only adds."""
    import torch

    with torch.inference_mode():
        cache = module(torch.zeros((1, 64), dtype=torch.long), use_cache=True).past_key_values
        token = torch.zeros((1, 1), dtype=torch.long)
        least = float("inf")
        for _ in range(8):
            started = time.perf_counter()
            module(token, past_key_values=cache, use_cache=True)
            least = min(least, time.perf_counter() - started)
    return least
