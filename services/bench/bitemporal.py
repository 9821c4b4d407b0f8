"""What holds as of any time, against a brute-force oracle, on the real records.

Random histories (`histories`) are written to a SQLite file and to a Neo4j server, and then each is asked what held: at
random moments, by what had been told by random times and committed by random commits. Late and retroactive news,
overlapping and open intervals, sources of different trust, retractions, all contradiction policies and changes of them
are among the histories. An answer is right if it names exactly the versions that the oracle names; the Entities that
Facts have as objects are asked as well, since there the record has to bring rivals along.

    agreement_sqlite, agreement_neo4j    right answers / questions, on either record
    questions                            answers that were compared, on each

Beside it, how often an answer without what makes it hard would have been right: `as known now` takes no account of what
was told and committed by when, `no policies` treats every statement by itself. Where no Neo4j answers, its figure is
left out, and the settings of the report say why. All namespaces are deleted again.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.progress import track

from core.clock import DAY, LATEST, SystemClock
from core.errors import SapienceError
from core.ids import RandomIds
from core.nouns import AsOf, Contradiction, Fact, Interval, NewFact, PerceivedEpisode, Source, Space
from core.ports import Record
from memory import temporal
from services.bench import histories
from services.bench.histories import Group, PolicyChange, Question, Version
from services.bench.report import Report, versions
from services.cli import show
from services.runtime.settings import load

GROUP = 250
"""Histories in one namespace: one transaction writes for all of them, and one read answers for all of them."""
T0 = 1_600_000_000_000_000
SPACE = Space("bench", "1", 1)


@dataclass(slots=True)
class Tally:
    """What became of the questions on one record."""

    asked: int = 0
    right: int = 0
    peers: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    facts: int = 0
    writing_s: float = 0.0
    asking_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Written:
    """A group in a record: the commit of every step, the step of every version, and all there is in the end."""

    namespace: str
    commits: list[tuple[int, int]]
    steps: dict[str, int]
    facts: list[Fact]
    policies: dict[str, Contradiction]


def run(seed: int, count: int, neo4j: str) -> Report:
    """Writes and asks on both records."""
    sizes = [min(GROUP, count - first) for first in range(0, count, GROUP)]
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="bitemporal-") as folder:
        from memory.record.sqlite import SqliteRecord

        tallies = {"sqlite": _measure(SqliteRecord(Path(folder) / "record", clock, RandomIds(clock)), seed, sizes)}
    record, missing = _server(neo4j)
    if record is not None:
        tallies["neo4j"] = _measure(record, seed, sizes)
    else:
        show.err.print(f"agreement_neo4j is left out: {missing}", style="dim")
    sqlite = tallies["sqlite"]
    return Report(
        "bitemporal",
        seed,
        {f"agreement_{name}": tally.right / tally.asked for name, tally in tallies.items()}
        | {"questions": sqlite.asked},
        {name: {"agreement": sum(right) / len(right)} for name, right in sqlite.peers.items()}
        | {
            name: {"facts_per_s": tally.facts / tally.writing_s, "questions_per_s": tally.asked / tally.asking_s}
            for name, tally in tallies.items()
        },
        {"histories": count, "facts": sqlite.facts} | ({"neo4j": f"left out: {missing}"} if missing else {}),
        versions("neo4j"),
    )


def _server(url: str) -> tuple[Record | None, str]:
    """The record on Neo4j, or why there is none."""
    from memory.record.neo4j import Neo4jRecord

    settings, clock = load(), SystemClock()
    password = settings.neo4j_password.get_secret_value() if settings.neo4j_password else ""
    user = settings.neo4j_user if password else ""
    try:
        return Neo4jRecord(
            url or settings.neo4j_url, user, password, settings.neo4j_database, clock, RandomIds(clock)
        ), ""
    except SapienceError as error:
        return None, " ".join(error.message.split())


def _measure(record: Record, seed: int, sizes: Sequence[int]) -> Tally:
    """Writes each group and asks it, then takes it away."""
    tally = Tally()
    run_id = secrets.token_hex(4)
    try:
        for number, size in enumerate(track(sizes, record.backend, console=show.err, transient=True)):
            group = histories.group(seed, number, size)
            namespace = f"bitemporal-{run_id}-{number}"
            record.create_namespace(namespace)
            try:
                began = time.perf_counter()
                written = _write(record, namespace, group)
                tally.writing_s += time.perf_counter() - began
                tally.facts += len(written.steps)
                for question in group.questions:
                    _ask(record, group, written, question, tally, f"seed {seed}, group {number}")
            finally:
                record.delete_namespace(namespace)
    finally:
        record.close()
    return tally


def _write(record: Record, namespace: str, group: Group) -> Written:
    """Every step with a commit of its own; what comes between two changes of policy in one transaction."""
    witnesses = _witnesses(record, namespace)
    written = Written(namespace, [], {}, [], {})
    waiting: list[NewFact] = []

    def flush() -> None:
        for fact in record.assert_facts(namespace, waiting):
            written.steps[fact.id] = len(written.commits)
            written.commits.append((fact.seq, fact.recorded_at))
            written.facts.append(fact)
        waiting.clear()

    for step in group.steps:
        if isinstance(step, Version):
            waiting.append(_fact(step, group, witnesses))
            continue
        flush()
        policy = record.set_policy(namespace, _relation(step.relation), step.policy)
        written.commits.append((policy.seq, policy.recorded_at))
        written.policies[policy.relation] = policy.policy
    flush()
    return written


def _witnesses(record: Record, namespace: str) -> dict[tuple[int, int], str]:
    """An Episode for each source and time: its id."""
    places = [(source, told) for source in range(len(histories.SOURCES)) for told in range(histories.TOLD_TIMES)]
    episodes = [PerceivedEpisode(Source(name=f"source {source}"), "Listen.", _at(told), ()) for source, told in places]
    kept = record.remember(namespace, SPACE, episodes)
    return {place: one.episode_id for place, one in zip(places, kept, strict=True)}


def _fact(version: Version, group: Group, witnesses: dict[tuple[int, int], str]) -> NewFact:
    start, end = (None if bound is None else _at(bound) for bound in (version.start, version.end))
    return NewFact(
        subject=f"subject {version.history}",
        relation=_relation(group.relations[version.history]),
        valid=Interval(start, end),
        told_at=_at(version.told),
        entity=_object(version.object) if version.object else None,
        literal=None if version.object else "a plain value",
        retracted=version.retracted,
        episode_id="" if version.source is None else witnesses[version.source, version.told],
        trust=version.trust,
    )


def _ask(record: Record, group: Group, written: Written, question: Question, tally: Tally, where: str) -> None:
    """All histories at once, then each object that is an Entity; every one of these is a question."""
    expected = histories.holds(group, question)
    began = time.perf_counter()
    as_of = _as_of(record, written, question)
    policies = {one.relation: one.policy for one in record.policies(written.namespace, as_of)}
    facts = record.facts(written.namespace, as_of=as_of)
    answers = _by_history(temporal.holding(facts, as_of, policies), written, len(expected))
    contended = [relation for relation, policy in policies.items() if policy is not Contradiction.MANY]
    objects = [_object(number) for number in range(1, histories.OBJECTS)]
    around = []
    for name in objects:
        near = record.facts(written.namespace, name, as_of=as_of, contended=contended)
        touching = (fact for fact in temporal.holding(near, as_of, policies) if temporal.touches(fact, name))
        around.append({written.steps[fact.id] for fact in touching})
    tally.asking_s += time.perf_counter() - began

    expected_around: dict[str, set[int]] = defaultdict(set)
    for number in (number for held in expected for number in held):
        step = group.steps[number]
        assert not isinstance(step, PolicyChange)  # only versions hold
        expected_around[_object(step.object)].add(number)
    compared = [*zip(answers, expected, strict=True)]
    compared += [(held, expected_around[name]) for name, held in zip(objects, around, strict=True)]
    tally.asked += len(compared)
    tally.right += sum(answer == truth for answer, truth in compared)
    for place, (answer, truth) in enumerate(compared):
        if answer != truth:
            about = f"history {place}" if place < len(expected) else objects[place - len(expected)]
            show.err.print(f"{record.backend} disagrees: {where}, {about}, {question}: {answer}, not {truth}")
    peers = {
        "as known now": temporal.holding(written.facts, AsOf(as_of.valid_at), written.policies),
        "no policies": temporal.holding(facts, as_of),
    }
    for name, held in peers.items():
        answers = _by_history(held, written, len(expected))
        tally.peers[name] += [answer == truth for answer, truth in zip(answers, expected, strict=True)]


def _as_of(record: Record, written: Written, question: Question) -> AsOf:
    as_of = AsOf(_at(question.moment), LATEST if question.told is None else _at(question.told), record.seq())
    if question.commit is None:
        return as_of
    seq, recorded_at = written.commits[question.commit]
    return replace(as_of, seq=seq if question.axis == "seq" else record.seq_at(recorded_at))


def _by_history(held: Iterable[Fact], written: Written, count: int) -> list[set[int]]:
    answers: list[set[int]] = [set() for _ in range(count)]
    for fact in held:
        answers[int(fact.subject.name.removeprefix("subject "))].add(written.steps[fact.id])
    return answers


def _relation(number: int) -> str:
    return f"relation_{number}"


def _object(number: int) -> str:
    return f"object {number}"


def _at(moment: int) -> int:
    return T0 + moment * DAY
