"""Recall through the real stores: what is found, in which order, why, and what must never be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import ManualClock, micros
from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.ids import RandomIds
from core.nouns import (
    AsOf,
    EpisodeFilter,
    Float32,
    Interval,
    NewFact,
    PerceivedConcept,
    PerceivedEpisode,
    Source,
    SourceKind,
    Space,
    Span,
)
from memory import recipes
from memory.analysis import document_terms, episode_context
from memory.channels import best_others
from memory.index.edge import EdgeIndex
from memory.indexing import Indexer
from memory.recall import Recall, RecallHit, RecallQuery, RecallResult, dense_text
from memory.recipes import RECIPES, Recipe
from memory.record.sqlite import SqliteRecord
from memory.support import elsewhere, support

TOPICS = ("boat", "garden", "music", "weather")
SPACE = Space("topics", "1", len(TOPICS) + 1)
SOURCE = "chat"


def vector(*topics: str) -> Float32:
    """A unit vector between the topics; with none, one of its own that is far from all of them."""
    raw = np.array([float(topic in topics) for topic in TOPICS] + [0.0 if topics else 1.0], dtype=np.float32)
    return raw / np.linalg.norm(raw)


@dataclass
class Memory:
    """One namespace, filled turn by turn."""

    record: SqliteRecord
    index: EdgeIndex
    recall: Recall
    turns: int = 0

    def tell(
        self,
        text: str,
        *topics: str,
        speaker: str = "Ada",
        at: int | None = None,
        kind: SourceKind = SourceKind.TESTIMONY,
        conversation: str = "talk",
        namespace: str = "home",
    ) -> str:
        """Adds a turn, each sentence (after a "|") a Concept, and returns its Episode's id."""
        self.turns += 1
        told_at = self.turns if at is None else at
        concepts, byte = [], 0
        for part in text.split("|"):
            span = Span(part, byte, byte + len(part.encode()))
            byte = span.end_byte
            terms = document_terms(part, episode_context(speaker, told_at))
            concepts.append(PerceivedConcept(span, vector(*topics), terms))
        episode = PerceivedEpisode(
            Source(kind, SOURCE), text.replace("|", ""), told_at, tuple(concepts), conversation, self.turns, speaker
        )
        (remembered,) = self.record.remember(namespace, SPACE, [episode])
        return remembered.episode_id

    def ask(self, text: str, *topics: str, dense: bool = True, **changes: object) -> RecallResult:
        indexer = Indexer(self.record, self.index)
        while indexer.drain() is not None:
            pass
        query = RecallQuery("home", text, SPACE, vector(*topics) if dense else None)
        return self.recall.search(replace(query, **changes))  # type: ignore[arg-type]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    clock = ManualClock(1_700_000_000_000_000)
    record = SqliteRecord(tmp_path / "record.db", clock, RandomIds(clock, seed=1))
    index = EdgeIndex(tmp_path / "index")
    record.create_namespace("home")
    yield Memory(record, index, Recall(record, index))
    index.close()
    record.close()


def ids(result: RecallResult) -> list[str]:
    return [hit.episode.id for hit in result.hits]


def raw(hit: RecallHit, channel: str) -> float:
    return next(part.raw for part in hit.channels if part.channel == channel)


def test_words_and_vectors_both_find(memory: Memory) -> None:
    by_words = memory.tell("The regatta was on Sunday.")
    memory.tell("It rained.", "weather", conversation="other")
    by_vector = memory.tell("We sailed all day.", "boat", conversation="third")
    assert set(ids(memory.ask("regatta", "boat"))[:2]) == {by_words, by_vector}
    assert ids(memory.ask("regatta", "boat", recipe="sparse")) == [by_words]
    assert ids(memory.ask("regatta", "boat", recipe="dense"))[0] == by_vector


