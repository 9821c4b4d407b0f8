"""No batch, order, padding, preemption, resume or shared prefix changes a token: over two hundred random schedules.

The oracle recomputes all rows of a Thought for every latent step and token, alone, with transformers' own module and no
cache. The schedules drive the real Thoughts, cache, runner and decoder step by step, with plans drawn at random where
the scheduler would be reasonable: which Thoughts go on, how many rows of each, who loses its slot, when a result is
read. A token may differ only where the oracle's two best logits are within 1e-4; those are counted.
"""

import asyncio
import random
from dataclasses import dataclass, replace

import pytest

torch = pytest.importorskip("torch")

from tiny_models import byte_tokenizer, tiny_modules  # noqa: E402

from cognition.engine.admission import Admission  # noqa: E402
from cognition.engine.base import Mode, Request, Sampling, Thinking, ThoughtState  # noqa: E402
from cognition.engine.delivery import Mailbox  # noqa: E402
from cognition.engine.engine import Engine  # noqa: E402
from cognition.engine.model import DecoderModel, load_model  # noqa: E402
from cognition.engine.runner import Runner  # noqa: E402
from cognition.engine.sampler import draw  # noqa: E402
from cognition.engine.thought import Thought  # noqa: E402
from core.models import ModelAddress  # noqa: E402

SCHEDULES = 70
"""For each of the architectures."""
NEAR = 1e-4
"""Two best logits this close may change places with the order of a sum."""
MOST_DIFFERENT = 0.001
ARCHITECTURES = ("gpt2", "llama", "qwen3")
LATENT = {"mode": "hidden", "steps": 3, "pause_token": 290, "start_token": 291, "end_token": 292}
SHARED = "All work and no play makes Jack a dull boy. "


@dataclass(frozen=True)
class Case:
    """A request, and what the oracle makes of it."""

    request: Request
    tokens: list[int]
    margins: list[float]
    """Of the two best logits, by token."""


@torch.inference_mode()
def oracle(module, tokenizer, request: Request) -> Case:
    """Tokens by recomputing everything, row by row."""
    table = module.get_input_embeddings().weight
    thinking = request.thinking
    rows = table[torch.tensor([*tokenizer(request.prompt)["input_ids"], LATENT["start_token"]])]

    def hidden_and_logits():
        output = module(inputs_embeds=rows[None], output_hidden_states=True, use_cache=False)
        return output.hidden_states[-1][0], output.logits[0, -1]

    if thinking.mode is Mode.PAUSE:
        rows = torch.cat([rows, table[LATENT["pause_token"]].expand(thinking.steps, -1)])
    elif thinking.mode is Mode.JACOBI:
        first = hidden_and_logits()[0][-1:]
        start = len(rows)
        blank = table[LATENT["pause_token"]].expand(thinking.steps - 1, -1)
        rows = torch.cat([rows, first, blank])
        for _ in range(thinking.rounds - 1):
            hidden = hidden_and_logits()[0]
            rows = torch.cat([rows[: start + 1], hidden[start:-1]])
    elif thinking.mode is not Mode.NONE:
        for _ in range(thinking.steps):
            hidden, logits = hidden_and_logits()
            row = hidden[-1] if thinking.mode is Mode.HIDDEN else (logits / thinking.temperature).softmax(-1) @ table
            rows = torch.cat([rows, row[None]])
    rows = torch.cat([rows, table[LATENT["end_token"]][None]])
    tokens, margins = [], []
    for step in range(request.new_tokens):
        logits = hidden_and_logits()[1]
        best = logits.topk(2).values
        tokens.append(draw(logits, request.sampling, step))
        margins.append(float(best[0] - best[1]))
        if tokens[-1] == module.config.eos_token_id:
            break
        rows = torch.cat([rows, table[tokens[-1]][None]])
    return Case(request, tokens, margins)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model_and_cases(request, tmp_path_factory) -> tuple[DecoderModel, list[Case]]:
    module, folder = tiny_modules()[request.param], tmp_path_factory.mktemp(request.param)
    module.config.latent = LATENT
    module.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    model = load_model(
        ModelAddress.parse(f"file:{folder}"), cache_dir=folder, device="cpu", precision="float32", threads=1, slots=4,
        context=256,
    )  # fmt: skip
    modes = [
        Thinking(),
        Thinking(Mode.HIDDEN, 3),
        Thinking(Mode.SOFT, 4, temperature=0.7),
        Thinking(Mode.JACOBI, 4, rounds=2),
        Thinking(Mode.PAUSE, 3),
    ]
    prompts = [SHARED + end for end in ("Go", "Gone", "", "1 2 3 4 5 6 7 8 9")] + ["x", "Some other text entirely"]
    cases = []
    for number in range(24):
        thinking, prompt = modes[number % len(modes)], prompts[number % len(prompts)]
        sampling = Sampling(temperature=0.8, seed=number) if number % 6 == 5 else Sampling()
        asked = Request(prompt, new_tokens=4 + number % 9, thinking=thinking, sampling=sampling, keep=True)
        cases.append(oracle(module, tokenizer, asked))
    return model, cases


