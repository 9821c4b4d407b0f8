"""How near decoding comes to the limit that memory sets: bytes a token has to read, beside a measured copy.

A step of one row reads every weight once, and the keys and values of its sequence. So no token can come faster than
these bytes at the speed of memory. What that speed is, a copy of a large tensor says on the same device in the same
run; of a copy, bytes read and bytes written both count.
"""

from __future__ import annotations

import time

import torch

from cognition.engine.cache import KeyValueCache
from cognition.engine.decoder import Batch, Chunk
from cognition.engine.graphs import Graphs
from cognition.engine.model import DecoderModel

_CONTEXT, _STEPS = 256, 64
_COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 28}
_ROUNDS = 5


def bandwidth_part(model: DecoderModel) -> dict[str, float]:
    """Decodes by itself on the model's device; gives the part of the copy's speed, and both in GB/s."""
    cache = KeyValueCache(model.decoder.config, 1, 2 * _CONTEXT, model.device)
    copied = max(_copy_speed(model.device) for _ in range(_ROUNDS))
    seconds = min(_decoding(model, cache) for _ in range(_ROUNDS)) / _STEPS
    element = cache.layers[0].element_size()
    read = model.decoder.step_bytes + model.decoder.config.cache_bytes(_CONTEXT + _STEPS // 2, element)
    return {
        "bandwidth_part_b1": read / seconds / copied,
        "decoding_gb_per_s": read / seconds / 1e9,
        "copy_gb_per_s": copied / 1e9,
    }


def _copy_speed(device: str) -> float:
    source = torch.ones(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    _wait(device)
    began = time.perf_counter()
    target.copy_(source)
    _wait(device)
    return 2 * source.nbytes / (time.perf_counter() - began)


@torch.inference_mode()
def _decoding(model: DecoderModel, cache: KeyValueCache) -> float:
    """Seconds for some greedy tokens after a prompt; on a GPU by graphs, as the engine does."""
    decoder = model.decoder
    graphs = Graphs(decoder, cache) if model.device == "cuda" else None

    def step(rows: torch.Tensor, at: int) -> torch.Tensor:
        chunk = [Chunk(0, at, 1)]
        if graphs is not None:
            return graphs.step(rows, chunk)
        return decoder.forward(rows, Batch(chunk, decoder.config, decoder.device), cache, None)

    prompt = [Chunk(0, 0, _CONTEXT)]
    ids = torch.arange(_CONTEXT, device=decoder.device) % decoder.config.vocabulary
    last = torch.tensor([_CONTEXT - 1], device=decoder.device)
    hidden = decoder.forward(decoder.embed(ids), Batch(prompt, decoder.config, decoder.device), cache, last)
    for at in range(3):  # a graph is captured in the first
        hidden = step(decoder.embed(decoder.logits(hidden).argmax(-1)), _CONTEXT + at)
    _wait(model.device)
    began = time.perf_counter()
    for at in range(_STEPS):
        hidden = step(decoder.embed(decoder.logits(hidden).argmax(-1)), _CONTEXT + at)
    _wait(model.device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
