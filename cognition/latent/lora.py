"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) by the peft library, for models too large to train whole.

The adapters of all linear layers learn, and with them the rows of the embedding that stand for new tokens; everything
else stays as it was. Needs the extra `training`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import FailedPrecondition

ADAPTER = "adapter"
"""The folder beside merged weights that holds the adapter alone, as peft writes it."""


def adapt(model: Any, *, rank: int, scale: float, new_tokens: Sequence[int]) -> Any:
    """Puts adapters of a rank into a model, in place; returns peft's wrapper, which saves and merges them.

    Raises FailedPrecondition (LIBRARY_MISSING) where peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise FailedPrecondition(
            "LoRA needs the peft library; install sapience[training], or train the whole model with a rank of 0",
            reason="LIBRARY_MISSING",
            field="lora_rank",
        ) from None
    config = LoraConfig(
        r=rank,
        lora_alpha=scale,  # type: ignore[arg-type]  # it multiplies by any number
        target_modules="all-linear",
        fan_in_fan_out=model.config.model_type == "gpt2",  # its linear layers keep [in, out]
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, config)
    table = model.get_input_embeddings().weight
    learnt = torch.zeros(len(table), 1, dtype=table.dtype, device=table.device)
    learnt[list(new_tokens)] = 1.0
    table.requires_grad_(True)
    # Other rows get a gradient of 0, which AdamW without weight decay leaves exactly where they are.
    table.register_hook(lambda gradient: gradient * learnt)
    return wrapped


def merged(wrapped: Any) -> Any:
    """A copy of the model with the adapters added to its weights. The one that learns stays as it is, to the bit."""
    return copy.deepcopy(wrapped).merge_and_unload()


def save(wrapped: Any, folder: Path) -> None:
    """Writes the adapter alone into a folder, in peft's layout."""
    wrapped.save_pretrained(folder / ADAPTER, save_embedding_layers=False)


def undecayed(wrapped: Any) -> list[Tensor]:
    """The parameters that must not decay: the embedding, most rows of which are to stay."""
    return [wrapped.get_base_model().get_input_embeddings().weight]
