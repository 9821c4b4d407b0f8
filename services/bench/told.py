"""A conversation as benches remember it: in a record and an index of its own, with the real parts and no services."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from core.clock import SystemClock, micros
from core.ids import RandomIds
from core.nouns import Float32, PerceivedConcept, PerceivedEpisode, Source, Space
from memory.analysis import document_terms, episode_context
from memory.index.edge import EdgeIndex
from memory.indexing import Indexer
from memory.recall import Recall, RecallQuery, dense_text
from memory.record.sqlite import SqliteRecord
from perception.encoders.base import Encoder
from perception.segment import segment
from services.bench.locomo_data import Conversation, Question, recall_at

K = 10
BATCH = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that has an answer, with its vector."""

    question: Question
    vector: Float32


class ToldConversation:
    """One conversation in a record and an index of its own; each session is a conversation there."""

    def __init__(self, folder: Path, encoder: Encoder, conversation: Conversation) -> None:
        clock = SystemClock()
        self._encoder = encoder
        self.record = SqliteRecord(folder / "record.sqlite", clock, RandomIds(clock))
        self._index = EdgeIndex(folder / "index")
        self._indexer = Indexer(self.record, self._index)
        self._recall = Recall(self.record, self._index)
        self.now = max(micros(turn.told_at) for turn in conversation.turns)
        self.record.create_namespace(conversation.name)
        self.name = conversation.name
        self.turns: dict[str, str] = {}
        """The turns' own ids, by that of their Episode."""
        perceived = self._perceived(conversation)
        for start in range(0, len(perceived), BATCH):
            batch = perceived[start : start + BATCH]
            kept = self.record.remember(self.name, encoder.space, batch)
            self.turns |= {one.episode_id: told.external_id for one, told in zip(kept, batch, strict=True)}
        self.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self.record.close()

    def encoded(self, questions: Sequence[Question]) -> list[Asked]:
        """The questions with what the dense channel sees of them."""
        speakers = self.record.speakers(self.name)
        vectors = self._encoder.encode([dense_text(one.text, speakers) for one in questions], query=True).vectors
        return [Asked(one, vector) for one, vector in zip(questions, vectors, strict=True)]

    def scores(self, asked: Iterable[Asked], recipe: str = "") -> list[float]:
        """recall@K of each question."""
        return [recall_at(K, self.found(one, recipe), one.question.evidence) for one in asked]

    def found(self, asked: Asked, recipe: str = "", limit: int = K) -> list[str]:
        """The turns' own ids, best first."""
        space: Space = self._encoder.space
        query = RecallQuery(self.name, asked.question.text, space, asked.vector, recipe, limit=limit)
        return [self.turns[hit.episode.id] for hit in self._recall.search(query).hits]

    def drain(self) -> None:
        """Lets the index follow the record."""
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
