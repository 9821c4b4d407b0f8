"""The model that ships, as the engine serves it: questions in words, thoughts that can be read, one token to answer."""

import asyncio
import json

import numpy as np
import pytest

pytest.importorskip("torch")

from cognition.engine.base import (
    Constraint,
    ConstraintKind,
    LatentStep,
    Message,
    Mode,
    Piece,
    Request,
    StopReason,
    Thinking,
)
from cognition.engine.loading import loaded
from cognition.latent.tasks import prosqa
from cognition.latent.tasks.prosqa_graphs import GraphSampler
from core.errors import InvalidArgument
from core.models import ModelAddress

QUESTION = (
    "Every lempus is a yimpus. Every yimpus is a zorpus. Tom is a lempus. Every wumpus is a gerpus. Rex is a wumpus. "
    "Is Tom a gerpus or zorpus?"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = loaded(
        ModelAddress.parse("models:prosqa-latent"), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", threads=1
    )
    yield model
    model.close()


async def asked(model, prompt, **options):
    items = [item async for item in model.generate(Request(prompt, **options))]
    return "".join(item.text for item in items if isinstance(item, Piece)), items


async def test_it_answers_in_words_and_its_thoughts_are_the_frontier(model):
    text, items = await asked(model, QUESTION, thinking=Thinking(Mode.HIDDEN, 3, probe=1))
    assert text == "Tom is a zorpus."
    assert items[-1].stop_reason is StopReason.DONE
    said = [item.nearest[0].text for item in items if isinstance(item, LatentStep)]
    assert set(said) <= {"Tom", "lempus", "yimpus", "zorpus"}, "nothing that cannot be reached is thought of"


async def test_fresh_questions_are_answered_and_not_without_thoughts(model):
    sampler = GraphSampler(np.random.default_rng(123))
    words = np.random.default_rng(5)
    items = [prosqa.worded(sampler.draw(), words) for _ in range(80)]
    alike = {}
    for name, thinking in (("own", None), ("eight", Thinking(Mode.HIDDEN, 8)), ("none", Thinking())):
        results = await asyncio.gather(*(asked(model, item.text, thinking=thinking) for item in items))
        alike[name] = np.mean([text == item.answer for (text, _), item in zip(results, items, strict=True)])
        if name == "own":
            steps = np.mean([told[-1].latent_steps for _, told in results])
    assert alike["own"] >= 0.97
    assert alike["eight"] >= 0.97
    assert alike["none"] < 0.75
    assert steps < 0.7 * 8, "its halting head saves thoughts"


async def test_a_chat_is_asked_by_its_last_message(model):
    chat = [Message("user", "Hello."), Message("assistant", "Hello."), Message("user", QUESTION)]
    assert (await asked(model, chat))[0] == "Tom is a zorpus."


async def test_a_kept_thought_goes_on(model):
    _, items = await asked(model, QUESTION, keep=True)
    state = items[-1].state
    assert model.text_of(state) == "Tom is a zorpus."
    again, _ = await asked(model, state.truncated(tokens=0))
    assert again == "Tom is a zorpus."


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("What is the capital of France?", "."),
        (QUESTION.replace("Is Tom", "Is Anna"), "."),
        (" ".join(f"Every a{n}pus is a b{n}pus." for n in range(30)) + " " + QUESTION, "at most"),
    ],
)
async def test_what_is_no_such_question_is_refused(model, prompt, why):
    with pytest.raises(InvalidArgument, match=why) as caught:
        await asked(model, prompt)
    assert caught.value.field == "prompt"


async def test_symbols_are_not_constrained(model):
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps({"type": "object"}))
    with pytest.raises(InvalidArgument, match="does not speak in words"):
        await asked(model, QUESTION, constraint=constraint)
