"""One suite for every record: what Episodes mention, extraction, merges of Entities and how reads follow them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from record_backends import PLACES, SPACE, T0, Bench, Place, stated, told

from core.clock import LATEST
from core.entities import Extracted, NewMention
from core.errors import InvalidArgument, SapienceError
from core.nouns import AsOf, Contradiction, Entity, EpisodeFilter, Fact, Interval, SourceKind
from core.ports import Record
from memory import temporal
from memory.ingest.extract import VERSION, extract
from memory.ingest.relation_rules import RULES

NOW = AsOf()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    return bench.record


def remember(record: Record, *texts: str, namespace: str = "a", **given: Any) -> list[str]:
    batch = [told(text, position=n, at=T0 + n, **given) for n, text in enumerate(texts)]
    return [one.episode_id for one in record.remember(namespace, SPACE, batch)]


def read_all(record: Record, namespace: str = "a", version: int = VERSION, page: int = 2) -> int:
    """Extracts until nothing is left; how many Facts are new."""
    new = 0
    while episodes := record.unextracted(namespace, version, page):
        new += record.write_extracted(namespace, version, [extract(one) for one in episodes])
    return new


def mentioned(name: str, *places: tuple[int, int], kind: str = "") -> list[NewMention]:
    return [NewMention(name, start, end, kind) for start, end in places or ((0, 0),)]


def extracted(episode_id: str, *names: str, **given: Any) -> Extracted:
    return Extracted(episode_id, tuple(one for name in names for one in mentioned(name)), **given)


def names(record: Record, as_of: AsOf = NOW, limit: int = 100) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page, after = record.entities("a", as_of, limit, after)
        assert len(page) <= limit
        found += [one.entity.name for one in page]
        if not after:
            return found


def refused(reason: str, call: Any) -> SapienceError:
    with pytest.raises(SapienceError) as caught:
        call()
    assert caught.value.reason == reason
    return caught.value


def ends(facts: Sequence[Fact]) -> list[tuple[str, str, str]]:
    return [
        (one.subject.name, one.relation, one.object.name if isinstance(one.object, Entity) else one.object)
        for one in facts
    ]


def test_an_episode_is_read_once_and_what_it_says_is_there(record: Record) -> None:
    first, second = remember(record, "My sister Anna moved to Rome last month.", "Anna said hello.", speaker="Nora")
    assert [one.id for one in record.unextracted("a", VERSION, 10)] == [first, second]
    assert record.extracted_seq(VERSION, "a") == record.extracted_seq(VERSION) == 1  # the namespace's own commit
    assert read_all(record) == 2
    assert record.unextracted("a", VERSION, 10) == []
    assert record.extracted_seq(VERSION, "a") == record.seq()
    assert sorted(ends(record.facts("a"))) == [("Anna", "lives_in", "Rome"), ("Nora", "sibling_of", "Anna")]
    assert all(one.episode_id == first and one.rule and one.trust < 1 for one in record.facts("a"))
    assert [(one.relation, one.policy) for one in record.policies("a")] == [("lives_in", Contradiction.SINGLE)]
    assert names(record) == ["Anna", "Nora", "Rome"]
    anna = record.entity("a", "anna")
    assert (anna.entity.name, anna.kind, anna.aliases, anna.episodes, anna.facts) == ("Anna", "person", (), 2, 2)
    found = record.mentions("a", "Anna", NOW, 10)
    assert [(one.episode.id, one.spans) for one in found] == [(first, ((10, 14),)), (second, ((0, 4),))]
    assert [one.spans for one in record.mentions("a", "Nora", NOW, 10)] == [(), ()]  # she speaks


def test_what_many_episodes_mention_is_read_at_once(record: Record) -> None:
    first, second, third = remember(record, "Anna and Bruno.", "Anna, Anna!", "nobody")
    record.write_extracted("a", VERSION, [extracted(first, "Anna", "Bruno"), extracted(second, "Anna")])
    before = AsOf(seq=record.seq())
    found = record.mentioned_in("a", [third, first, second, "unknown"])
    assert {one: [entity.name for entity in entities] for one, entities in found.items()} == {
        first: sorted(["Anna", "Bruno"], key=lambda name: record.entity("a", name).entity.id),
        second: ["Anna"],
    }
    assert record.mentioned_in("a", []) == {}
    record.merge_entities("a", "Anna", "Bruno")
    (anna,) = record.mentioned_in("a", [first])[first]
    assert anna == record.entity("a", "Bruno").entity
    assert record.mentioned_in("a", [first, second], before) == {one: found[one] for one in (first, second)}
    record.create_namespace("b")
    assert record.mentioned_in("b", [first]) == {}


def test_reading_again_writes_no_fact_twice_and_replaces_mentions(record: Record) -> None:
    (first,) = remember(record, "I live in Rome. Anna said so.", speaker="Nora")
    assert read_all(record) == 1
    before, seq = record.facts("a"), record.seq()
    assert read_all(record, version=VERSION + 1) == 0  # the same rules under another number
    assert (record.facts("a"), record.seq()) == (before, seq)
    assert record.write_extracted("a", VERSION + 2, [extracted(first, "Bruno")]) == 0
    assert names(record) == ["Bruno", "Nora", "Rome"]  # Anna is named by nothing any more
    assert record.facts("a") == before
    assert record.unextracted("a", VERSION, 10) == []  # a later version has read it
    assert [one.id for one in record.unextracted("a", VERSION + 3, 10)] == [first]


def test_a_policy_that_somebody_set_stays(record: Record) -> None:
    record.set_policy("a", "lives_in", Contradiction.MANY)
    remember(record, "I live in Rome.", speaker="Nora")
    read_all(record)
    assert [(one.relation, one.policy) for one in record.policies("a")] == [("lives_in", Contradiction.MANY)]


def test_what_we_said_ourselves_is_read_for_nothing(record: Record) -> None:
    for kind in (SourceKind.SELF, SourceKind.SELF_PROMPT, SourceKind.DREAM):
        remember(record, f"I live in Rome, says {kind.name}.", kind=kind, speaker="Nora")
    assert read_all(record) == 0
    assert names(record) == []
    assert record.extracted_seq(VERSION, "a") == record.seq()


def test_a_bad_fact_leaves_nothing_of_its_batch(record: Record) -> None:
    (first,) = remember(record, "Anna said so.")
    bad = stated("Anna", valid=Interval(2, 1), episode_id=first, given_id="f1")
    with pytest.raises(InvalidArgument):
        record.write_extracted("a", 1, [extracted(first, "Anna", facts=(bad,))])
    assert names(record) == []
    assert len(record.unextracted("a", 1, 10)) == 1


def test_what_is_forgotten_between_reading_and_writing_is_passed_over(record: Record) -> None:
    first, second = remember(record, "Anna lives in Rome.", "Tom lives in Oslo.")
    read = [extract(one) for one in record.unextracted("a", VERSION, 10)]
    record.forget("a", episode_ids=[first])
    assert record.write_extracted("a", VERSION, read) == 1
    assert ends(record.facts("a")) == [("Tom", "lives_in", "Oslo")]


def test_forgetting_takes_mentions_facts_and_entities_named_only_there(record: Record) -> None:
    first, second = remember(record, "Anna lives in Rome with Mel.", "Anna met Tom yesterday.", speaker="Nora")
    read_all(record)
    record.merge_entities("a", "Anna", "Mel")
    record.forget("a", episode_ids=[first])
    assert names(record) == ["Anna", "Nora", "Tom"]
    assert ends(record.facts("a")) == [("Anna", "met", "Tom")]
    assert record.merges("a", undone=True) == []
    assert record.counts("a").entities == 3
    assert [one.episode.id for one in record.mentions("a", "Anna", NOW, 10)] == [second]
    record.forget("a", episode_ids=[second])
    assert record.counts("a").entities == 0
    assert record.mentions("a", "Anna", NOW, 10) == []


def test_an_entity_of_a_told_fact_stays_when_its_mentions_go(record: Record) -> None:
    (first,) = remember(record, "Anna said so.")
    read_all(record)
    record.assert_fact("a", stated("Anna", "likes", "Bruno"))
    record.forget("a", episode_ids=[first])
    assert names(record) == ["Anna", "Bruno"]


def test_namespaces_know_nothing_of_each_other(record: Record) -> None:
    record.create_namespace("b")
    remember(record, "Anna said so.")
    remember(record, "Anna said no.", namespace="b")
    read_all(record)
    assert record.mentions("b", "Anna", NOW, 10) == []
    read_all(record, "b")
    remember(record, "Mel said so.", conversation="d")
    read_all(record)
    made = record.merge_entities("a", "Anna", "Mel")
    assert record.merges("b") == []
    refused("ENTITY_NOT_FOUND", lambda: record.merge_entities("b", "Anna", "Mel"))
    refused("MERGE_NOT_FOUND", lambda: record.undo_merge("b", made.id))
    record.delete_namespace("a")
    assert [one.entity.name for one in record.entities("b")[0]] == ["Ann", "Anna"]
    assert record.counts().entities == 2


def test_merged_entities_are_one_for_reads_and_apart_as_of_before(record: Record) -> None:
    record.assert_facts("a", [stated("Mel", "likes", "Bruno"), stated("Melanie", "likes", "Rome")])
    record.assert_fact("a", stated("Tom", "knows", "mel"))
    before = AsOf(seq=record.seq())
    raw = record.facts("a", merged=False)
    made = record.merge_entities("a", "Melanie", "Mel", "a short form")
    assert (made.kept.name, made.merged.name, made.reason, made.undone_seq) == ("Melanie", "Mel", "a short form", 0)
    both = [("Melanie", "likes", "Bruno"), ("Melanie", "likes", "Rome"), ("Tom", "knows", "Melanie")]
    for name in ("Mel", "melanie"):
        assert ends(record.facts("a", name)) == both
        assert record.names_of("a", name) == ("Melanie", "Mel")
        assert record.names_of("a", name, before) == (name,)
    assert ends(record.facts("a")) == both
    assert ends(record.facts("a", "Tom")) == [("Tom", "knows", "Melanie")]
    assert record.facts("a", merged=False) == raw
    assert ends(record.facts("a", "Mel", as_of=before)) == [("Mel", "likes", "Bruno"), ("Tom", "knows", "Mel")]
    assert record.merges("a", before) == []
    known = record.entity("a", "MEL")
    assert (known.entity.name, known.aliases, known.facts) == ("Melanie", ("Mel",), 3)
    assert names(record) == ["Bruno", "Melanie", "Rome", "Tom"]
    assert names(record, before) == ["Bruno", "Mel", "Melanie", "Rome", "Tom"]

    joined = AsOf(seq=record.seq())
    undone = record.undo_merge("a", made.id)
    assert (undone.id, undone.undone_seq) == (made.id, record.seq())
    assert record.facts("a") == raw
    assert ends(record.facts("a", as_of=joined)) == both
    assert record.merges("a") == []
    assert [one.id for one in record.merges("a", joined)] == [made.id]
    assert [one.id for one in record.merges("a", undone=True)] == [made.id]
    refused("MERGE_UNDONE", lambda: record.undo_merge("a", made.id))
    assert record.merge_entities("a", "Mel", "Melanie").kept.name == "Mel"  # and the other way round
    assert record.names_of("a", "Melanie") == ("Mel", "Melanie")
    assert record.names_of("a", "Nobody") == ("Nobody",)
    assert record.entity_names("a", 3) == ["Bruno", "Mel", "Melanie"]


def test_what_cannot_be_merged(record: Record) -> None:
    record.assert_facts("a", [stated("Mel", "likes", "Bruno"), stated("Melanie", "likes", "Rome")])
    seq = record.seq()
    refused("ENTITY_NOT_FOUND", lambda: record.merge_entities("a", "Mel", "Nobody"))
    refused("ALREADY_MERGED", lambda: record.merge_entities("a", "Mel", "MEL"))
    refused("MERGE_NOT_FOUND", lambda: record.undo_merge("a", "no such"))
    refused("ENTITY_NOT_FOUND", lambda: record.entity("a", "Nobody"))
    assert record.seq() == seq
    record.merge_entities("a", "Melanie", "Mel")
    refused("ALREADY_MERGED", lambda: record.merge_entities("a", "Mel", "Melanie"))
    made = record.merge_entities("a", "Anna", "Annie", make=True)
    assert (made.kept.name, made.merged.name) == ("Anna", "Annie")
    assert names(record) == ["Bruno", "Melanie", "Rome"]  # nothing names Anna yet


def test_a_merge_is_retried(record: Record) -> None:
    record.assert_facts("a", [stated("Mel", "likes", "Bruno"), stated("Melanie", "likes", "Rome")])
    made = record.merge_entities("a", "Melanie", "Mel", request_id="r1")
    assert record.merge_entities("a", "Melanie", "Mel", request_id="r1") == made
    refused("REQUEST_ID_REUSED", lambda: record.merge_entities("a", "Mel", "Melanie", request_id="r1"))
    undone = record.undo_merge("a", made.id, "r2")
    assert record.undo_merge("a", made.id, "r2") == undone


def test_a_policy_weighs_the_facts_of_merged_subjects_against_each_other(record: Record) -> None:
    record.set_policy("a", "lives_in", Contradiction.SINGLE)
    record.assert_fact("a", stated("Mel", "lives_in", "Paris", at=T0))
    record.assert_fact("a", stated("Melanie", "lives_in", "Rome", at=T0 + 5))
    apart = AsOf(seq=record.seq())
    record.merge_entities("a", "Melanie", "Mel")
    policies = {"lives_in": Contradiction.SINGLE}
    # Seen from Paris, the rival is told of another name of the one who lived there.
    held = record.facts("a", "Paris", contended=["lives_in"])
    assert ends(held) == [("Melanie", "lives_in", "Paris"), ("Melanie", "lives_in", "Rome")]
    assert ends(temporal.holding(held, NOW, policies)) == [("Melanie", "lives_in", "Rome")]
    held = record.facts("a", "Paris", as_of=apart, contended=["lives_in"])
    assert ends(temporal.holding(held, apart, policies)) == [("Mel", "lives_in", "Paris")]


def test_entities_and_mentions_come_in_pages(record: Record) -> None:
    wanted = ["Ada", "Bea", "Cleo", "Zoë", "Łódź", "北京", "𝒜"]
    ids = remember(record, *(f"{name} said so" for name in wanted), speaker="")
    record.write_extracted("a", 1, [extracted(key, name) for key, name in zip(ids, wanted, strict=True)])
    for limit in (1, 2, 3, 100):
        assert names(record, limit=limit) == sorted(wanted, key=str.casefold)
    record.write_extracted("a", 2, [extracted(key, "Ada") for key in ids])
    found, after = [], None
    while page := record.mentions("a", "Ada", NOW, 2, after):
        found += [one.episode.id for one in page]
        after = (page[-1].episode.told_at, page[-1].episode.id)
    assert found == ids


def test_entities_are_those_that_something_named_by_then(record: Record) -> None:
    first, second = remember(record, "Ada said so", "Bea said so", speaker="")
    record.write_extracted("a", 1, [extracted(first, "Ada"), extracted(second, "Bea", "Ada")])
    record.assert_fact("a", stated("Cleo", "likes", "Bruno", at=T0 + 50))
    assert names(record, AsOf(told_by=T0)) == ["Ada"]
    assert names(record, AsOf(valid_at=T0)) == ["Ada", "Bruno", "Cleo"]  # valid_at says nothing of when a Fact was told
    assert names(record, AsOf(told_by=T0 + 10)) == ["Ada", "Bea"]
    assert record.entity("a", "Ada", AsOf(told_by=T0)).episodes == 1
    assert [one.episode.id for one in record.mentions("a", "Ada", AsOf(told_by=T0), 9)] == [first]
    record.merge_entities("a", "Ada", "Bea")
    assert [one.episode.id for one in record.mentions("a", "bea", NOW, 9)] == [first, second]
    assert record.entity("a", "Bea").episodes == 2  # the Episode with both names is one


def test_the_kind_is_what_most_mentions_say(record: Record) -> None:
    ids = remember(record, "1", "2", "3", speaker="")
    kinds = ["place", "person", "person"]
    record.write_extracted(
        "a", 1, [Extracted(key, (NewMention("Paris", 0, 1, kind),)) for key, kind in zip(ids, kinds, strict=True)]
    )
    assert record.entity("a", "Paris").kind == "person"
    record.forget("a", episode_ids=ids[1:])
    assert record.entity("a", "Paris").kind == "place"


def test_extraction_outlives_the_process(bench: Bench) -> None:
    remember(bench.record, "Anna lives in Rome.", "Tom lives in Oslo.", "Mel met Anna.")
    page = bench.record.unextracted("a", VERSION, 1)
    bench.record.write_extracted("a", VERSION, [extract(one) for one in page])
    record = bench.reopen()
    assert len(record.unextracted("a", VERSION, 10)) == 2
    assert record.extracted_seq(VERSION) < record.seq()
    read_all(record)
    once = [(one.id, one.statement) for one in record.facts("a")]
    assert len(once) == 3
    record = bench.reopen()
    assert read_all(record) == 0
    assert [(one.id, one.statement) for one in record.facts("a")] == once


def test_every_rule_is_kept_as_it_was_read(record: Record) -> None:
    sentences = [sentence for rule in RULES for sentence, _ in rule.examples]
    remember(record, *sentences, speaker="Nora")
    read_all(record, page=16)
    kept = {one.id: one for one in record.facts("a")}
    told_by_now = record.timeline("a", EpisodeFilter(kinds=()), NOW, 500)
    assert len(told_by_now) == len(sentences)
    read = [fact for one in told_by_now for fact in extract(one).facts]
    assert kept.keys() == {fact.id for fact in read}
    for fact in read:
        one = kept[fact.id]
        target = one.object.name if isinstance(one.object, Entity) else one.object
        assert (one.subject.name, one.relation, target) == (fact.subject, fact.relation, fact.entity or fact.literal)
        assert (one.valid, one.told_at, one.retracted) == (fact.valid, fact.told_at, fact.retracted)
        assert (one.trust, one.rule, one.episode_id) == (fact.trust, fact.rule, fact.episode_id)


@pytest.mark.parametrize("seed", range(3))
def test_random_merges_against_an_oracle(record: Record, seed: int) -> None:
    """Whatever is merged and undone, in any order: as of every commit, the groups are those that the merges connect."""
    draw = random.Random(seed)
    everyone = [f"N{number}" for number in range(8)]
    for name in everyone:
        record.assert_fact("a", stated(name, "knows", literal=name))
    made: dict[str, tuple[str, str]] = {}
    history: list[tuple[int, dict[str, tuple[str, str]]]] = [(record.seq(), {})]
    for _ in range(24):
        if made and draw.random() < 0.4:
            gone = draw.choice(sorted(made))
            record.undo_merge("a", gone)
            del made[gone]
        else:
            kept, merged = draw.sample(everyone, 2)
            if _connected(made, everyone)[kept] & {merged}:
                refused("ALREADY_MERGED", lambda kept=kept, merged=merged: record.merge_entities("a", kept, merged))
                continue
            made[record.merge_entities("a", kept, merged).id] = (kept, merged)
        history.append((record.seq(), dict(made)))
    for seq, then in history:
        groups = _connected(then, everyone)
        as_of = AsOf(LATEST, LATEST, seq)
        shown = {name: record.names_of("a", name, as_of)[0] for name in everyone}
        for name in everyone:
            assert {other for other in everyone if shown[other] == shown[name]} == groups[name]
            assert {one.object for one in record.facts("a", name, as_of=as_of)} == groups[name]
        assert names(record, as_of) == sorted(set(shown.values()))
        assert {one.id for one in record.merges("a", as_of)} == then.keys()


def _connected(merges: dict[str, tuple[str, str]], everyone: list[str]) -> dict[str, set[str]]:
    groups = {name: {name} for name in everyone}
    for one, other in merges.values():
        joined = groups[one] | groups[other]
        for name in joined:
            groups[name] = joined
    return groups


@pytest.mark.parametrize("seed", range(4))
def test_what_is_around_an_entity_follows_merges_as_of_every_commit(record: Record, seed: int) -> None:
    """As all its versions say it: a statement that two Entities share by a merge is one, by its last version."""
    draw = random.Random(seed)
    everyone = [f"N{number}" for number in range(5)]
    contended = ["lives_in"]
    for _ in range(30):
        live = record.merges("a")
        match draw.randrange(5):
            case 0 if live:
                record.undo_merge("a", draw.choice(live).id)
            case 1 if len({end.name for one in record.facts("a") for end in (one.subject,)}) > 1:
                shown = sorted({one.subject.name for one in record.facts("a")})
                kept, merged = draw.sample(shown, 2)
                record.merge_entities("a", kept, merged)
            case _:
                start = draw.choice([None, T0, T0 + 2])
                record.assert_fact(
                    "a",
                    stated(
                        draw.choice(everyone),
                        draw.choice(["likes", "knows", "lives_in"]),
                        draw.choice(everyone),
                        at=T0 + draw.randrange(4),
                        valid=Interval(start, draw.choice([None, T0 + 3])),
                        retracted=draw.random() < 0.3,
                    ),
                )
    for seq in range(1, record.seq() + 1):
        as_of = AsOf(valid_at=T0 + draw.randrange(4), told_by=draw.choice([T0 + 1, LATEST]), seq=seq)
        for name in everyone:
            versions = [one for one in record.facts("a", name, as_of=as_of) if one.relation not in contended]
            wanted = sorted(temporal.holding(versions, as_of), key=lambda fact: fact.id)
            assert record.around("a", name, as_of, contended) == wanted
            assert record.around("a", name, as_of, contended, 2) == wanted[:2]
