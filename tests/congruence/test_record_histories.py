"""Random histories read from a record as from plain lists (`record_oracle`); on both backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_backends import (
    SPACE,
    TERMS,
    Bench,
    Place,
    concept,
    plain,
    stated,
    told,
)
from record_oracle import Oracle

from core.clock import LATEST
from core.errors import SapienceError
from core.nouns import (
    AsOf,
    Contradiction,
    EpisodeFilter,
    Interval,
    PerceivedEpisode,
    Precision,
    SourceKind,
)

NAMESPACES = ("a", "b")
SPEAKERS = ("", "Ann", "Bob")
CONVERSATIONS = ("", "c", "d")
ENTITIES = ("Ann", " ann", "Bob", "Köln")

namespaces = st.sampled_from(NAMESPACES)
bounds = st.none() | st.integers(0, 6)


@st.composite
def episode(draw: st.DrawFn) -> PerceivedEpisode:
    text = draw(st.sampled_from(["Hi.", "Hi. Grüße!", "Grüße!"]))
    parts = text.split() if draw(st.booleans()) else []
    terms = st.lists(st.sampled_from(TERMS), unique=True, max_size=3).map(sorted)
    return told(
        text,
        speaker=draw(st.sampled_from(SPEAKERS)),
        conversation=draw(st.sampled_from(CONVERSATIONS)),
        position=draw(st.integers(0, 3)),
        at=draw(st.integers(0, 4)),
        source=draw(st.sampled_from(["chat", "mail"])),
        kind=draw(st.sampled_from(list(SourceKind))),
        external_id=draw(st.sampled_from(["", "", "x", "y"])),
        concepts=tuple(concept(part, text, draw(st.tuples(*[st.integers(-2, 2)] * 4)), draw(terms)) for part in parts),
    )


@st.composite
def valid_time(draw: st.DrawFn) -> Interval:
    start, end = draw(bounds), draw(bounds)
    if start is not None and end is not None and start >= end:
        start, end = end, start + 1
    return Interval(start, end, draw(st.sampled_from(list(Precision))), draw(st.sampled_from(["", "in May"])))


steps = st.one_of(
    st.tuples(st.just("remember"), namespaces, st.lists(episode(), max_size=5), st.booleans()),
    st.tuples(st.just("remember"), namespaces, st.lists(episode(), min_size=1, max_size=5), st.just(True)),
    st.tuples(
        st.just("assert_fact"), namespaces, st.sampled_from(ENTITIES), st.sampled_from(["knows", "likes"]),
        st.sampled_from([*ENTITIES, "=tea", "=milk"]), valid_time(), st.integers(0, 4), st.booleans(),
        st.none() | st.integers(0, 9),
    ),
    st.tuples(
        st.just("set_policy"), namespaces, st.sampled_from(["knows", "likes"]), st.sampled_from(Contradiction)
    ),
    st.tuples(st.just("retract_fact"), namespaces, st.integers(0, 9), bounds, st.integers(0, 4)),
    st.tuples(
        st.just("forget"), namespaces, st.lists(st.integers(0, 9), max_size=2), st.sampled_from(SPEAKERS),
        st.sampled_from(CONVERSATIONS), st.booleans(),
    ),
    st.tuples(st.just("archive"), namespaces, st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("thaw"), namespaces, st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(
        st.just("set_hold"), namespaces, st.lists(st.integers(0, 9), max_size=1), st.sampled_from("xy"), st.booleans()
    ),
    st.tuples(st.just("delete_namespace"), namespaces),
    st.tuples(st.just("create_namespace"), namespaces),
    st.tuples(st.just("outbox_done"), st.integers(0, 3)),
    st.tuples(st.just("reopen")),
)  # fmt: skip


def outcome(call: Callable[[], object]) -> Any:
    """The answer, or the kind and the reason of the error."""
    try:
        return plain(call())
    except SapienceError as error:
        return type(error), error.reason


class History:
    """The same steps on a record and on the oracle."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.oracle = Oracle()
        self.count = 0

    def take(self, step: tuple[Any, ...]) -> None:
        name, *rest = step
        record, oracle = self.bench.record, self.oracle
        self.count += 1
        if name == "reopen":
            self.bench.reopen()
        elif name == "outbox_done":
            entries = oracle.entries
            position = entries[min(rest[0], len(entries) - 1)].position if entries else 0
            record.outbox_done(position)
            oracle.outbox_done(position)
        elif name == "create_namespace":
            self.both(lambda: record.create_namespace(rest[0]) and None, lambda: oracle.create_namespace(rest[0]))
        elif name == "delete_namespace":
            self.both(lambda: record.delete_namespace(rest[0]), lambda: oracle.delete_namespace(rest[0]))
        elif name == "remember":
            batch = [dataclasses.replace(one, id=f"e{self.count:03}-{9 - n}") for n, one in enumerate(rest[1])]
            self.both(
                lambda: record.remember(rest[0], SPACE, batch, bring_back=rest[2]),
                lambda: oracle.remember(rest[0], SPACE, batch, rest[2]),
            )
        elif name == "assert_fact":
            namespace, subject, relation, target, valid, at, retracted, witness = rest
            fact = stated(
                subject, relation, target, literal=target[1:] if target[0] == "=" else None, valid=valid, at=at,
                retracted=retracted, given_id=f"f{self.count}",
                episode_id="" if witness is None else self.episode_id(namespace, witness),
            )  # fmt: skip
            self.both(lambda: record.assert_fact(namespace, fact), lambda: oracle.assert_fact(namespace, fact))
        elif name == "set_policy":
            self.both(lambda: record.set_policy(*rest), lambda: oracle.set_policy(*rest))
        elif name == "retract_fact":
            namespace, which, start, at = rest
            kept = oracle.tenants[namespace].facts if namespace in oracle.tenants else []
            fact_id = kept[which].id if which < len(kept) else "nothing"
            made: list[str] = []

            def retract() -> object:
                answer = record.retract_fact(namespace, fact_id, start, at)
                made.append(answer.id)
                return answer

            self.both(retract, lambda: oracle.retract_fact(namespace, fact_id, made[0] if made else "", start, at))
        elif name == "forget":
            namespace, which, speaker, conversation, dry_run = rest
            ids = [self.episode_id(namespace, one) for one in which]
            if not ids and not speaker and not conversation:
                ids = ["nobody"]
            self.both(
                lambda: record.forget(
                    namespace, episode_ids=ids, speaker=speaker, conversation=conversation, dry_run=dry_run
                ),
                lambda: oracle.forget(namespace, ids, speaker, conversation, dry_run),
            )

        elif name in ("archive", "thaw"):
            namespace, ids = rest[0], [self.episode_id(rest[0], one) for one in rest[1]]
            move = record.archive if name == "archive" else record.thaw
            self.both(lambda: move(namespace, ids), lambda: oracle.move(namespace, ids, archive=name == "archive"))
        elif name == "set_hold":
            namespace, ids = rest[0], [self.episode_id(rest[0], one) for one in rest[1]]
            self.both(
                lambda: record.set_hold(namespace, ids, rest[2], release=rest[3]),
                lambda: oracle.set_hold(namespace, ids, rest[2], rest[3]),
            )

    def both(self, on_record: Callable[[], object], on_oracle: Callable[[], object]) -> None:
        """The same answer, or the same error."""
        assert outcome(on_record) == outcome(on_oracle)

    def episode_id(self, namespace: str, which: int) -> str:
        kept = self.oracle.tenants[namespace].episodes if namespace in self.oracle.tenants else []
        return kept[which].episode.id if which < len(kept) else "nobody"

    def check(self, where: EpisodeFilter, as_of: AsOf, entity: str | None, radius: int) -> None:
        record, oracle = self.bench.record, self.oracle
        assert [one.name for one in record.namespaces()] == sorted(oracle.tenants)
        assert record.counts() == oracle.counts(None)
        assert record.seq() == oracle.last
        assert plain(record.outbox(1000)) == plain(oracle.entries)
        for name in oracle.tenants:
            exported = oracle.export(name)
            ids = [one.id for one, _ in exported]
            assert plain(list(record.export_episodes(name))) == plain(exported)
            assert record.counts(name) == oracle.counts(name)
            assert record.speakers(name) == oracle.speakers(name)
            statistics = record.term_statistics(name, TERMS)
            assert statistics.concepts == len(oracle.counted(name))
            assert dict(statistics.document_frequency) == oracle.document_frequency(name)
            concepts = {one.concept.id: one for _, of in exported for one in of}
            assert list(record.concept_ids(name)) == oracle.indexed(name)
            for seq in (as_of.seq, oracle.last // 2):
                apart = record.archived_concepts(name, AsOf(seq=seq))
                assert plain(list(apart)) == plain(oracle.archived(name, seq))
            assert plain(record.concepts(name, list(concepts))) == plain(concepts)
            assert plain(dict(record.window(name, ids, radius))) == plain(oracle.window(name, radius))
            assert plain(record.timeline(name, where, as_of, 1000)) == plain(oracle.timeline(name, where, as_of))
            for relation in ("", "likes"):
                for contended in ((), ("knows",)):
                    found = record.facts(name, entity, relation, as_of, contended)
                    assert plain(found) == plain(oracle.facts(name, entity, relation, as_of, contended))
            assert plain(record.policies(name, as_of)) == plain(oracle.policies(name, as_of))


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(steps, min_size=1, max_size=25),
    st.builds(
        EpisodeFilter,
        speakers=st.lists(st.sampled_from(SPEAKERS), max_size=2).map(tuple),
        kinds=st.lists(st.sampled_from(list(SourceKind)), max_size=3).map(tuple),
        conversations=st.lists(st.sampled_from(CONVERSATIONS), max_size=2).map(tuple),
        told=valid_time(),
    ),
    st.builds(
        AsOf, st.sampled_from([1, 3, LATEST]), st.sampled_from([1, 3, LATEST]), st.sampled_from([3, 9, 2**63 - 1])
    ),
    st.none() | st.sampled_from(ENTITIES),
    st.integers(0, 3),
)
def test_a_random_history_reads_as_the_oracle_says(
    place: Place, history: list[tuple[Any, ...]], where: EpisodeFilter, as_of: AsOf, entity: str | None, radius: int
) -> None:
    place.clear()
    lived = History(Bench(place))
    try:
        for step in [("create_namespace", "a"), ("create_namespace", "b"), *history]:
            lived.take(step)
        lived.check(where, as_of, entity, radius)
        lived.bench.reopen()
        lived.check(where, as_of, entity, radius)
    finally:
        lived.bench.record.close()