def test_every_candidate_is_judged_on_every_channel(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.tell("A boat.", "boat")
    memory.tell("Oars.", "boat", conversation="other")
    monkeypatch.setattr(recipes, "RECIPES", {"few": Recipe("few", candidates=1)})
    # Each search brings in one Episode only; the other's cosine comes from the record.
    (hit,) = memory.ask("oars", "boat", recipe="few", limit=1).hits
    assert [part.channel for part in hit.channels] == [
        "dense", "sparse", "neighbours", "reply", "statement", "salience", "conversation", "feedback",
    ]  # fmt: skip
    assert hit.episode.text == "Oars."
    assert raw(hit, "dense") == pytest.approx(1)
    assert raw(hit, "sparse") > 0


def test_fused_parts_add_up_to_the_score(memory: Memory) -> None:
    for topic in TOPICS:
        memory.tell(f"About {topic}.", topic)
    for recipe in RECIPES:
        for hit in memory.ask("Ada on the garden?", "garden", recipe=recipe).hits:
            assert hit.score == pytest.approx(math.fsum(part.fused for part in hit.channels))


def test_the_answer_beside_a_question_is_found_by_the_words_of_the_question(memory: Memory) -> None:
    for _ in range(6):
        memory.tell("Nothing much.", conversation="noise")
    memory.tell("What is the yacht called?", "boat", speaker="Ben")
    reply = memory.tell("Windflower.", speaker="Ada")
    memory.tell("Nothing much.", speaker="Ben", conversation="noise")
    result = memory.ask("name of the yacht", "boat")
    assert reply in ids(result)[:2]
    assert result.hits[ids(result).index(reply)].coverage == result.hits[0].coverage > 0


def test_of_the_turns_beside_a_question_its_reply_comes_first(memory: Memory) -> None:
    for topic in TOPICS[1:]:
        memory.tell(f"About {topic}.", topic, conversation="noise")
    before = memory.tell("Good morning.", speaker="Ada")
    memory.tell("What is the yacht called?", "boat", speaker="Ben")
    reply = memory.tell("Windflower.", speaker="Ada")
    result = memory.ask("name of the yacht", "boat")
    assert [one for one in ids(result) if one in (before, reply)] == [reply, before]
    assert {hit.episode.id for hit in result.hits if raw(hit, "reply") > 0} == {reply}


@pytest.mark.parametrize(
    ("first", "second", "speaker"),
    [
        ("The yacht is blue.", "Windflower.", "Ada"),  # nobody asks
        ("What is the yacht called?", "I mean the blue one.", "Ben"),  # the one who asked goes on
        ("What is the yacht called?|Never mind.", "Windflower.", "Ada"),  # the question does not come last
    ],
)
def test_only_another_s_answer_to_a_question_is_a_reply(memory: Memory, first: str, second: str, speaker: str) -> None:
    memory.tell("Rain.", "weather", conversation="noise")
    memory.tell(first, "boat", speaker="Ben")
    memory.tell(second, speaker=speaker)
    assert {raw(hit, "reply") for hit in memory.ask("yacht", "boat").hits} == {0}


def test_a_turn_carries_the_words_of_the_one_before_it_at_a_discount(memory: Memory) -> None:
    before = memory.tell("Lovely weather.")
    said = memory.tell("We took the yacht.")
    after = memory.tell("It leaked.")
    elsewhere_said = memory.tell("It leaked.", conversation="other")
    sparse = {hit.episode.id: raw(hit, "sparse") for hit in memory.ask("the yacht that leaked").hits}
    assert sparse[before] == 0
    assert sparse[after] - sparse[elsewhere_said] == pytest.approx(recipes.Recipe("any").carry * sparse[said])


def test_what_was_told_later_is_not_carried(memory: Memory) -> None:
    memory.tell("Which yacht?", "boat", speaker="Ben", at=20)
    reply = memory.tell("Windflower.", "boat", at=10)
    (hit,) = memory.ask("yacht", "boat", as_of=AsOf(told_by=15)).hits
    assert (hit.episode.id, raw(hit, "sparse"), raw(hit, "reply")) == (reply, 0, 0)


def test_who_is_named_comes_first(memory: Memory) -> None:
    ben = memory.tell("I bought a boat.", "boat", speaker="Ben", conversation="one")
    ada = memory.tell("I bought a boat.", "boat", speaker="Ada", conversation="two")
    assert ids(memory.ask("What did Ada buy?", "boat"))[0] == ada
    assert ids(memory.ask("What did Ben buy?", "boat"))[0] == ben
    assert "speaker" not in {part.channel for part in memory.ask("bought", "boat").hits[0].channels}


def test_a_statement_comes_before_a_question_of_the_same_words(memory: Memory) -> None:
    asked = memory.tell("The boat is blue?", "boat", conversation="one")
    said = memory.tell("The boat is blue.", "boat", conversation="two")
    assert ids(memory.ask("colour of the boat", "boat")) == [said, asked]


def test_where_a_time_is_asked_for_one_is_preferred(memory: Memory) -> None:
    memory.tell("Moving the boat is hard.", "boat", conversation="one")
    dated = memory.tell("Moving the boat took last weekend.", "boat", conversation="two")
    hits = memory.ask("When did the boat move?", "boat").hits
    assert [raw(hit, "expected") for hit in hits] == [1, 0]
    assert hits[0].episode.id == dated
    assert all(part.channel != "expected" for hit in memory.ask("Is it hard?", "boat").hits for part in hit.channels)


def test_where_a_name_is_asked_for_one_is_preferred(memory: Memory) -> None:
    memory.tell("Ben, moving the boat is hard.", "boat", conversation="one")
    memory.tell("Thanks a lot.", speaker="Ben", conversation="two")
    named = memory.tell("Moving the boat to Lisbon is hard.", "boat", conversation="three")
    hits = memory.ask("Where is the boat moved to?", "boat").hits
    assert hits[0].episode.id == named
    assert [raw(hit, "expected") for hit in hits] == [1, 0, 0]


def test_a_turn_that_says_more_comes_before_one_that_says_less(memory: Memory) -> None:
    memory.tell("Boat!", "boat", conversation="one")
    more = memory.tell("Varnish, rope and canvas are ready in the shed.", "boat", conversation="two")
    hits = memory.ask("sailing", "boat").hits
    assert hits[0].episode.id == more
    assert raw(hits[0], "salience") > raw(hits[1], "salience")


def test_what_the_first_hits_talk_of_brings_in_others(memory: Memory) -> None:
    memory.tell("Our van is a Transporter called Bruno.", "boat", conversation="one")
    memory.tell("It rained.", conversation="two")
    alias = memory.tell("Bruno's alternator died.", conversation="three")
    hits = {hit.episode.id: hit for hit in memory.ask("van", "boat").hits}
    assert raw(hits[alias], "sparse") == 0
    assert raw(hits[alias], "feedback") > 0
    assert next(iter(hits)) != alias
    assert list(hits).index(alias) == 1


def test_who_spoke_and_when_are_no_feedback(memory: Memory) -> None:
    for colour in ("green", "red", "blue", "grey", "white"):  # as many as give feedback
        memory.tell(f"The van is {colour}.", "boat", speaker="Ada", conversation=colour)
    other = memory.tell("It rained.", speaker="Ada", conversation="other")
    hits = {hit.episode.id: hit for hit in memory.ask("van", "boat").hits}
    assert raw(hits[other], "feedback") == 0


def test_turns_beside_a_hit_make_room_for_others(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("The boat is red.", "The boat is long.", "The boat is old."):
        memory.tell(text, "boat")
    elsewhere_ = memory.tell("The boat leaks.", "boat", "garden", conversation="other")
    monkeypatch.setattr(recipes, "RECIPES", {"apart": Recipe("apart", apart=9), "not": Recipe("not", apart=0)})
    assert ids(memory.ask("boat", "boat", recipe="not")).index(elsewhere_) == 3
    hits = memory.ask("boat", "boat", recipe="apart").hits
    assert elsewhere_ in [hit.episode.id for hit in hits[:3]]
    crowded = [hit for hit in hits if any(part.channel == "apart" for part in hit.channels)]
    assert crowded
    for hit in crowded:
        assert raw(hit, "apart") * -9 == next(part.fused for part in hit.channels if part.channel == "apart")


def test_a_conversation_that_matches_speaks_for_its_turns(memory: Memory) -> None:
    for text in ("The boat leaks.", "The boat is old.", "The boat is red."):
        memory.tell(text, "boat", conversation="harbour")
    inside = memory.tell("It needs paint.", conversation="harbour")
    outside = memory.tell("It needs paint!", conversation="house")
    hits = {hit.episode.id: hit for hit in memory.ask("boat", "boat").hits}
    assert raw(hits[inside], "conversation") > raw(hits[outside], "conversation")


def test_who_asks_for_several_things_gets_them_from_several_conversations(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("The boat is red.", "It rained.", "The boat is long.", "It snowed.", "The boat is old."):
        memory.tell(text, "boat" if "boat" in text else "weather", conversation="harbour")
    elsewhere_ = memory.tell("The boats leak.", "boat", "garden", conversation="other")
    one = Recipe("one", apart=0, conversation=0)
    monkeypatch.setattr(recipes, "RECIPES", {"both": replace(one, several=replace(one, spread=9))})
    assert ids(memory.ask("Which boat is it?", "boat", recipe="both")).index(elsewhere_) >= 2
    hits = memory.ask("Which boats are there?", "boat", recipe="both").hits
    assert elsewhere_ in [hit.episode.id for hit in hits[:2]]
    told = [part for hit in hits for part in hit.channels if part.channel == "spread"]
    assert told
    assert all(part.fused == -9 * part.raw for part in told)


def test_the_best_concept_is_shown(memory: Memory) -> None:
    memory.tell("Hello.|The boat sank.|Goodbye.")
    (hit,) = memory.ask("Which boat?", "boat").hits
    assert (hit.concept.span.text, hit.concept.ordinal, hit.concept.episode_id) == (
        "The boat sank.", 1, hit.episode.id,
    )  # fmt: skip


def test_what_was_told_later_is_not_found_and_does_not_speak_for_its_neighbour(memory: Memory) -> None:
    first = memory.tell("Good morning.", "weather", at=10)
    memory.tell("The boat sank.", "boat", at=20)
    before = memory.ask("boat", "boat", as_of=AsOf(told_by=15))
    assert ids(before) == [first]
    assert before.hits[0].coverage == 0
    assert memory.ask("boat", "boat", as_of=AsOf(told_by=25)).hits[1].coverage == 1


def test_what_was_committed_later_is_not_found(memory: Memory) -> None:
    first = memory.tell("A boat.", "boat")
    seq = memory.record.seq()
    memory.tell("Another boat.", "boat")
    assert ids(memory.ask("boat", "boat", as_of=AsOf(seq=seq))) == [first]


def test_our_own_words_are_no_evidence_and_support_none(memory: Memory) -> None:
    told = memory.tell("Good morning.", "weather")
    own = memory.tell("The boat sank.", "boat", kind=SourceKind.SELF)
    (hit,) = memory.ask("boat", "boat").hits
    assert (hit.episode.id, hit.coverage) == (told, 0)
    assert own in ids(memory.ask("boat", "boat", where=EpisodeFilter(kinds=(SourceKind.SELF,))))


@pytest.mark.parametrize(
    "where",
    [
        EpisodeFilter(speakers=("Ada",)),
        EpisodeFilter(conversations=("one",)),
        EpisodeFilter(told=Interval(0, 3)),
        EpisodeFilter(speakers=("Nobody",)),
    ],
)
def test_filters_are_exact(memory: Memory, where: EpisodeFilter) -> None:
    for speaker, conversation in (("Ada", "one"), ("Ben", "one"), ("Ada", "two"), ("Ben", "two")):
        memory.tell("A boat.", "boat", speaker=speaker, conversation=conversation)
    everything = [hit.episode for hit in memory.ask("boat", "boat").hits]
    assert len(everything) == 4
    allowed = {episode.id for episode in everything if where.allows(episode, AsOf())}
    assert set(ids(memory.ask("boat", "boat", where=where))) == allowed


def test_pages_are_cut_from_one_ranking(memory: Memory) -> None:
    for turn in range(7):
        memory.tell(f"Boat number {turn}.", "boat", conversation=str(turn))
    whole = memory.ask("boat number 3", "boat", limit=7)
    pages = [memory.ask("boat number 3", "boat", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [one for page in pages for one in ids(page)] == ids(whole)
    assert [page.has_more for page in pages] == [True, True, False, False]


def test_a_larger_page_changes_no_rank(memory: Memory) -> None:
    for turn in range(90):
        memory.tell(f"Boat number {turn}.", *TOPICS[: 1 + turn % 3], conversation=str(turn % 7))
    whole = memory.ask("boat number 3", "boat", limit=200)
    for limit in (1, 10, 50):
        assert memory.ask("boat number 3", "boat", limit=limit).hits == whole.hits[:limit]


def test_what_was_told_in_the_period_that_is_asked_of_is_ahead(memory: Memory) -> None:
    may, june, july = (micros(datetime(2023, month, 9, tzinfo=UTC)) for month in (5, 6, 7))
    told = {at: memory.tell("We sailed the boat.", "boat", at=at, conversation=str(at)) for at in (june, may, july)}
    result = memory.ask("Where did they sail in the month of May?", "boat")
    assert ids(result)[0] == told[may]
    assert raw(result.hits[0], "time") == 1
    assert ids(memory.ask("Where did they sail last month?", "boat", asked_at=july))[0] == told[june]
    assert all(part.channel != "time" for hit in memory.ask("boat", "boat").hits for part in hit.channels)


def test_facts_about_whom_the_query_names_bring_in_their_episodes(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(RECIPES["graph"], candidates=1, several=None)
    monkeypatch.setattr(recipes, "RECIPES", {"graph": few, "default": replace(few, graph=0.0)})
    source = memory.tell("The boxes came by ship.", "boat", conversation="one")
    memory.tell("Ada does live music.", "music", conversation="two")
    memory.tell("The weather.", "weather", conversation="three")
    fact = NewFact("Ada", "lives_in", Interval(), 1, entity="Lisbon", episode_id=source)
    memory.record.assert_facts("home", [fact, replace(fact, relation="likes", entity="Rome", episode_id="")])
    assert source not in ids(memory.ask("Where does Ada live?", "music"))
    found = memory.ask("Where does Ada live?", "music", recipe="graph")
    hit = next(hit for hit in found.hits if hit.episode.id == source)
    assert 0 < raw(hit, "graph") < 1
    assert hit.score == pytest.approx(math.fsum(part.fused for part in hit.channels))
    assert source not in ids(memory.ask("What is Ada's hobby?", "music", recipe="graph")), "no word in common"


def test_a_diverse_recall_tells_one_thing_once(memory: Memory) -> None:
    copies = [memory.tell("The boat is called Windflower.", "boat", conversation=str(one)) for one in range(3)]
    other = memory.tell("The boat is moored beside the garden.", "boat", "garden", conversation="other")
    for number in range(4):
        memory.tell("It rained.", "weather", conversation=f"noise {number}")
    hits = memory.ask("the boat called Windflower", "boat", recipe="diverse").hits
    assert [hit.episode.id in copies for hit in hits[:2]] == [True, False]
    assert hits[1].episode.id == other
    again = next(hit for hit in hits[1:] if hit.episode.id in copies)
    assert raw(again, "mmr") == pytest.approx(1)
    assert again.score == pytest.approx(math.fsum(part.fused for part in again.channels))


def test_the_token_budget_is_never_exceeded(memory: Memory) -> None:
    for conversation in ("one", "two", "three"):
        memory.tell("Boat, 16 bytes é", "boat", conversation=conversation)
    result = memory.ask("boat", "boat", token_budget=9)
    assert (len(result.hits), result.has_more) == (2, True)
    assert memory.ask("boat", "boat", token_budget=4) == RecallResult((), True, 1.0, "default")


def test_known_terms_is_the_share_of_idf_that_the_namespace_knows(memory: Memory) -> None:
    memory.tell("A boat.", "boat")
    assert memory.ask("boat", "boat").known_terms == 1
    assert 0 < memory.ask("boat zeppelin", "boat").known_terms < 0.5
    assert memory.ask("zeppelin", "boat").known_terms == 0
    assert memory.ask("what is it?", "boat").known_terms == 0


def test_another_namespace_is_never_seen_nor_counted(memory: Memory) -> None:
    memory.record.create_namespace("away")
    memory.tell("A boat.", "boat", namespace="away", speaker="Ben")
    assert memory.ask("boat", "boat") == RecallResult()
    mine = memory.tell("Rain.", "weather")
    result = memory.ask("boat", "boat")
    assert (ids(result), result.known_terms) == ([mine], 0)


def test_what_is_forgotten_but_still_indexed_is_not_found(memory: Memory) -> None:
    gone = memory.tell("A boat.", "boat")
    memory.ask("boat", "boat")
    memory.record.forget("home", episode_ids=[gone])
    assert memory.recall.search(RecallQuery("home", "boat", SPACE, vector("boat"))).hits == ()


def test_no_vector_leaves_the_dense_channel_out(memory: Memory) -> None:
    found = memory.tell("A boat.", "boat")
    (hit,) = memory.ask("boat", dense=False).hits
    assert hit.episode.id == found
    assert "dense" not in {part.channel for part in hit.channels}


def test_names_of_speakers_are_not_encoded(memory: Memory) -> None:
    memory.tell("A boat.", speaker="Ben Marsh")
    assert memory.recall.dense_text("home", "What is Ben's boat called?") == "What is boat called?"
    assert dense_text("What is Ben's boat called?", ["Ben Marsh"]) == "What is boat called?"


def test_dense_text_follows_the_recipe(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.tell("A boat.", speaker="Ben")
    monkeypatch.setattr(recipes, "RECIPES", {"plain": Recipe("plain", strip_names=False)})
    assert memory.recall.dense_text("home", "Ben's boat", "plain") == "Ben's boat"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"recipe": "best"}, "recipe", "'best'; one of default, reranked, graph, diverse, dense, sparse, rrf"),
        ({"limit": 0}, "limit", "limit is 0"),
        ({"offset": -1}, "offset", "offset is -1"),
        ({"token_budget": -5}, "token_budget", "token_budget is -5"),
        ({"dense_vector": np.ones(3, np.float32)}, "vector", r"\[3\].*\[5\]"),
        ({"dense_vector": np.zeros(5, np.float32)}, "vector", "length is 0"),
        ({"dense_vector": np.full(5, np.nan, np.float32)}, "vector", "length is nan"),
    ],
)
def test_bad_arguments_are_named(memory: Memory, changes: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as error:
        memory.ask("boat", **changes)  # type: ignore[arg-type]
    assert error.value.field == field


def test_an_unknown_namespace_is_not_found(memory: Memory) -> None:
    with pytest.raises(NotFound) as error:
        memory.ask("boat", namespace="nowhere")
    assert error.value.reason == "NAMESPACE_NOT_FOUND"


def test_vectors_of_another_space_are_refused(memory: Memory) -> None:
    memory.tell("A boat.", "boat")
    with pytest.raises(FailedPrecondition, match=r"topics@1\[5\].*other@2\[5\]") as error:
        memory.ask("boat", "boat", space=Space("other", "2", 5))
    assert error.value.reason == "SPACE_MISMATCH"


def test_support_tells_an_answer_from_the_best_of_nothing(memory: Memory) -> None:
    for topic in TOPICS:
        memory.tell(f"Ada spoke about the {topic} for an hour.", topic, conversation=topic)
    good, bad = memory.ask("garden", "garden"), memory.ask("Where was the treaty signed?")
    assert support(good.hits[0], good) > 0.9 > 0.1 > support(bad.hits[0], bad)


def test_support_falls_where_somebody_else_said_it(memory: Memory) -> None:
    memory.tell("I planted roses.", "garden", speaker="Ben", conversation="one")
    memory.tell("I like rain.", "weather", speaker="Ada", conversation="two")
    ada, ben = memory.ask("Which roses did Ada plant?", "garden"), memory.ask("Which roses did Ben plant?", "garden")
    assert elsewhere(ada) > 0 == elsewhere(ben) == elsewhere(memory.ask("Which roses?", "garden"))
    assert max(support(hit, ada) for hit in ada.hits) < max(support(hit, ben) for hit in ben.hits)


def test_support_stands_without_the_dense_channel(memory: Memory) -> None:
    memory.tell("The boat sank.", "boat")
    result = memory.ask("boat", recipe="sparse")
    assert 0 < support(result.hits[0], result) < 1


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-8, 8)), min_size=1, max_size=30))
def test_a_conversation_speaks_by_its_best_three_others(told: list[tuple[int, int]]) -> None:
    groups = np.array([group for group, _ in told])
    scores = np.array([score / 4 for _, score in told])
    found = best_others(scores, groups)
    for place, group in enumerate(groups):
        others = sorted((scores[n] for n in range(len(told)) if groups[n] == group and n != place), reverse=True)[:3]
        expected = sum(others) / len(others) if others and group >= 0 else scores.min()
        assert found[place] == pytest.approx(expected)
