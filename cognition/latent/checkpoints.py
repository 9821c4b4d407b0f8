"""Trained models as folders that the engine serves, and checkpoints of the Coconut code made into such folders.

A folder is in the Hugging Face layout, with two additions: `latent` in config.json says how the model thinks

    {"mode": "hidden" | "projected" | "pause", "steps": 6, "start_token": …, "pause_token": …, "end_token": …,
     "projection": false, "thoughts_per_step": 1, "trained": "coconut"}

and latent.safetensors, where thoughts are projected, holds the projection as `feedback.{0,2}` and `feedback.norm`.
Adapters are merged into the weights and lie beside them too. Models without thoughts have no `latent`.

The Coconut code saves a torch state dict: `base_causallm.*` are the tensors of transformers' GPT2LMHeadModel with three
more tokens (start, end and latent, in that order, after the 50,257), `embedding.weight` its embedding once more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cognition.latent import lora
from cognition.latent.curriculum import MARKED, Markers, Mode
from cognition.latent.textmodel import END, LATENT, START, Projection
from core.errors import FailedPrecondition, InvalidArgument, NotFound

EXTRAS = "latent.safetensors"
_SERVED: dict[Mode, str] = {"coconut": "hidden", "projected": "projected", "pause": "pause"}
"""What the engine calls each mode of training that has thoughts."""

_PREFIX, _EMBEDDING = "base_causallm.", "embedding.weight"


def latent_config(mode: Mode, steps: int, thoughts_per_step: int, markers: Markers) -> dict[str, Any] | None:
    """What config.json says of thoughts; None for a model that has none."""
    if mode not in MARKED:
        return None
    return {
        "mode": _SERVED[mode],
        "steps": steps,
        "start_token": markers.start,
        "pause_token": markers.latent,
        "end_token": markers.end,
        "projection": mode == "projected",
        "thoughts_per_step": thoughts_per_step,
        "trained": mode,
    }


def save(
    folder: Path,
    model: Any,
    tokenizer: Any,
    latent: dict[str, Any] | None,
    *,
    projection: Projection | None = None,
    adapter: Any = None,
) -> None:
    """Writes a model of transformers, or peft's wrapper `adapter` around it, as a folder that the engine serves."""
    from safetensors.torch import save_file
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if adapter is not None:
        lora.save(adapter, folder)
        model = lora.merged(adapter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | ({"latent": latent} if latent else {})
    path.write_text(json.dumps(config, indent=2) + "\n")
    if projection is not None:
        save_file(
            {f"feedback.{name}": one.detach().cpu() for name, one in projection.state_dict().items()}, folder / EXTRAS
        )


def read_coconut(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint that the Coconut code saved, under transformers' names.

    Nothing in the file is run. Raises NotFound, FailedPrecondition (CHECKPOINT_BROKEN) for a file that holds more than
    tensors or is cut, and InvalidArgument naming the tensor for one of another layout.
    """
    if not path.is_file():
        raise NotFound(f"{path} is no file", reason="FILE_NOT_FOUND", field="checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or a wicked file raises whatever the unpickler meets first
        raise FailedPrecondition(
            f"{path} cannot be read as tensors ({type(error).__name__}: {error})",
            reason="CHECKPOINT_BROKEN",
            field="checkpoint",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise InvalidArgument(f"{path} is no state dict: it holds other things than tensors", field="checkpoint")
    # DistributedDataParallel and FSDP put this before every name.
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    weights = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    stray = sorted(set(state) - {_PREFIX + name for name in weights} - {_EMBEDDING})
    if not weights and "transformer.wte.weight" in state:  # of the stages without thoughts: the model alone
        weights, stray = state, []
    if stray:
        raise InvalidArgument(f"{path}: {stray[0]} is no tensor of a Coconut checkpoint", field="checkpoint")
    for name in ("transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.attn.c_attn.weight"):
        if name not in weights:
            raise InvalidArgument(f"{path}: {_PREFIX}{name} is missing; only GPT-2 is read", field="checkpoint")
    return weights


def convert_coconut(
    path: Path,
    folder: Path,
    tokenizer: Any,
    *,
    steps: int,
    thoughts_per_step: int = 1,
    heads: int = 12,
) -> Path:
    """Makes a checkpoint of the Coconut code into a folder that the engine serves with `steps` thoughts.

    `tokenizer` is that of the model that was trained, as transformers loads it; the markers are added to it, in the
    order of that code, if it lacks them. A state dict does not say how many `heads` share its width: GPT-2 has 12.

    Raises what `read_coconut` raises, and InvalidArgument where tokenizer or heads do not fit the tensors.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    weights = read_coconut(path)
    table = weights["transformer.wte.weight"]
    known = tokenizer.get_vocab()
    missing = [token for token in (START, END, LATENT) if token not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    if len(tokenizer) != len(table):
        raise InvalidArgument(
            f"the tokenizer has {len(tokenizer)} tokens with the markers, and {path} has {len(table)}; give the "
            "tokenizer of the model that was trained",
            field="tokenizer",
        )
    if table.shape[1] % heads:
        raise InvalidArgument(f"{heads} heads do not divide the width {table.shape[1]} of {path}", field="heads")
    vocabulary, stop = tokenizer.get_vocab(), int(tokenizer.eos_token_id)
    config = GPT2Config(
        vocab_size=len(table),
        n_positions=len(weights["transformer.wpe.weight"]),
        n_embd=table.shape[1],
        n_layer=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("transformer.h.")),
        n_head=heads,
        bos_token_id=stop,
        eos_token_id=stop,
    )
    model = GPT2LMHeadModel(config)
    # Old transformers kept the causal mask as tensors too.
    weights = {
        name: tensor for name, tensor in weights.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    absent, unexpected = model.load_state_dict(weights, strict=False)
    wrong = [name for name in absent if name != "lm_head.weight"] + list(unexpected)
    if wrong:
        raise InvalidArgument(f"{path}: {_PREFIX}{wrong[0]} is missing or unexpected in a GPT-2", field="checkpoint")
    markers = Markers(vocabulary[START], vocabulary[LATENT], vocabulary[END], stop)
    save(folder, model, tokenizer, latent_config("coconut", steps, thoughts_per_step, markers))
    return folder
