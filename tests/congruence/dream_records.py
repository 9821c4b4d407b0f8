"""What the Dream suite tells a record, and how it compares two states of one.

Run as a program it goes on with whatever Dream is at work on a SQLite file, a step for each line that it reads, says so
after each, and is killed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import DAY, SystemClock
from core.ids import RandomIds
from core.nouns import Float32, PerceivedConcept, PerceivedEpisode, Source, SourceKind, Space, Span
from core.ports import Record
from memory.analysis import document_terms, episode_context
from memory.dreams.work import Dreaming
from memory.record.sqlite import SqliteRecord

SPACE_8 = Space("encoder", "1", 8)
T0 = 1_700_000_000_000_000

TOPICS = (
    ("kiln", "I fired the second kiln with glazed bowls until midnight yesterday evening."),
    ("garden", "The tomatoes behind the greenhouse ripened earlier than the cucumbers this season."),
    ("choir", "Our choir rehearses the requiem every Thursday inside the old chapel downtown."),
)


def episode(
    text: str,
    vector: Float32,
    *,
    speaker: str,
    at: int,
    position: int,
    kind: SourceKind = SourceKind.TESTIMONY,
    derived_from: Sequence[str] = (),
) -> PerceivedEpisode:
    """An Episode with one Concept for each line, which has the terms of its words; all have one vector."""
    context, start, concepts = episode_context(speaker, at), 0, []
    for line in text.splitlines():
        end = start + len(line.encode())
        concepts.append(PerceivedConcept(Span(line, start, end, "en"), vector, document_terms(line, context)))
        start = end + 1
    return PerceivedEpisode(
        source=Source(kind, "chat"),
        text=text,
        told_at=at,
        concepts=tuple(concepts),
        conversation="diary" if kind is SourceKind.TESTIMONY else "",
        position=position,
        speaker=speaker,
        derived_from=tuple(derived_from),
    )


def fill(record: Record, namespace: str) -> None:
    """Two people on three topics over two months, one of them saying one thing twice, and answers that cite."""

    def said(number: int, at: int) -> PerceivedEpisode:
        topic, text = TOPICS[number % 3]
        vector = np.eye(8, dtype=np.float32)[number % 3]
        vector[3 + number % 5] = 0.02 * number
        return episode(
            f"{text} Visit number {number} of the {topic} brought {number + 2} surprises.",
            vector / np.float32(np.linalg.norm(vector)),
            speaker=("Ann", "Ben")[number % 2],
            at=at,
            position=number,
        )

    batch = [said(number, T0 + number * 3 * DAY) for number in range(18)]
    kept = record.remember(namespace, SPACE_8, [*batch, said(2, T0 + 60 * DAY)])
    ids = [one.episode_id for one in kept]
    record.add_uses(namespace, {ids[18]: (2, T0 + 61 * DAY), ids[0]: (1, T0 + 62 * DAY)})
    answers = [
        episode(
            f"Asked: When did the kiln burn for the {n}. time?\nAnswered: In the evening.",
            np.eye(8, dtype=np.float32)[7],
            speaker="sapience",
            at=T0 + (70 + n) * DAY,
            position=n,
            kind=SourceKind.SELF,
            derived_from=(ids[0], ids[3], ids[6 + 3 * (n % 2)]) if n < 4 else (),
        )
        for n in range(6)
    ]
    record.remember(namespace, SPACE_8, answers)


def state_of(record: Record, namespace: str = "a") -> Any:
    """All that a reader of the namespace can tell, but for the numbers of later commits."""
    told = list(record.export_episodes(namespace))
    ids = [one.id for one, _ in told]
    return (
        [(one, [_concept(concept) for concept in concepts]) for one, concepts in told],
        record.keepings(namespace, ids),
        record.sources_of(namespace, ids),
        sorted(record.concept_ids(namespace)),
        record.speakers(namespace),
        record.facts(namespace),
        record.policies(namespace),
        record.term_statistics(namespace, sorted({t for _, cs in told for c in cs for t in c.terms.indices})),
        replace(record.counts(namespace), seq=0, outbox_pending=0),
    )


def without_ids(record: Record, namespace: str = "a") -> Any:
    """The same state in another store: by what was told, not by ids and times of recording."""
    told = list(record.export_episodes(namespace))
    keepings = record.keepings(namespace, [one.id for one, _ in told])
    sources = record.sources_of(namespace, [one.id for one, _ in told])
    text = {one.id: (one.text, one.told_at) for one, _ in told}
    return sorted(
        (
            one.text,
            one.told_at,
            int(one.source.kind),
            bool(one.archived_seq),
            keepings[one.id].uses,
            keepings[one.id].used_at or 0,
            sorted(text[source] for source in sources.get(one.id, ())),
            [concept.vector.tobytes() for concept in concepts],
        )
        for one, concepts in told
    )


def _concept(stored: Any) -> Any:
    return stored.concept, stored.space, stored.vector.tobytes(), stored.terms


def run(path: Path) -> None:
    """Steps when it is told to, until nothing is at work."""
    clock = SystemClock()
    record = SqliteRecord(path, clock, RandomIds(clock))
    dreaming = Dreaming(record)
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while (waiting := record.dreams_at_work()) and sys.stdin.readline():
        dreaming.step(waiting[0].namespace, waiting[0].id)
        sys.stdout.write("stepped\n")
        sys.stdout.flush()
    record.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
