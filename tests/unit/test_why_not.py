"""Why an Episode is not found: each reason, on a real record and index; and that it says what the recall does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.clock import ManualClock
from core.ids import RandomIds
from core.nouns import AsOf, EpisodeFilter, PerceivedConcept, PerceivedEpisode, Source, SourceKind, Space, Span
from memory.analysis import document_terms, episode_context
from memory.index.edge import EdgeIndex
from memory.indexing import Indexer
from memory.recall import Recall, RecallQuery
from memory.record.sqlite import SqliteRecord
from memory.why_not import Kept, WhyNot, why_not

SPACE = Space("toy", "1", 4)
T0 = 1_700_000_000_000_000
DAY = 86_400_000_000


class Home:
    """A namespace of Episodes whose vectors are one of four directions."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(T0)
        self.record = SqliteRecord(folder / "record.sqlite", self.clock, RandomIds(self.clock, seed=1))
        self.index = EdgeIndex(folder / "index")
        self.recall = Recall(self.record, self.index)
        self.record.create_namespace("home")
        self.told = 0

    def tell(self, text: str, topic: int, *, speaker: str = "Ada", kind: SourceKind = SourceKind.TESTIMONY) -> str:
        self.told += 1
        told_at = T0 + self.told * DAY
        terms = document_terms(text, episode_context(speaker, told_at))
        concept = PerceivedConcept(Span(text, 0, len(text.encode())), np.eye(4, dtype=np.float32)[topic], terms)
        episode = PerceivedEpisode(
            Source(kind, "chat"), text, told_at, (concept,), f"c{self.told}", 0, speaker, str(self.told)
        )
        (kept,) = self.record.remember("home", SPACE, [episode])
        self.settle()
        return kept.episode_id

    def settle(self) -> None:
        indexer = Indexer(self.record, self.index)
        while indexer.drain() is not None:
            pass

    def query(self, text: str, topic: int, limit: int = 3, **more: object) -> RecallQuery:
        vector = np.eye(4, dtype=np.float32)[topic]
        return RecallQuery("home", text, SPACE, vector, limit=limit, **more)  # type: ignore[arg-type]

    def why(self, query: RecallQuery, episode_id: str) -> WhyNot:
        return why_not(self.record, self.recall, query, episode_id)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.index.close()
    made.record.close()


def test_a_hit_is_found_with_its_rank(home: Home) -> None:
    home.tell("The dog barked.", 1)
    boat = home.tell("The boat sank.", 0)
    answer = home.why(home.query("boat", 0), boat)
    assert (answer.kept, answer.rank, answer.message) == (Kept.FOUND, 1, "it is hit 1")
    assert answer.hit == home.recall.search(home.query("boat", 0)).hits[0]


def test_what_is_not_there_or_forgotten(home: Home) -> None:
    boat = home.tell("The boat sank.", 0)
    assert home.why(home.query("boat", 0), "nobody").kept is Kept.NOT_THERE
    home.record.forget("home", episode_ids=[boat])
    home.settle()
    answer = home.why(home.query("boat", 0), boat)
    assert answer.kept is Kept.NOT_THERE
    assert "forgotten" in answer.message


def test_what_was_told_or_committed_later(home: Home) -> None:
    home.tell("The dog barked.", 1)
    boat = home.tell("The boat sank.", 0)
    assert home.why(home.query("boat", 0, as_of=AsOf(told_by=T0 + DAY)), boat).kept is Kept.TOLD_LATER
    before = home.record.episodes("home", [boat])[boat].seq - 1
    answer = home.why(home.query("boat", 0, as_of=AsOf(seq=before)), boat)
    assert answer.kept is Kept.TOLD_LATER
    assert str(before) in answer.message


@pytest.mark.parametrize(
    ("where", "word"),
    [
        (EpisodeFilter(speakers=("Bo",)), "speakers"),
        (EpisodeFilter(kinds=(SourceKind.DOCUMENT,)), "kinds"),
        (EpisodeFilter(conversations=("other",)), "conversations"),
    ],
)
def test_what_the_filter_excludes(home: Home, where: EpisodeFilter, word: str) -> None:
    boat = home.tell("The boat sank.", 0)
    answer = home.why(home.query("boat", 0, where=where), boat)
    assert answer.kept is Kept.FILTERED
    assert f"filter's {word}" in answer.message


def test_what_is_archived(home: Home) -> None:
    boat = home.tell("The boat sank.", 0)
    home.record.archive("home", [boat])
    home.settle()
    assert home.why(home.query("boat", 0), boat).kept is Kept.ARCHIVED


def test_what_others_are_ranked_above(home: Home) -> None:
    boats = [home.tell(f"The boat {what}.", 0) for what in ("sank", "leaks", "sails", "is red")]
    dog = home.tell("The dog barked at the boat.", 1)
    query = home.query("boat", 0)
    answer = home.why(query, dog)
    ranked = [hit.episode.id for hit in home.recall.search(home.query("boat", 0, limit=30)).hits]
    assert (answer.kept, answer.rank, answer.candidates) == (Kept.RANKED_BELOW, ranked.index(dog) + 1, 5)
    own, last = ({part.channel: part.fused for part in hit.channels} for hit in (answer.hit, answer.page.hits[-1]))
    most = max(last, key=lambda channel: (last[channel] - own.get(channel, 0.0), channel))
    assert f"lacks most in {most}" in answer.message
    assert answer.page.hits[-1].episode.id in boats


def test_what_no_search_brings_in_is_judged_all_the_same(home: Home) -> None:
    for number in range(40):
        home.tell(f"Boat number {number} sank.", 0)
    dog = home.tell("The dog barked.", 1)
    answer = home.why(home.query("boat", 0), dog)
    assert answer.kept is Kept.NOT_SEARCHED
    assert answer.hit is not None
    assert answer.hit.episode.id == dog
    assert answer.rank == answer.candidates, "nothing speaks for it"


def test_what_the_budget_ends_before(home: Home) -> None:
    for text in ("The boat sank and sank, and then it sank.", "The boat leaks and leaks, and then it leaks."):
        home.tell(text, 0)
    full = [hit.episode.id for hit in home.recall.search(home.query("boat", 0)).hits]
    other = full[1]
    query = home.query("boat", 0, token_budget=14)
    assert [hit.episode.id for hit in home.recall.search(query).hits] == full[:1]
    answer = home.why(query, other)
    assert (answer.kept, answer.rank) == (Kept.OVER_BUDGET, 2)
    assert "14 tokens" in answer.message
