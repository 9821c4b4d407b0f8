"""Every statement of the record on Neo4j finds what it needs by an index, on an empty store and on one that grows.

All methods of `core.ports.Record` run on a real server with PROFILE before each statement: on an empty store, on one
with thousands of rows in several namespaces, and on one three times as large. No plan may scan a label or a
relationship type, or seek all of a namespace; and no statement may touch more of the store because that has grown.
`MAY_READ_ALL` lists what may, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import neo4j
import pytest
from plan_calls import dream_calls, entity_calls, migration_calls, moving_calls
from plans import Profiler, Statement, members
from record_backends import NEO4J_URL, SPACE, T0, WITHOUT_NEO4J, Bench, Neo4jPlace, stated, told

from core.nouns import AsOf, Contradiction, EpisodeFilter, Expiry, Interval, SourceKind, TimeToLive
from core.ports import Record
from memory.record import base, keeping, moving
from memory.record.transaction import Transaction

NAMESPACES = ("a", "b", "c")
"""Calls are watched in the first; it holds as much as the others."""
SIZES = (0, 350, 1050)
"""How many Episodes, and how many Facts, each namespace holds while the calls are watched."""
PAGE = 20
ALL = EpisodeFilter(kinds=())

LUCK_WHERE_EMPTY = ("NodeIndexScan ", "a whole namespace: ", "CartesianProduct ")
"""On an empty store these are the planner's luck: they cost what a seek does there, and statistics lag behind what
tests before this one deleted. The server plans anew as they change, and so does this test before each larger size. What
scans a label is a fault at any size."""

MAY_READ_ALL = {
    "namespaces": "it lists them, and a store has few",
    "counts of one": "Stats: Facts and Entities of a namespace are counted when asked",
    "counts of all": "the same, of the store",
    "delete_namespace": "what is deleted is read",
    "speakers": "it lists them",
    "policies": "it lists them: one for each relation that was given one",
    "set_policy": "the same, to find the relation's own",
    "write_extracted": "the same, to see which relations have none",
    "undo_fact": "the same: what an undo has to say depends on them",
    "undo_change, a Fact": "the same",
    "switch_space": "once in a migration: every Concept is looked at for its second vector",
    "stored_policies": "a backup lists them",
    "put_policies": "a restore compares them",
    "merges": "it lists them: one for each word of a person that two names are one",
    "merge_entities": "the same, to find what is one with what",
    "undo_merge": "the same",
    "apply_change, a merge": "the same",
    "undo_change, a merge": "the same",
    "names_of": "the same, once for each change of them",
    "put_merges": "a restore compares them",
    "extracted_seq of all": "it asks each namespace",
    "stored_namespaces": "it lists them",
    "put_namespaces": "a restore compares them",
    "clear_blank": "the same",
    "replay_deletions": "the same, and all ids with all tombstones",
    "tombstones": "a backup lists them",
    "facts of all": "it lists them: Timeline and Changes of a namespace, where no Entity is named",
    "forget a speaker": "an operator's word, and rare: an index for it would be paid for by every Episode",
    "forget a conversation": "the same",
}
"""Calls that may read all of a namespace, or of a label, and why."""


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, Sequence[Statement]]]:
    """What was run for all calls, by the size of the store."""
    if not NEO4J_URL:
        pytest.skip(WITHOUT_NEO4J)
    with pytest.MonkeyPatch.context() as patched:
        sizes = ((base, ("_EPISODE_PAGE", "_ID_PAGE")), (keeping, ("_PAGE",)), (moving, ("_PAGE", "_SMALL_PAGE")))
        for module, names in sizes:
            for name in names:
                patched.setattr(module, name, PAGE)
        place = Neo4jPlace(tmp_path_factory.mktemp("plans"))
        place.clear()
        bench = Bench(place)
        profiler = Profiler(patched)
        run: dict[int, Sequence[Statement]] = {}
        try:
            for name in NAMESPACES:
                bench.record.create_namespace(name)
            for begin, end in zip((0, *SIZES), SIZES, strict=False):
                fill(bench.record, begin, end)
                plan_anew()
                for call, work in calls(bench.record, end).items():
                    with profiler.watches(call):
                        work()
                run[end] = tuple(profiler.caught)
                profiler.caught.clear()
        finally:
            bench.record.close()
            place.clear()
        yield run


def fill(record: Record, begin: int, end: int) -> None:
    """Adds to every namespace: turns of one conversation, half of them archived, and Facts of many Entities.

    Half, so that a page of them in the order of their ids, which is any, has some that are and some that are not.
    """
    for name in NAMESPACES:
        for first in range(begin, end, 350):
            places = range(first, min(first + 350, end))
            turns = [told(f"turn {n}", position=n, at=T0 + n, speaker=f"s {n % 7}", terms=[n, n + 1]) for n in places]
            turns += [told(f"turn {n}", conversation="unnumbered", at=T0 + n, terms=[n]) for n in places]
            kept = record.remember(name, SPACE, turns)
            record.archive(name, [one.episode_id for one in kept[::2]])
            record.assert_facts(
                name,
                [stated(f"s {n}", "knows", f"o {n % 300}", at=T0 + n, episode_id=kept[0].episode_id) for n in places],
            )


def plan_anew() -> None:
    """Forgets the plans that were made for the store as it was."""
    with neo4j.GraphDatabase.driver(NEO4J_URL) as driver:
        driver.execute_query("CALL db.prepareForReplanning()")
        driver.execute_query("CALL db.clearQueryCaches()")


def calls(record: Record, size: int) -> dict[str, Callable[[], object]]:
    """Every method of the port in namespace "a", in all its forms, on a few rows of their own. The order counts."""
    new = f"new {size}"
    turns = [told(f"{new} {n}", position=100_000 + n, conversation=new, speaker=new) for n in range(4)]
    ids = [one.episode_id for one in record.remember("a", SPACE, turns)]
    concepts = [one.concept.id for found in record.concepts_of("a", ids).values() for one in found]
    fact = partial(stated, f"{new} subject", "knows", f"{new} object")
    known = record.assert_fact("a", fact())
    wrong, said = record.assert_facts("a", [stated(f"{new} wrong"), stated(f"{new} said")])
    (unnumbered,) = (one.episode_id for one in record.remember("a", SPACE, [told(new, conversation="unnumbered")]))
    long = record.timeline("a", EpisodeFilter(conversations=("c",)), AsOf(), 1)
    early = AsOf(seq=long[0].seq if long else 0)
    some = told(f"{new} again", conversation=new, speaker=new, given_id=f"{new} id")
    where = EpisodeFilter((new,), (SourceKind.TESTIMONY,), (new,), Interval(T0 - 1, T0 + 1))
    subject = f"{new} subject"
    beside = {
        **entity_calls(record, new, PAGE),
        **dream_calls(record, new, PAGE),
        **migration_calls(record, new, PAGE),
        **moving_calls(record, new, PAGE),
    }
    record.names_of("a", subject)  # which Entities are one is read once for each change of that
    return {
        "create_namespace": lambda: record.create_namespace(new),
        "namespaces": record.namespaces,
        "remember": lambda: record.remember("a", SPACE, [some], "r" + new),
        "remember again": lambda: record.remember("a", SPACE, [some], "r" + new),
        "snapshot": lambda: _within(record),
        "known": lambda: record.known("a", [*turns, some]),
        "space_of": lambda: record.space_of("a"),
        "episodes": lambda: record.episodes("a", ids),
        "window": lambda: record.window("a", ids, 2),
        "window, of a long conversation": lambda: record.window("a", [one.id for one in long], 2),
        "window, of one without positions": lambda: record.window("a", [unnumbered], 2),
        "concepts": lambda: record.concepts("a", concepts),
        "concepts_of": lambda: record.concepts_of("a", ids),
        "columns_of": lambda: record.columns_of("a", ids),
        "speakers": lambda: record.speakers("a"),
        "term_statistics": lambda: record.term_statistics("a", [1, 2, 3]),
        "assert_fact": lambda: record.assert_fact("a", fact(episode_id=ids[0]), "f" + new),
        "assert_fact again": lambda: record.assert_fact("a", fact(episode_id=ids[0]), "f" + new),
        "assert_facts": lambda: record.assert_facts("a", [fact(given_id="id " + new), stated(new, literal="x")]),
        "retract_fact": lambda: record.retract_fact("a", known.id, None, None),
        "facts of one": lambda: record.facts("a", subject),
        "facts of one, of a relation": lambda: record.facts("a", subject, "knows", contended=["knows"]),
        "facts of all": lambda: record.facts("a"),
        "around": lambda: record.around("b", "s 1", AsOf(), ["lives_in"]),
        "correct_fact": lambda: record.correct_fact("a", wrong.id, entity=f"{new} other", request_id="c" + new),
        "undo_fact": lambda: record.undo_fact("a", fact_id=said.id, request_id="x" + new),
        "set_policy": lambda: record.set_policy("a", new, Contradiction.SET),
        "policies": lambda: record.policies("a"),
        "timeline": lambda: record.timeline("a", ALL, AsOf(), PAGE),
        "timeline, next page": lambda: record.timeline("a", ALL, AsOf(), PAGE, (T0 + 5, ids[0])),
        "timeline, filtered": lambda: record.timeline("a", where, AsOf(), PAGE),
        "archive": lambda: record.archive("a", ids[:2], "a" + new),
        "thaw": lambda: record.thaw("a", ids[:1]),
        "archived_concepts": lambda: list(islice(record.archived_concepts("a", early), 2 * PAGE)),
        "keepings": lambda: record.keepings("a", ids),
        "set_hold": lambda: record.set_hold("a", ids[:2], "case"),
        "set_hold, release": lambda: record.set_hold("a", ids[:2], "case", release=True),
        "set_expiry": lambda: record.set_expiry("a", ids[2:3], T0, Expiry.ARCHIVE),
        "set_time_to_live": lambda: record.set_time_to_live("a", TimeToLive(10**6, Expiry.ARCHIVE)),
        "time_to_live": lambda: record.time_to_live("a"),
        "expire": lambda: record.expire("a", T0 + 10**7, 2),
        "add_uses": lambda: record.add_uses("a", {ids[0]: (1, T0)}),
        "export_episodes": lambda: list(islice(record.export_episodes("a"), 2 * PAGE)),
        "concept_ids": lambda: list(islice(record.concept_ids("a"), 2 * PAGE)),
        "drop_answers": lambda: record.drop_answers(T0, PAGE),
        "outbox": lambda: record.outbox(2),
        "outbox_done": lambda: record.outbox_done(record.outbox(1)[0].position),
        "seq": record.seq,
        "seq_at": lambda: record.seq_at(T0 + 10),
        "counts of one": lambda: record.counts("a"),
        "counts of all": record.counts,
        **beside,
        "forget": lambda: record.forget("a", episode_ids=ids[:2], request_id="g" + new),
        "forget, dry run": lambda: record.forget("a", episode_ids=ids[2:], dry_run=True),
        "forget a speaker": lambda: record.forget("a", speaker=new),
        "forget a conversation": lambda: record.forget("a", conversation=new),
        "delete_namespace": lambda: record.delete_namespace(new),
    }


def _within(record: Record) -> None:
    with record.snapshot():
        record.seq()


def test_every_method_of_the_record_and_every_step_of_its_transactions_is_watched(
    statements: Mapping[int, Sequence[Statement]],
) -> None:
    methods = members(Record)
    watched = {one.call.replace(",", " ").split()[0] for one in statements[0]}
    assert methods - watched == {"close"}
    for size, run in statements.items():
        # The store is not blank, and a blank one has nothing that a plan could scan.
        assert members(Transaction) - {one.step for one in run} == {"clear"}, f"of {size}"


def test_no_statement_reads_by_a_scan(statements: Mapping[int, Sequence[Statement]]) -> None:
    faults = {
        f"{one.call}, {one.step}, on {size}: {fault}\n    {one.query}"
        for size, run in statements.items()
        for one in run
        if not _may_read_all(one.call)
        for fault in one.plan.faults()
        if size or not fault.startswith(LUCK_WHERE_EMPTY)
    }
    assert not faults, "\n".join(sorted(faults))


def test_no_statement_touches_more_because_the_store_has_grown(
    statements: Mapping[int, Sequence[Statement]],
) -> None:
    small, large = ([one for one in statements[size] if not _may_read_all(one.call)] for size in SIZES[1:])
    assert [(one.call, one.query) for one in small] == [(one.call, one.query) for one in large]
    grown = [
        f"{before.call}, {before.step}: {before.hits} records, then {after.hits}\n    {before.query}"
        for before, after in zip(small, large, strict=True)
        if after.hits > before.hits * 1.3 + 30
    ]
    assert not grown, "\n".join(grown)


def test_what_may_read_all_does(statements: Mapping[int, Sequence[Statement]]) -> None:
    """So that no exception outlives its reason."""
    hits: dict[int, Counter[str]] = {size: Counter() for size in SIZES[1:]}
    for size, counted in hits.items():
        for one in statements[size]:
            counted[one.call] += one.hits
    small, large = hits.values()
    reading = {one.call for one in statements[SIZES[-1]] if any(one.plan.faults())}
    reading |= {call for call in large if large[call] > small[call] * 1.3 + 10}
    assert MAY_READ_ALL.keys() - {_bare(call) for call in reading} - reading == set()


def _bare(call: str) -> str:
    """The name of a call without what it is of."""
    return call.split(",")[0]


def _may_read_all(call: str) -> bool:
    return call in MAY_READ_ALL or _bare(call) in MAY_READ_ALL
