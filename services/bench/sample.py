"""The sample conversation, read and asked about: what `make demo` shows, and a bench of the answers.

Half of the questions were set aside before anything was tuned: the figures that count are of that half.

    right_turn@3              answerable questions with an annotated turn among the first three citations
    unanswerable_refused      unanswerable questions that got "I don't know"
    answerable_refused        answerable questions that got it too

A refused question has no citations, so it counts against `right_turn@3` as well.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sapience
from rich.progress import track

from core.errors import InvalidArgument
from services.bench.report import Report, versions
from services.cli import local, show
from services.cli.importing import import_files
from services.runtime.settings import load

LEAST = {"right_turn@3": 0.85, "unanswerable_refused": 0.60}
MOST = {"answerable_refused": 0.20}
SECOND = "questions_plain.jsonl"
SHOWN = ("fact", "change", "unanswerable")
"""The first question of each of these kinds is shown in full; of the half set aside nobody sees any."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about the sample. `evidence` is empty where the conversation has no answer."""

    id: str
    text: str
    evidence: frozenset[str]
    kind: str
    split: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered, and how long it took to the first token and to the end."""

    question: Question
    answer: sapience.Answer
    first_token_s: float | None
    seconds: float

    @property
    def refused(self) -> bool:
        return self.answer.verdict == sapience.Verdict.UNKNOWN

    @property
    def right(self) -> bool:
        cited = {citation.external_id for citation in self.answer.citations[:3]}
        return bool(cited & self.question.evidence)


def demonstrate(data: Path, *, as_json: bool) -> int:
    """Shows three answers in full and the table; 1 where a figure of the half set aside is below its mark."""
    outcomes = _ask_all(data, questions(data))
    if not as_json:
        tuned = [one for one in outcomes if one.question.split == "tune"]
        for kind in SHOWN:
            _show(next(one for one in tuned if one.question.kind == kind))
    report = _report(outcomes, 0)
    report.show(as_json=as_json)
    short = [
        f"{name} {report.figures[name]:.2f} < {mark}" for name, mark in LEAST.items() if report.figures[name] < mark
    ]
    short += [
        f"{name} {report.figures[name]:.2f} > {mark}" for name, mark in MOST.items() if report.figures[name] > mark
    ]
    if short:
        show.err.print(f"[red]below the mark:[/red] {', '.join(short)}")
    return 1 if short else 0


def run(data: Path, seed: int) -> Report:
    """The same as a bench, with the second set of questions beside it."""
    first, second = questions(data), questions(data, SECOND)
    outcomes = _ask_all(data, [*first, *second])
    return _report(outcomes[: len(first)], seed, outcomes[len(first) :])


def questions(data: Path, name: str = "questions.jsonl") -> list[Question]:
    """The questions of a folder."""
    path = data / name
    if not path.exists():
        raise InvalidArgument(f"{data} has no {name}; give the folder of the sample", field="data")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [Question(r["id"], r["question"], frozenset(r["evidence"]), r["kind"], r["split"]) for r in rows]


def _ask_all(data: Path, asked: Sequence[Question]) -> list[Outcome]:
    namespace = f"sample-{secrets.token_hex(4)}"
    settings = load()
    with local.connect(settings, namespace, _say) as client:
        local.wait_ready(client, _say)
        client.create_namespace(namespace)
        try:
            import_files(client, [data / "conversation.jsonl"], None)
            return [_ask(client, one) for one in track(asked, "asking", console=show.err, transient=True)]
        finally:
            client.delete_namespace(namespace)


def _ask(client: sapience.Client, question: Question) -> Outcome:
    began = time.perf_counter()
    first: float | None = None
    with client.ask_stream(question.text) as events:
        for event in events:
            if isinstance(event, sapience.Token) and first is None:
                first = time.perf_counter() - began
            if isinstance(event, sapience.Answer):
                return Outcome(question, event, first, time.perf_counter() - began)
    raise RuntimeError(f"question {question.id} got no answer")


def _show(outcome: Outcome) -> None:
    show.out.print(f"\n[bold]> {show.escape(outcome.question.text)}[/bold]")
    show.out.print(show.escape(outcome.answer.text))
    show.citations(outcome.answer)


def _report(outcomes: Sequence[Outcome], seed: int, second: Sequence[Outcome] = ()) -> Report:
    firsts = sorted(one.first_token_s for one in outcomes if one.first_token_s is not None)
    times = {
        "first_token_s_p50": firsts[len(firsts) // 2] if firsts else 0.0,
        "first_token_s_max": firsts[-1] if firsts else 0.0,
        "answer_s_p50": sorted(one.seconds for one in outcomes)[len(outcomes) // 2],
    }
    others = {"the half it was tuned on": _half(outcomes, "tune")}
    if second:
        others["second set, held out"] = _half(second, "held_out")
        others["second set, the half it was tuned on"] = _half(second, "tune")
    return Report(
        "sample",
        seed,
        {**_half(outcomes, "held_out"), **times},
        others,
        {"questions": len(outcomes) + len(second)},
        versions("torch", "transformers", "qdrant-edge-py"),
    )


def _half(outcomes: Sequence[Outcome], split: str) -> dict[str, float]:
    return _figures([one for one in outcomes if one.question.split == split])


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    answerable = [one for one in outcomes if one.question.evidence]
    unanswerable = [one for one in outcomes if not one.question.evidence]
    worded = [one for one in answerable if one.answer.wording == sapience.Wording.LANGUAGE_MODEL]
    return {
        "right_turn@3": sum(one.right for one in answerable) / len(answerable),
        "unanswerable_refused": sum(one.refused for one in unanswerable) / len(unanswerable),
        "answerable_refused": sum(one.refused for one in answerable) / len(answerable),
        "worded_by_model": len(worded) / len(answerable),
    }


def _say(what: str) -> None:
    show.err.print(f"{what} …", style="dim")
