"""One suite for every record: a Dream that merges names that mean the same, its undoing, and what people refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from record_backends import PLACES, SPACE, T0, Bench, Place, stated, told

from core.dreams import ChangeState, DreamBudget, DreamKind, DreamState, Join, Proposal
from core.nouns import AsOf
from core.ports import Record
from memory.dreams.work import Dreaming
from memory.ingest.extract import VERSION, extract

UNDOABLE = {DreamState.APPLIED, DreamState.CANCELLED, DreamState.FAILED}
CHAT = (
    ("Melanie", "I moved to Oslo in spring."),
    ("Caroline", "How is Oslo, Mel?"),
    ("Melanie", "Cold, and I met Zoë Müller there."),
    (
        "Caroline",
        "Say hello to Zoe Muller from me. Mel, doesn't Zoe Muller work at Acme?",
    ),
)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    made.record.remember(
        "a", SPACE, [told(text, speaker=who, position=n, at=T0 + n) for n, (who, text) in enumerate(CHAT)]
    )
    read = [extract(one) for one in made.record.unextracted("a", VERSION, 100)]
    made.record.write_extracted("a", VERSION, read)
    made.record.assert_fact("a", stated("Mel", "likes", "Skiing", at=T0 + 9))
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    return bench.record


def entities(record: Record, as_of: AsOf = AsOf()) -> Any:
    """Whatever a reader can tell of Entities and Facts, as of a time."""
    known, _ = record.entities("a", as_of)
    mentions = [[one.episode.id for one in record.mentions("a", known.entity.name, as_of, 50)] for known in known]
    merges = [(one.id, one.kept, one.merged) for one in record.merges("a", as_of)]
    return known, mentions, record.facts("a", as_of=as_of), merges


def dreamt(record: Record, *, automatic: bool = False) -> str:
    begun = record.begin_dream("a", [DreamKind.ALIASES], DreamBudget(), automatic)
    Dreaming(record).run("a", begun.id)
    return begun.id


def approved(record: Record, dream_id: str, *ordinals: int) -> None:
    record.approve_dream("a", dream_id, ordinals)
    assert Dreaming(record).run("a", dream_id).state is DreamState.APPLIED


def undone(record: Record, dream_id: str) -> None:
    record.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)
    assert Dreaming(record).run("a", dream_id).state is DreamState.UNDONE


def names(record: Record, dream_id: str) -> list[tuple[str, ...]]:
    changes = record.changes("a", dream_id)
    found = record.entities_by_id("a", [one for change in changes for one in change.proposal.entities])
    return [tuple(found[one].name for one in change.proposal.entities) for change in changes]


def test_names_are_merged_and_apart_again_exactly(record: Record) -> None:
    before, seq = entities(record), record.seq()
    dream_id = dreamt(record)
    assert sorted(names(record, dream_id)) == [("Melanie", "Mel"), ("Zoë Müller", "Zoe Muller")]
    assert entities(record) == before, "nothing was approved"
    approved(record, dream_id)
    after, then = entities(record), record.seq()
    assert record.names_of("a", "Mel") == ("Melanie", "Mel")
    assert {one.subject.name for one in record.facts("a", "Mel")} == {"Melanie"}
    assert all(one.reason.startswith("a Dream: ") for one in record.merges("a"))
    assert entities(record, AsOf(seq=seq)) == before
    again = dreamt(record)
    assert record.dream("a", again).total == 0
    assert entities(record) == after
    undone(record, dream_id)
    assert entities(record) == before
    assert entities(record, AsOf(seq=then)) == after, "what was believed then is not rewritten"


def test_an_automatic_dream_merges_what_is_certain_and_tells_the_rest(record: Record) -> None:
    dream_id = dreamt(record, automatic=True)
    changes = dict(zip(names(record, dream_id), record.changes("a", dream_id), strict=True))
    assert changes["Zoë Müller", "Zoe Muller"].state is ChangeState.APPLIED
    assert changes["Melanie", "Mel"].state is ChangeState.FOUND
    assert [one.merged.name for one in record.merges("a")] == ["Zoe Muller"]


def test_what_somebody_took_back_or_declined_is_not_proposed_again(record: Record) -> None:
    first = dreamt(record)
    kept = names(record, first).index(("Melanie", "Mel")) + 1
    approved(record, first, kept)
    again = dreamt(record)
    assert names(record, again) == [], "the one is made, and the other was declined"
    (made,) = record.merges("a")
    record.undo_merge("a", made.id)
    assert names(record, dreamt(record)) == []
    undone(record, first)
    assert record.merges("a") == []
    assert names(record, dreamt(record)) == []


def test_a_merge_is_skipped_where_people_were_faster(record: Record) -> None:
    melanie, mel = (record.entity("a", name).entity.id for name in ("Melanie", "Mel"))

    def waiting() -> str:
        begun = record.begin_dream("a", [DreamKind.ALIASES], DreamBudget(), automatic=False)
        pair = Proposal(DreamKind.ALIASES, (), "a short form", 0.7, (Join(melanie, mel),), entities=(melanie, mel))
        gone = Proposal(
            DreamKind.ALIASES, (), "a short form", 0.6, (Join(melanie, "gone"),), entities=(melanie, "gone")
        )
        record.propose("a", begun.id, [pair, gone], end=(0, ""), episodes=0, more=False)
        return begun.id

    late = waiting()
    made = record.merge_entities("a", "Mel", "Melanie")
    after = entities(record)
    approved(record, late)
    assert [one.state for one in record.changes("a", late)] == [ChangeState.SKIPPED] * 2
    assert entities(record) == after
    later = waiting()
    record.undo_merge("a", made.id)
    apart = entities(record)
    approved(record, later)
    assert entities(record) == apart, "who took it back meanwhile is heeded"


def test_a_merge_goes_on_after_a_restart(bench: Bench) -> None:
    dream_id = dreamt(bench.record)
    bench.record.approve_dream("a", dream_id)
    Dreaming(bench.record).step("a", dream_id)
    record = bench.reopen()
    assert [one.id for one in record.dreams_at_work()] == [dream_id]
    assert Dreaming(record).run("a", dream_id).state is DreamState.APPLIED
    assert len(record.merges("a")) == 2
    bench.record.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)
    Dreaming(record).step("a", dream_id)
    record = bench.reopen()
    assert Dreaming(record).run("a", dream_id).state is DreamState.UNDONE
    assert record.merges("a") == []


def test_an_undone_dream_leaves_what_was_merged_by_hand_since(record: Record) -> None:
    dream_id = dreamt(record)
    approved(record, dream_id)
    made = next(one for one in record.merges("a") if one.merged.name == "Mel")
    record.undo_merge("a", made.id)
    by_hand = record.merge_entities("a", "Melanie", "Mel")
    undone(record, dream_id)
    assert [one.id for one in record.merges("a")] == [by_hand.id]


def test_no_row_of_a_merge_holds_a_name(record: Record) -> None:
    dream_id = dreamt(record)
    kept = repr([record.dream("a", dream_id), record.changes("a", dream_id)])
    assert not any(name in kept for name in ("Mel", "Zo", "Caroline"))
