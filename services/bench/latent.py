"""The latent engine against the reference's algorithm and against Hugging Face with a cache, token for token.

The reference recomputes the whole prefix for every thought and every token, row by row, with logits for all positions
(`cognition.latent.oracle`). The setting is fixed: a GPT-2 of 2 layers, 256 wide, 1,000 tokens, random weights; prompts
of 200 rows and fewer, 6 thoughts, 64 tokens; one thread. What is compared is processor time of the whole process, the
event loop and the hand-over included, in turns; the ratio of the medians is told. `tokens_equal` is the part of the
tokens that are the reference's.

`train_speedup` is one training step with the same loss and gradient, as `services.bench.latent_training` says.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cognition.engine.base import Mode, Request, Row, Thinking, ThoughtState
from cognition.engine.engine import Engine
from cognition.engine.model import DecoderModel, load_model
from cognition.latent.oracle import oracle_generate
from core.models import ModelAddress
from services.bench.latent_training import train_speedup
from services.bench.report import Report, versions
from services.cli import show

WIDTH, LAYERS, HEADS, VOCABULARY = 256, 2, 8, 1000
PROMPT, THOUGHTS, TOKENS = 200, 6, 64
BATCH = 16
ROUNDS = 5
"""Of each, in turns. A batch is the reference's longest: it takes one round."""


def run(seed: int) -> Report:
    """Measures; three minutes on one core."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        module, model = _made(Path(folder))
        drawn = random.Random(seed)
        lengths = [PROMPT, *(drawn.randint(PROMPT // 4, PROMPT) for _ in range(BATCH - 1))]
        prompts = [[drawn.randrange(VOCABULARY) for _ in range(length)] for length in lengths]
        engine = Engine(model)
        try:
            figures, equal = _generation(module, engine, model, prompts)
        finally:
            engine.close()
    return Report(
        "latent",
        seed,
        {**figures, "tokens_equal": equal, **train_speedup(seed)},
        settings={
            "layers": LAYERS, "width": WIDTH, "vocabulary": VOCABULARY, "prompt": PROMPT, "thoughts": THOUGHTS,
            "tokens": TOKENS, "batch": BATCH, "threads": 1,
        },
        versions=versions("torch", "transformers"),
    )  # fmt: skip


def _made(folder: Path) -> tuple[Any, DecoderModel]:
    """The same weights as a module of transformers and as a model of the engine."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=512, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    module: Any = GPT2LMHeadModel(config)
    module.eval().requires_grad_(False)
    module.save_pretrained(folder)
    with_tokenizer(folder, VOCABULARY)
    model = load_model(
        ModelAddress.parse(f"file:{folder}"), cache_dir=folder, device="cpu", precision="float32", threads=1,
        slots=BATCH,
    )  # fmt: skip
    assert isinstance(model, DecoderModel)
    return module, model


def with_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer that is never asked: prompts are given as rows."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({str(number): number for number in range(vocabulary)}, unk_token="0")  # noqa: S106
    tokenizer: Any = PreTrainedTokenizerFast
    tokenizer(tokenizer_object=Tokenizer(words)).save_pretrained(folder)


def _generation(
    module: Any, engine: Engine, model: DecoderModel, prompts: list[list[int]]
) -> tuple[dict[str, float], float]:
    table = module.get_input_embeddings()

    def reference(chosen: list[list[int]]) -> list[list[int]]:
        return [oracle_generate(module, table(torch.tensor(one)), THOUGHTS, TOKENS) for one in chosen]

    def cached(chosen: list[list[int]]) -> list[list[int]]:
        return [_with_a_cache(module, one) for one in chosen]

    def ours(chosen: list[list[int]]) -> list[list[int]]:
        return asyncio.run(_together(engine, str(model.address), chosen))

    ours(prompts)
    times: dict[str, list[float]] = {}
    results: dict[str, list[list[int]]] = {}

    def timed(name: str, work: Callable[[list[list[int]]], list[list[int]]], chosen: list[list[int]]) -> None:
        began = time.process_time()
        results[name] = work(chosen)
        times.setdefault(name, []).append(time.process_time() - began)

    equal = []
    for turn in range(ROUNDS):
        show.err.print(f"batch 1, round {turn + 1} of {ROUNDS} …", style="dim")
        chosen = _shifted(prompts[:1], turn + 1)
        for name, work in (("reference_b1", reference), ("cached_b1", cached), ("ours_b1", ours)):
            timed(name, work, chosen)
        equal += _same(results["ours_b1"], results["reference_b1"])
    for turn in range(ROUNDS):
        show.err.print(f"batch {BATCH}, round {turn + 1} of {ROUNDS} …", style="dim")
        chosen = _shifted(prompts, ROUNDS + turn + 1)
        if turn == 0:
            timed("reference_b16", reference, chosen)
        timed("ours_b16", ours, chosen)
        if turn == 0:
            equal += _same(results["ours_b16"], results["reference_b16"])
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "speedup_b1": median["reference_b1"] / median["ours_b1"],
        "speedup_b16": median["reference_b16"] / median["ours_b16"],
        "speedup_over_cached_b1": median["cached_b1"] / median["ours_b1"],
        "ours_b1_ms": 1e3 * median["ours_b1"],
        "ours_b16_ms": 1e3 * median["ours_b16"],
    }, statistics.fmean(equal)


async def _together(engine: Engine, address: str, prompts: list[list[int]]) -> list[list[int]]:
    async def one(ids: list[int]) -> list[int]:
        state = ThoughtState(address, tuple(Row((token,)) for token in ids))
        asked = Request(
            state, new_tokens=TOKENS, min_new_tokens=TOKENS, thinking=Thinking(Mode.HIDDEN, THOUGHTS), keep=True
        )
        last = [item async for item in engine.generate(asked)][-1]
        kept = getattr(last, "state", None)
        assert isinstance(kept, ThoughtState)
        return list(kept.tokens)

    return list(await asyncio.gather(*(one(ids) for ids in prompts)))


@torch.inference_mode()
def _with_a_cache(module: Any, ids: list[int]) -> list[int]:
    """What one would write with transformers: its own cache, a row at a time."""
    table = module.get_input_embeddings()
    rows, past, tokens = table(torch.tensor([ids])), None, []
    for step in range(THOUGHTS + TOKENS):
        output = module(
            inputs_embeds=rows, past_key_values=past, use_cache=True, output_hidden_states=step < THOUGHTS,
            logits_to_keep=1,
        )  # fmt: skip
        past = output.past_key_values
        if step < THOUGHTS:
            rows = output.hidden_states[-1][:, -1:]
        else:
            tokens.append(int(output.logits[0, -1].argmax()))
            rows = table(torch.tensor([[tokens[-1]]]))
    return tokens


def _shifted(prompts: list[list[int]], by: int) -> list[list[int]]:
    """Other tokens each time: what a slot holds already would not be computed again."""
    return [[(token + by) % VOCABULARY for token in one] for one in prompts]


def _same(ours: list[list[int]], theirs: list[list[int]]) -> list[bool]:
    return [
        one == other for mine, yours in zip(ours, theirs, strict=True) for one, other in zip(mine, yours, strict=True)
    ]
