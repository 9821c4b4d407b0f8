"""Thoughts as they are kept: rows and back, forks, the store; and how a caller's way of thinking is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sapience.v1 import concept_pb2 as c
from sapience.v1 import reasoning_pb2 as pb

from cognition.engine.base import Capabilities, Mode, Row, StopRule, Thinking, ThoughtState
from cognition.engine.null import NullLanguageModel
from core.errors import FailedPrecondition, InvalidArgument, NotFound
from services.reasoning import requests
from services.reasoning.states import forked, kept_steps, read_state, space_of, write_state
from services.reasoning.thoughts import ROWS, Thoughts

MODEL = "models:tiny"
WIDTH = 3


def vector(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


tokens = st.integers(0, 2**31 - 1)
rows = st.one_of(
    st.builds(Row, ids=st.lists(tokens, min_size=1, max_size=3).map(tuple)),
    st.builds(Row, vector=st.tuples(*[st.floats(-9, 9, width=32)] * WIDTH).map(lambda row: vector(*row))),
)
states = st.builds(
    ThoughtState,
    model=st.just(MODEL),
    prompt=st.lists(rows, max_size=4).map(tuple),
    latent=st.lists(rows, max_size=4).map(tuple),
    suffix=st.lists(rows, max_size=2).map(tuple),
    tokens=st.lists(tokens, max_size=4).map(tuple),
    symbols=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    allowed=st.lists(tokens, max_size=2).map(tuple),
    depth=st.integers(0, 9),
)


@given(states)
def test_a_state_is_the_same_when_it_comes_back_from_a_message(state: ThoughtState) -> None:
    message = pb.Thought()
    write_state(message, state)
    assert read_state(pb.Thought.FromString(message.SerializeToString())) == state
    assert (message.latent_steps, message.new_tokens) == (len(state.latent), len(state.tokens))


STATE = ThoughtState(
    MODEL,
    prompt=(Row(ids=(1,)), Row(ids=(2, 3))),
    latent=tuple(Row(vector=vector(step, 0, 0)) for step in range(3)),
    tokens=(7, 8),
)


def edit(step: int, *numbers: float, **changed: Any) -> pb.ThoughtEdit:
    fields = {"space": space_of(MODEL), "dtype": c.DTYPE_FLOAT32, "shape": [len(numbers)], "data": vector(*numbers)}
    return pb.ThoughtEdit(step=step, vector=c.Tensor(**(fields | changed)))


def test_a_fork_keeps_the_beginning_that_is_asked_for() -> None:
    assert forked(STATE, pb.GenerateRequest()) == STATE
    assert forked(STATE, pb.GenerateRequest(keep_tokens=1)).tokens == (7,)
    fork = forked(STATE, pb.GenerateRequest(keep_latent_steps=2))
    assert (fork.latent, fork.tokens) == (STATE.latent[:2], ())
    assert forked(STATE, pb.GenerateRequest(keep_latent_steps=0)).latent == ()


def test_edits_put_other_vectors_and_leave_out_what_followed() -> None:
    fork = forked(STATE, pb.GenerateRequest(edits=[edit(1, 5, 5, 5), edit(0, 4, 4, 4)]))
    assert [row.vector for row in fork.latent] == [vector(4, 4, 4), vector(5, 5, 5)]
    assert fork.tokens == ()
    between = forked(STATE, pb.GenerateRequest(edits=[edit(0, 4, 4, 4), edit(2, 6, 6, 6)]))
    assert between.latent[1] == STATE.latent[1]
    half = edit(0, 1, 2, 4, dtype=c.DTYPE_FLOAT16, shape=[1, 3], data=np.array([1, 2, 4], "<f2").tobytes())
    assert forked(STATE, pb.GenerateRequest(edits=[half])).latent[0].vector == vector(1, 2, 4)


@pytest.mark.parametrize(("fields", "field", "word"), [
    ({"keep_latent_steps": 4}, "keep_latent_steps", "4; give 0 to 3"),
    ({"keep_latent_steps": -1}, "keep_latent_steps", "-1"),
    ({"keep_tokens": 3}, "keep_tokens", "3; give 0 to 2"),
    ({"keep_latent_steps": 1, "keep_tokens": 1}, "keep_tokens", "give 0 to 0"),
    ({"edits": [edit(3, 0, 0, 0)]}, "edits[0].step", "3; give 0 to 2"),
    ({"edits": [edit(0, 0, 0, 0), edit(-1, 0, 0, 0)]}, "edits[1].step", "-1"),
    ({"edits": [edit(1, 0, 0, 0)], "keep_latent_steps": 1}, "edits[0].step", "give 0 to 0"),
    ({"edits": [edit(1, 0, 0, 0)], "keep_tokens": 1}, "keep_tokens", "followed from the old one"),
    ({"edits": [edit(0, 0, 0)]}, "edits[0].vector.shape", "has 2 numbers"),
    ({"edits": [edit(0, 0, 0, 0, shape=[3, 1])]}, "edits[0].vector.shape", "[3, 1]"),
    ({"edits": [edit(0, 0, 0, 0, dtype=0)]}, "edits[0].vector.dtype", "DTYPE_FLOAT32"),
    ({"edits": [edit(0, 0, 0, 0, data=b"\0")]}, "edits[0].vector.data", "1 bytes"),
    ({"edits": [edit(0, 0, 0, float("nan"))]}, "edits[0].vector.data", "not finite"),
    ({"edits": [edit(0, 0, 0, 0, space="minilm")]}, "edits[0].vector.space", "latent/models:tiny"),
])  # fmt: skip
def test_a_fork_that_cannot_be_made_is_refused_by_its_field(fields: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises((InvalidArgument, FailedPrecondition)) as caught:
        forked(STATE, pb.GenerateRequest(**fields))
    assert caught.value.field == field
    assert word in caught.value.message


def test_a_step_that_fed_no_vector_back_has_none_to_edit() -> None:
    paused = ThoughtState(MODEL, prompt=(Row(ids=(1,)),), latent=(Row(ids=(9,)),))
    with pytest.raises(InvalidArgument, match="a token and no vector"):
        forked(paused, pb.GenerateRequest(edits=[edit(0, 1, 1, 1)]))


def test_of_steps_that_were_edited_the_norm_is_all_that_is_known() -> None:
    parent = pb.Thought(steps=[pb.ThoughtEvent(step=step, norm=9, entropy=1) for step in range(3)])
    edits = [edit(1, 3, 4, 0)]
    told = kept_steps(parent, forked(STATE, pb.GenerateRequest(edits=edits)), edits)
    assert told == [parent.steps[0], pb.ThoughtEvent(step=1, norm=5)]


# The store


def thought(number: int, namespace: str = "home") -> pb.Thought:
    made = pb.Thought(id=f"t{number}", namespace=namespace, prompt="a secret", text="b")
    write_state(made, STATE)
    return made


async def test_a_thought_is_found_whole_in_its_own_namespace_and_listed_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "thoughts.sqlite"
    store = Thoughts(path, keep=10)
    for number in range(3):
        await store.put(thought(number))
    await store.put(thought(3, "work"))
    await store.close()
    store = Thoughts(path, keep=10)
    assert await store.get("home", "t1") == thought(1)
    assert [one.id for one in await store.newest("home", 2)] == ["t2", "t1"]
    assert [one.id for one in await store.newest("home", 2, "t1")] == ["t0"]
    (head,) = await store.newest("work", 9)
    assert (head.prompt, head.latent_steps, head.new_tokens) == ("a secret", 3, 2)
    assert not any(field.name in ROWS for field, _ in head.ListFields())
    assert await store.namespaces() == ["home", "work"]
    for namespace, thought_id in (("work", "t1"), ("home", "t9"), ("home", "")):
        with pytest.raises(NotFound) as caught:
            await store.get(namespace, thought_id)
        assert (caught.value.reason, caught.value.field) == ("THOUGHT_NOT_FOUND", "thought_id")
    with pytest.raises(NotFound):
        await store.delete("work", "t1")
    await store.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_what_is_deleted_is_off_the_disk(tmp_path: Path) -> None:
    store = Thoughts(tmp_path / "thoughts.sqlite", keep=10)
    await store.put(thought(1))
    await store.put(thought(2))
    await store.delete("home", "t1")
    await store.drop("home")
    assert await store.newest("home", 9) == []
    assert b"secret" not in on_disk(tmp_path)
    await store.close()


async def test_the_newest_stay() -> None:
    store = Thoughts(None, keep=2)
    for number in range(5):
        await store.put(thought(number, f"n{number % 2}"))
    assert [one.id for namespace in ("n0", "n1") for one in await store.newest(namespace, 9)] == ["t4", "t3"]
    await store.close()


# Ways of thinking


class Trained(NullLanguageModel):
    """A model that was trained to think 6 steps in the mode hidden."""

    capabilities = Capabilities(
        modes=frozenset({Mode.NONE, Mode.HIDDEN, Mode.PAUSE}),
        rules=frozenset({StopRule.FIXED, StopRule.LEARNED}),
        default=Thinking(Mode.HIDDEN, 6, StopRule.LEARNED, threshold=0.9),
    )


class Ordinary(NullLanguageModel):
    """A model that was never trained to think."""

    capabilities = Capabilities(
        modes=frozenset({Mode.NONE, Mode.SOFT, Mode.PAUSE}), rules=frozenset({StopRule.FIXED, StopRule.ENTROPY})
    )


def read(model: type[NullLanguageModel], steps: int = 0, own: Mode | None = None, **asked: Any) -> Thinking | None:
    return requests.thinking(c.Thinking(**asked), c.Budget(latent_steps=steps), model(1, "a"), own)


HIDDEN, SOFT, PAUSE, NONE = (getattr(c, f"THINKING_MODE_{name}") for name in ("HIDDEN", "SOFT", "PAUSE", "NONE"))


def test_a_model_that_is_asked_for_nothing_thinks_as_it_was_trained_to() -> None:
    assert read(Trained) == Trained.capabilities.default
    assert read(Ordinary) is None


def test_what_is_given_is_laid_over_the_models_own_way() -> None:
    assert read(Trained, 3) == Thinking(Mode.HIDDEN, 3, StopRule.LEARNED, threshold=0.9)
    assert read(Trained, probe=2, threshold=0.0) == Thinking(Mode.HIDDEN, 6, StopRule.LEARNED, threshold=0.0, probe=2)
    assert read(Trained, mode=HIDDEN, rule=c.STOP_RULE_FIXED) == Thinking(Mode.HIDDEN, 6, threshold=0.9)
    assert read(Trained, mode=PAUSE) == Thinking(Mode.PAUSE, requests.DEFAULT_LATENT_STEPS)
    assert read(Trained, mode=NONE) == Thinking()


def test_latent_steps_of_an_untrained_model_are_soft_ones() -> None:
    assert read(Ordinary, 4) == Thinking(Mode.SOFT, 4)
    assert read(Ordinary, 4, temperature=0.5, top_k=10) == Thinking(Mode.SOFT, 4, temperature=0.5, top_k=10)


def test_a_thought_that_goes_on_thinks_only_where_it_is_asked_to_and_in_its_own_mode() -> None:
    assert read(Trained, own=Mode.HIDDEN) == Thinking()
    assert read(Ordinary, 2, own=Mode.PAUSE) == Thinking(Mode.PAUSE, 2)
    assert read(Ordinary, 2, own=Mode.NONE) == Thinking(Mode.SOFT, 2)
    assert read(Ordinary, 2, own=Mode.PAUSE, mode=SOFT) == Thinking(Mode.SOFT, 2)


@pytest.mark.parametrize(("model", "steps", "asked", "field", "words"), [
    (Ordinary, 2, {"mode": HIDDEN}, "thinking.mode", ("hidden", "none, soft, pause")),
    (Ordinary, 2, {"mode": 99}, "thinking.mode", ("99",)),
    (Ordinary, 2, {"mode": NONE}, "budget.latent_steps", ("2", "leave one")),
    (Ordinary, -1, {}, "budget.latent_steps", ("-1", "1 to 1024")),
    (Ordinary, 1025, {}, "budget.latent_steps", ("1025",)),
    (Ordinary, 2, {"rule": c.STOP_RULE_LEARNED}, "thinking.rule", ("learned", "fixed, entropy")),
    (Ordinary, 2, {"rule": 99}, "thinking.rule", ("99",)),
    (Ordinary, 2, {"rule": c.STOP_RULE_ENTROPY, "threshold": -1}, "thinking.threshold", ("-1",)),
    (Ordinary, 2, {"patience": -1}, "thinking.patience", ("-1",)),
    (Ordinary, 2, {"temperature": -1}, "thinking.temperature", ("-1",)),
    (Ordinary, 2, {"top_k": -1}, "thinking.top_k", ("-1",)),
    (Ordinary, 2, {"rounds": 65}, "thinking.rounds", ("65",)),
    (Ordinary, 2, {"least_norm": 2, "most_norm": 1}, "thinking.least_norm", ("least",)),
    (Ordinary, 2, {"probe": 33}, "thinking.probe", ("33", "0 to 32")),
])  # fmt: skip
def test_a_way_of_thinking_that_cannot_be_is_refused_by_its_field(
    model: type[NullLanguageModel], steps: int, asked: dict[str, Any], field: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(model, steps, **asked)
    assert caught.value.field == field
    for word in words:
        assert word in caught.value.message
