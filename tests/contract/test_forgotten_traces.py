"""What memory is told to forget goes from Traces, from the answers to retries, and from what was learned of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from refusals import episode, refusal, remembered
from sapience.v1 import memory_pb2
from sapience.v1 import reasoning_pb2 as pb

from services.reasoning.events import REDACTED
from services.reasoning.forgotten import ForgottenEpisodes
from services.reasoning.thoughts import Thoughts
from services.reasoning.traces import Traces
from services.runtime.client import Link

TOLD = (
    "I moved to Lisbon in May, to a flat near the river.",
    "My sister Mia opened a bakery in Porto last week.",
)


@pytest.fixture
def told(memory: Any, new_namespace: Callable[[], str]) -> tuple[str, list[str]]:
    """A namespace, and the ids of what was told in it."""
    name = new_namespace()
    episodes = [episode(text, speaker="Ada", conversation="talk", position=n) for n, text in enumerate(TOLD)]
    return name, remembered(memory, name, *episodes)


def ask(reasoning: Any, namespace: str, text: str, **fields: Any) -> list[pb.ReasonEvent]:
    request = pb.ReasonRequest(namespace=namespace, text=text, max_citations=1, **fields)
    return [response.event for response in reasoning.Reason(request)]


def trace_of(reasoning: Any, namespace: str, events: list[pb.ReasonEvent]) -> pb.Trace:
    trace: pb.Trace = reasoning.GetTrace(pb.GetTraceRequest(namespace=namespace, trace_id=events[0].trace_id)).trace
    return trace


def forget(memory: Any, namespace: str, *episode_ids: str) -> None:
    memory.Forget(memory_pb2.ForgetRequest(namespace=namespace, episode_ids=episode_ids))


def test_a_forgotten_episode_goes_from_the_trace_the_retry_and_the_learned_answer(
    memory: Any, reasoning: Any, told: tuple[str, list[str]]
) -> None:
    namespace, (move, _) = told
    asked = {"text": "Where did Ada move in May?", "learn": True, "request_id": "r1"}
    events = ask(reasoning, namespace, **asked)
    other = ask(reasoning, namespace, "Where did Mia open a bakery last week?")
    answer = events[-1].answer
    assert [one.episode_id for one in answer.citations] == [move]
    assert b"Lisbon" in trace_of(reasoning, namespace, events).SerializeToString()
    before = trace_of(reasoning, namespace, other)
    forget(memory, namespace, move)

    trace = trace_of(reasoning, namespace, events)
    assert b"Lisbon" not in trace.SerializeToString()
    assert b"river" not in trace.SerializeToString()
    shown = trace.events[-1].answer
    assert (shown.text, shown.verdict) == (REDACTED, answer.verdict)
    assert [(one.episode_id, one.quote, one.speaker) for one in shown.citations] == [(move, REDACTED, "")]
    assert trace.text == "Where did Ada move in May?"
    assert ask(reasoning, namespace, **asked) == list(trace.events), "a retry is answered from the Trace"
    kept = memory.GetKeeping(
        memory_pb2.GetKeepingRequest(namespace=namespace, episode_ids=[answer.learned_episode_id])
    ).keepings
    assert not kept, "what was learned quotes it still"
    assert trace_of(reasoning, namespace, other) == before


def test_traces_of_a_deleted_namespace_are_gone(memory: Any, reasoning: Any, told: tuple[str, list[str]]) -> None:
    namespace, _ = told
    events = ask(reasoning, namespace, "Where did Ada move in May?")
    memory.DeleteNamespace(memory_pb2.DeleteNamespaceRequest(namespace=namespace))
    request = pb.GetTraceRequest(namespace=namespace, trace_id=events[0].trace_id)
    assert refusal(lambda: reasoning.GetTrace(request)).code is StatusCode.NOT_FOUND


def cites(trace_id: str, namespace: str, episode_id: str) -> tuple[pb.Trace, list[pb.ReasonEvent]]:
    citation = pb.Citation(episode_id=episode_id, quote="a quote of " + episode_id)
    token = pb.ReasonEvent(token=pb.TokenEvent(draft_id="1", text="words of " + episode_id))
    near = pb.Candidate(token=1, text="about to say " + episode_id)
    thought = pb.ReasonEvent(thought=pb.ThoughtEvent(step=0, norm=1, nearest=[near]))
    answer = pb.ReasonEvent(answer=pb.Answer(text="an answer of " + episode_id, citations=[citation]))
    return pb.Trace(id=trace_id, namespace=namespace, text="?"), [token, thought, answer]


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_a_sweep_takes_words_off_the_disk(daemon: Any, told: tuple[str, list[str]], tmp_path: Path) -> None:
    namespace, (kept, _) = told
    path = tmp_path / "traces.sqlite"
    link = Link(daemon.address, daemon.token, 1 << 20)
    traces, thoughts = Traces(path, 100), Thoughts(None, 100)
    forgotten = ForgottenEpisodes(link, traces, thoughts)
    try:
        for number, episode_id in enumerate((kept, "gone-1", "gone-2")):
            await traces.put(*cites(f"t{number}", namespace, episode_id))
        await traces.put(*cites("t9", "no-such-namespace", "gone-3"))
        for name in (namespace, "no-such-namespace", "nor-this-one"):
            await thoughts.put(pb.Thought(id=f"of {name}", namespace=name))
        await forgotten.sweep()
        assert await traces.cited() == {namespace: [kept]}
        assert await thoughts.namespaces() == [namespace]
        assert (await traces.get(namespace, "t0")).events[-1].answer.text == "an answer of " + kept
        assert (await traces.get(namespace, "t1")).events[0].token.text == REDACTED
    finally:
        await forgotten.close()
        await traces.close()
        await thoughts.close()
        await link.close()
    written = on_disk(tmp_path)
    assert f"quote of {kept}".encode() in written
    for words in (b"quote of gone", b"words of gone", b"say gone", b"answer of gone"):
        assert words not in written


async def test_what_traces_of_before_cite_is_found_when_they_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    traces = Traces(path, 100)
    await traces.put(*cites("t1", "a", "e1"))
    await traces.close()
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE cited")
        file.execute("PRAGMA user_version = 0")
    file.close()
    traces = Traces(path, 100)
    assert await traces.cited() == {"a": ["e1"]}
    await traces.close()


async def test_a_trace_that_is_pushed_out_cites_nothing(tmp_path: Path) -> None:
    traces = Traces(None, 2)
    for number in range(5):
        await traces.put(*cites(f"t{number}", "a", f"e{number}"))
        await asyncio.sleep(0)
    assert await traces.cited() == {"a": ["e3", "e4"]}
    await traces.close()
