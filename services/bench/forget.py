"""What forgetting costs: recall@10 over long conversations with all turns at hand, and with a share of them archived.

The real parts: segments, vectors, the SQLite record, the Edge index, and `memory.recall` with the default recipe. Turns
are archived and thawed as the service does it, one share after another, so the run also shows that a thaw brings
everything back. No language model takes part.

    recall_10_full       recall@10 with every turn at hand, in points, mean over the questions that have an answer
    cost_30, cost_50     points lost with 30% or 50% of the turns archived that `memory.forget` chooses
    cost_random_50       points lost with a random half archived, mean over `DRAWS` draws
    random_over_chosen   cost_random_50 / cost_50
    thawed_difference    points that recall@10 with all turns thawed differs by: 0

What is chosen depends on the age of a turn, so the choice is made as if on the day of the last one. The constants of
`memory.forget` were set on five LoCoMo conversations, by leaving one out: figures on those say how well they fit, and
figures on others what they are worth.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from core.clock import SystemClock, micros
from core.ids import RandomIds
from core.models import ModelAddress
from core.nouns import Float32, PerceivedConcept, PerceivedEpisode, Source, Space
from memory.analysis import document_terms, episode_context
from memory.forget import choose, retained
from memory.index.edge import EdgeIndex
from memory.indexing import Indexer
from memory.recall import Recall, RecallQuery, dense_text
from memory.record.sqlite import SqliteRecord
from perception.encoders.base import Encoder
from perception.encoders.sentence import SentenceEncoder
from perception.segment import segment
from services.bench import locomo_data
from services.bench.locomo_data import ANSWERABLE, Conversation, Question, recall_at
from services.bench.report import Report, versions
from services.cli import show
from services.runtime.settings import load

K = 10
DRAWS = 5
SHARES = (0.3, 0.5)
BATCH = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that has an answer, with its vector."""

    question: Question
    vector: Float32


def run(data: Path, seed: int) -> Report:
    """Measures on every conversation of a folder."""
    settings = load()
    told = locomo_data.load(data)
    address = ModelAddress.parse(settings.encoder, field="SAPIENCE_ENCODER")
    encoder = SentenceEncoder(address, device=settings.device, threads=settings.threads or None)
    scores: dict[str, list[float]] = {}
    for conversation in track(told, "forgetting", console=show.err, transient=True):
        for name, values in _measure(conversation, encoder, seed).items():
            scores.setdefault(name, []).extend(values)
    points = {name: 100 * float(np.mean(values)) for name, values in scores.items()}
    full = points["full"]
    drawn = [full - points[f"random {draw}"] for draw in range(DRAWS)]
    lost, at_random = full - points["0.5"], float(np.mean(drawn))
    figures = {
        "recall_10_full": full,
        "cost_30": full - points["0.3"],
        "cost_50": lost,
        "cost_random_50": at_random,
        "random_over_chosen": at_random / lost if lost > 0 else float("inf"),
        "thawed_difference": abs(points["thawed"] - full),
    }
    return Report(
        "forget",
        seed,
        figures,
        {"a random half": {"least": min(drawn), "most": max(drawn)}},
        {"conversations": len(told), "questions": len(scores["full"]), "draws": DRAWS},
        versions("torch", "qdrant-edge-py"),
    )


def _measure(conversation: Conversation, encoder: Encoder, seed: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder, _Memory(Path(folder), encoder, conversation) as memory:
        asked = memory.encoded([one for one in conversation.questions if one.category in ANSWERABLE])
        scores = {"full": memory.scores(asked)}
        for share in SHARES:
            scores[str(share)] = memory.scores_without(memory.chosen(share), asked)
        for draw in range(DRAWS):
            lot = random.Random(f"{seed}/{draw}/{conversation.name}")
            gone = lot.sample(sorted(memory.turns), len(memory.turns) // 2)
            scores[f"random {draw}"] = memory.scores_without(gone, asked)
        scores["thawed"] = memory.scores(asked)
        return scores


class _Memory:
    """One conversation in a record and an index of its own; each session is a conversation there."""

    def __init__(self, folder: Path, encoder: Encoder, conversation: Conversation) -> None:
        clock = SystemClock()
        self._encoder = encoder
        self._record = SqliteRecord(folder / "record.sqlite", clock, RandomIds(clock))
        self._index = EdgeIndex(folder / "index")
        self._indexer = Indexer(self._record, self._index)
        self._recall = Recall(self._record, self._index)
        self._now = max(micros(turn.told_at) for turn in conversation.turns)
        self._record.create_namespace(conversation.name)
        self._name = conversation.name
        self.turns: dict[str, str] = {}
        """The turns' own ids, by that of their Episode."""
        perceived = self._perceived(conversation)
        for start in range(0, len(perceived), BATCH):
            batch = perceived[start : start + BATCH]
            kept = self._record.remember(self._name, encoder.space, batch)
            self.turns |= {one.episode_id: told.external_id for one, told in zip(kept, batch, strict=True)}
        self._drain()

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self._record.close()

    def encoded(self, questions: Sequence[Question]) -> list[Asked]:
        """The questions with what the dense channel sees of them."""
        speakers = self._record.speakers(self._name)
        vectors = self._encoder.encode([dense_text(one.text, speakers) for one in questions], query=True).vectors
        return [Asked(one, vector) for one, vector in zip(questions, vectors, strict=True)]

    def chosen(self, share: float) -> list[str]:
        """What `memory.forget` would archive."""
        rated = retained(self._record.export_episodes(self._name), {}, self._now)
        return [one.episode.id for one in choose(rated, share=share)]

    def scores_without(self, gone: Collection[str], asked: Iterable[Asked]) -> list[float]:
        """Archives these, asks, and thaws them."""
        ids = sorted(gone)
        self._record.archive(self._name, ids)
        self._drain()
        scores = self.scores(asked)
        self._record.thaw(self._name, ids)
        self._drain()
        return scores

    def scores(self, asked: Iterable[Asked]) -> list[float]:
        """recall@K of each question."""
        space: Space = self._encoder.space
        scores = []
        for one in asked:
            query = RecallQuery(self._name, one.question.text, space, one.vector, limit=K)
            found = [self.turns[hit.episode.id] for hit in self._recall.search(query).hits]
            scores.append(recall_at(K, found, one.question.evidence))
        return scores

    def _drain(self) -> None:
        while self._indexer.drain() is not None:
            pass

    def _perceived(self, conversation: Conversation) -> list[PerceivedEpisode]:
        spans = [segment(turn.text) for turn in conversation.turns]
        vectors = self._encoder.encode([span.text for of in spans for span in of]).vectors
        rows = iter(vectors)
        told = [micros(turn.told_at) for turn in conversation.turns]
        return [
            PerceivedEpisode(
                source=Source(name="bench"),
                text=turn.text,
                told_at=at,
                concepts=tuple(
                    PerceivedConcept(span, next(rows), document_terms(span.text, episode_context(turn.speaker, at)))
                    for span in of
                ),
                conversation=str(turn.session),
                position=turn.number,
                speaker=turn.speaker,
                external_id=turn.id,
            )
            for turn, at, of in zip(conversation.turns, told, spans, strict=True)
        ]
