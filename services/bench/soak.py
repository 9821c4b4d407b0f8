"""The latent engine under random arrivals, cancels and deadlines, for as long as asked: nothing may leak or get stuck.

A small model with random weights, on the engine as it serves: 4 slots, 16 waiting. Requests come at random, and now and
then in a burst of more than it takes however fast it is, of several modes, priorities and shares, with prefixes in
common; a third has a deadline, a third is given up at a random moment. Every one has to end: with its account, refused
because the engine is busy, or by being cancelled. Told are:

    stuck           Thoughts that had not ended a while after they should have
    wrong           Thoughts whose tokens are not those that the same request got at first
    late_ms_max     how long after its deadline the latest one was told
    left            slots, Thoughts and threads that are there when all is over
    growth_mib      resident memory at the end, against that after a quarter of the time
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import tempfile
import threading
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.progress import Progress

from cognition.engine.base import Finished, Mode, Request, Row, StopReason, StopRule, Thinking, ThoughtState
from cognition.engine.engine import Engine
from cognition.engine.model import DecoderModel, load_model
from core.errors import ResourceExhausted
from core.models import ModelAddress
from services.bench.report import Report, versions
from services.cli import show

VOCABULARY, CONTEXT, SLOTS, WAITING = 300, 256, 4, 16
STUCK_S = 20.0
"""A Thought that takes this long, of a few milliseconds' work, is stuck."""
BURSTS, BURST = 0.005, 2 * (SLOTS + WAITING)
"""How often arrivals come in a burst, and of how many."""
ENDS = ("cancelled", "done", "refused", "tokens", "wall")
KINDS = 24
"""Different requests; each is asked for again and again, and has to be answered alike."""


@dataclass(slots=True)
class _Tally:
    outcomes: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    answers: dict[int, tuple[int, ...]] = field(default_factory=dict)
    wrong: int = 0
    stuck: int = 0


def run(seed: int, seconds: float) -> Report:
    """Runs for so many seconds."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        model = _made(Path(folder))
        threads = threading.active_count()
        engine = Engine(model, waiting=WAITING, chunk=32)
        try:
            tally, growth = asyncio.run(_soaked(engine, str(model.address), random.Random(seed), seconds))
            stats = engine.stats()
        finally:
            engine.close()
        left = stats.running + stats.waiting + threading.active_count() - threads
    figures = {
        "stuck": float(tally.stuck),
        "wrong": float(tally.wrong),
        "left": float(left),
        "late_ms_max": 1e3 * max(tally.late, default=0.0),
        "growth_mib": growth,
        "thoughts": float(sum(tally.outcomes.values())),
        **{f"ended_{name}": float(tally.outcomes[name]) for name in ENDS},
        "preempted": float(stats.preempted),
        "tokens": float(stats.tokens),
        "latent_steps": float(stats.latent_steps),
    }
    return Report("soak", seed, figures, settings={"seconds": seconds, "slots": SLOTS}, versions=versions("torch"))


def _made(folder: Path) -> DecoderModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, initializer_range=0.4,
        bos_token_id=None, eos_token_id=VOCABULARY - 1,
    )  # fmt: skip
    config.latent = {"mode": "hidden", "steps": 3, "pause_token": 290, "start_token": 291, "end_token": 292}
    GPT2LMHeadModel(config).save_pretrained(folder)
    from services.bench.latent import with_tokenizer

    with_tokenizer(folder, VOCABULARY)
    model = load_model(
        ModelAddress.parse(f"file:{folder}"), cache_dir=folder, device="cpu", precision="float32", threads=1,
        slots=SLOTS, context=CONTEXT,
    )  # fmt: skip
    assert isinstance(model, DecoderModel)
    return model


def _kinds(address: str, drawn: random.Random) -> list[Request]:
    shared = [drawn.randrange(280) for _ in range(40)]
    ways = [
        Thinking(),
        Thinking(Mode.HIDDEN, 4),
        Thinking(Mode.SOFT, 3, rule=StopRule.ENTROPY, threshold=2.0),
        Thinking(Mode.JACOBI, 5, rounds=2),
        Thinking(Mode.PAUSE, 3),
    ]
    kinds = []
    for number in range(KINDS):
        ids = shared[: drawn.randrange(40)] + [drawn.randrange(280) for _ in range(drawn.randint(1, 60))]
        kinds.append(
            Request(
                ThoughtState(address, tuple(Row((token,)) for token in ids)),
                new_tokens=drawn.randint(1, 60),
                thinking=ways[number % len(ways)],
                priority=drawn.choice((0, 0, 0, 1)),
                share=drawn.choice("abc"),
                keep=True,
            )
        )
    return kinds


async def _soaked(engine: Engine, address: str, drawn: random.Random, seconds: float) -> tuple[_Tally, float]:
    kinds, tally = _kinds(address, drawn), _Tally()
    tasks: set[asyncio.Task[None]] = set()
    started, first = time.monotonic(), 0.0
    with Progress(console=show.err, transient=True) as progress:
        bar = progress.add_task("soaking", total=seconds)
        while (passed := time.monotonic() - started) < seconds:
            progress.update(bar, completed=passed)
            if not first and passed > seconds / 4:
                first = _resident_mib()
            for _ in range(BURST if drawn.random() < BURSTS else 1):
                number = drawn.randrange(KINDS)
                task = asyncio.create_task(_one(engine, number, kinds[number], random.Random(drawn.random()), tally))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            # Bounded by itself too: were Thoughts to pile up, memory would say so and not the machine's end.
            while len(tasks) > 4 * (SLOTS + WAITING):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(drawn.expovariate(120))
        if tasks:
            await asyncio.gather(*tasks)
    return tally, _resident_mib() - first


async def _one(engine: Engine, number: int, request: Request, drawn: random.Random, tally: _Tally) -> None:
    deadline = drawn.choice((None, None, drawn.uniform(0.005, 0.5)))
    patience = drawn.choice((None, None, drawn.uniform(0.0, 0.3)))
    asked = replace(request, deadline_s=deadline)
    began = time.monotonic()
    try:
        async with asyncio.timeout(STUCK_S):
            await _ask(engine, number, asked, patience, tally)
    except TimeoutError:
        tally.stuck += 1
    except ResourceExhausted:
        tally.outcomes["refused"] += 1
    if deadline is not None:
        tally.late.append(max(0.0, time.monotonic() - began - deadline))


async def _ask(engine: Engine, number: int, asked: Request, patience: float | None, tally: _Tally) -> None:
    began = time.monotonic()
    async with aclosing(engine.generate(asked)) as items:
        async for item in items:
            if isinstance(item, Finished):
                _note(number, item, tally)
            elif patience is not None and time.monotonic() - began > patience:
                tally.outcomes["cancelled"] += 1
                return


def _note(number: int, finished: Finished, tally: _Tally) -> None:
    tally.outcomes[finished.stop_reason.value] += 1
    if finished.stop_reason is StopReason.WALL:
        return
    assert finished.state is not None
    if tally.answers.setdefault(number, finished.state.tokens) != finished.state.tokens:
        tally.wrong += 1


def _resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