class Chance:
    """Drives Thoughts through a runner with plans drawn at random."""

    def __init__(self, model: DecoderModel, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = model
        self.admission = Admission(model, most_steps=64)
        graphs = self.random.random() < 0.5
        self.runner = Runner(model.decoder, model.new_cache(), model.end_tokens, graphs=graphs)
        self.running: list[Thought] = []
        self.waiting: list[Thought] = []
        self.late = self.random.random() < 0.5
        """Whether a step is read only after the next was launched."""
        self.preempted = self.reused = 0

    def add(self, request: Request, number: int) -> Thought:
        thought = self.admission.thought(request, Mailbox(None))
        thought.id = number
        self.waiting.append(thought)
        return thought

    def run(self) -> None:
        launched = None
        with torch.inference_mode():
            while self.running or self.waiting or launched:
                self._move()
                work = self._work()
                step = self.runner.run(work) if work else None
                if self.late:
                    launched, step = step, launched
                if step is not None:
                    self._read(step)
        assert not self.runner.slots.owners()

    def _move(self) -> None:
        chance = self.random
        while self.running and chance.random() < 0.08:
            thought = self.running.pop(chance.randrange(len(self.running)))
            self.runner.release(thought)
            self.waiting.append(thought)
            self.preempted += 1
        while self.waiting and self.runner.slots.free and (not self.running or chance.random() < 0.6):
            thought = self.waiting.pop(chance.randrange(len(self.waiting)))
            self.runner.admit(thought)
            self.reused += thought.computed
            self.running.append(thought)

    def _work(self) -> list[tuple[Thought, int]]:
        work = []
        for thought in self.running:
            if thought.waiting and self.random.random() < 0.8:
                most = thought.waiting
                work.append((thought, most if thought.indivisible else self.random.randint(1, most)))
        return work

    def _read(self, step) -> None:
        for read in step.read()[1]:
            thought = read.thought
            if thought.ended:
                continue
            _, reason = thought.read(read.token, read.logprob, (), self.model.end_tokens)
            thought.held = False
            if reason is not None:
                thought.ended = True
                self.runner.release(thought)
                for some in (self.running, self.waiting):
                    if thought in some:
                        some.remove(thought)


def differences(case: Case, tokens: list[int], ends: frozenset[int]) -> int:
    """0 where the tokens are the oracle's, 1 where they part at a near tie; fails where they part elsewhere."""
    expected = [one for one in case.tokens if one not in ends]
    if tokens == expected:
        return 0
    at = next(
        (place for place, (ours, theirs) in enumerate(zip(tokens, expected, strict=False)) if ours != theirs),
        min(len(tokens), len(expected)),
    )
    assert case.margins[at] < NEAR, (case.request, at, tokens, expected, case.margins[at])
    return 1


async def test_no_schedule_changes_a_token(model_and_cases):
    model, cases = model_and_cases
    differ = total = preempted = reused = 0
    for seed in range(SCHEDULES):
        chance = Chance(model, seed)
        chosen = [chance.random.choice(cases) for _ in range(chance.random.randint(2, 7))]
        thoughts = [chance.add(case.request, number) for number, case in enumerate(chosen)]
        chance.run()
        for case, thought in zip(chosen, thoughts, strict=True):
            differ += differences(case, thought.tokens, model.end_tokens)
            total += len(thought.tokens)
        preempted, reused = preempted + chance.preempted, reused + chance.reused
    assert differ <= MOST_DIFFERENT * total
    assert preempted > SCHEDULES / 4, "schedules that never preempt show nothing about it"
    assert reused > SCHEDULES, "schedules that never share a prefix show nothing about it"


@pytest.mark.parametrize(("overlap", "graphs"), [(False, False), (True, False), (True, True)])
async def test_the_engine_with_priorities_and_shares_changes_none_either(model_and_cases, overlap, graphs):
    model, cases = model_and_cases
    engine = Engine(model, chunk=16, overlap=overlap, graphs=graphs)
    try:
        asked = [
            replace(case.request, priority=number % 3, share="abc"[number % 3]) for number, case in enumerate(cases)
        ]

        async def later(number: int) -> ThoughtState:
            await asyncio.sleep(0.004 * (number % 8))
            return await kept(engine, asked[number])

        states = await asyncio.gather(*(later(number) for number in range(len(cases))))
        differ = [
            differences(case, list(state.tokens), model.end_tokens) for case, state in zip(cases, states, strict=True)
        ]
        assert sum(differ) <= 1
        assert engine.stats().preempted > 0
    finally:
        engine.close()


async def test_a_thought_that_is_kept_and_continued_says_the_same(model_and_cases):
    model, cases = model_and_cases
    engine = Engine(model)
    try:
        for case in cases:
            wanted = [one for one in case.tokens if one not in model.end_tokens]
            for first in (1, max(1, len(wanted) - 1)):
                if first >= len(case.tokens):
                    continue
                state = await kept(engine, replace(case.request, new_tokens=first))
                assert list(state.tokens) == wanted[:first]
                rest = replace(case.request, prompt=state, thinking=None, new_tokens=case.request.new_tokens - first)
                assert differences(case, list((await kept(engine, rest)).tokens), model.end_tokens) == 0
    finally:
        engine.close()


async def test_thoughts_that_are_cut_off_are_thought_again(model_and_cases):
    model, cases = model_and_cases
    engine = Engine(model)
    try:
        case = next(one for one in cases if one.request.thinking == Thinking(Mode.HIDDEN, 3))
        whole = await kept(engine, case.request)
        for left in (0, 1, 2):
            state = whole.truncated(latent_steps=left)
            assert (len(state.latent), state.tokens) == (left, ())
            again = replace(case.request, prompt=state, thinking=Thinking(Mode.HIDDEN, 3 - left))
            assert differences(case, list((await kept(engine, again)).tokens), model.end_tokens) == 0
        other = whole.edited(1, bytes(len(whole.latent[1].vector)))
        changed = await kept(engine, replace(case.request, prompt=other, thinking=Thinking(Mode.HIDDEN, 1)))
        assert changed.latent[:2] == other.latent
        assert changed.latent[2] != whole.latent[2]
    finally:
        engine.close()


async def test_jacobi_rounds_as_many_as_thoughts_are_thoughts_one_by_one(model_and_cases):
    model, cases = model_and_cases
    engine = Engine(model)
    try:
        case = next(one for one in cases if one.request.thinking == Thinking(Mode.HIDDEN, 3))
        state = await kept(engine, replace(case.request, thinking=Thinking(Mode.JACOBI, 3, rounds=3)))
        assert differences(case, list(state.tokens), model.end_tokens) == 0
    finally:
        engine.close()


async def kept(engine: Engine, request: Request) -> ThoughtState:
    items = [item async for item in engine.generate(request)]
    assert items[-1].state is not None
    return items[-1].state
