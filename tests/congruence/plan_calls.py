"""What the plan suite calls of a record beside the ordinary: Entities and merges, Dreams, backups and restores.

Each function gives calls by name, in the order in which they are to run. What a call needs is made by the calls before
it, or when the function is called, which is not watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np
from record_backends import SPACE, T0, stated, told

from core.dreams import (
    AddUses,
    Archive,
    Assert,
    DreamBudget,
    DreamKind,
    DreamState,
    Join,
    Place,
    Proposal,
    SummaryOf,
    Write,
)
from core.entities import Extracted, NewMention
from core.migrations import Migration
from core.moving import CommitTime
from core.nouns import AsOf, Contradiction, Entity, SourceKind, Space
from core.ports import Record

Calls = Mapping[str, Callable[[], object]]

VERSION = 2
"""Of the extractor: nothing that a test tells was read by any."""


def entity_calls(record: Record, new: str, page: int) -> Calls:
    """Every method of `core.entities.EntityRecord`."""
    batch = [told(f"{new} read {n}", conversation=f"{new} read", position=n) for n in range(3)]
    ids = [one.episode_id for one in record.remember("a", SPACE, batch)]
    fact = stated(f"{new} ent one", "knows", f"{new} ent two", episode_id=ids[0], given_id=f"{new} read id")
    mentions = [NewMention(f"{new} ent {name}", 0, 3, "person") for name in ("one", "two", "three")]
    read = [Extracted(key, tuple(mentions), (fact,), {"knows": Contradiction.MANY}) for key in ids]
    one, two, three = (mention.name for mention in mentions)
    made = [record.merge_entities("a", f"{new} old", f"{new} older", make=True).id]

    def merge() -> None:
        made.append(record.merge_entities("a", one, two, request_id="m" + new).id)

    return {
        "unextracted": lambda: record.unextracted("a", VERSION, page),
        "write_extracted": lambda: record.write_extracted("a", VERSION, read),
        "write_extracted again": lambda: record.write_extracted("a", VERSION, [Extracted(ids[0], tuple(mentions[:2]))]),
        "extracted_seq of one": lambda: record.extracted_seq(VERSION, "a"),
        "extracted_seq of all": lambda: record.extracted_seq(VERSION),
        "entity_names": lambda: record.entity_names("a", page),
        "entities_by_id": lambda: record.entities_by_id("a", [made[0], "nobody"]),
        "entity": lambda: record.entity("a", one),
        "entities": lambda: record.entities("a", AsOf(), 2, f"{new} ens"),
        "mentions": lambda: record.mentions("a", one, AsOf(), page),
        "mentions, next page": lambda: record.mentions("a", one, AsOf(), page, (T0 - 1, "")),
        "mentioned_in": lambda: record.mentioned_in("a", ids),
        "merge_entities": merge,
        "merge_entities, of new ones": lambda: record.merge_entities("a", three, f"{new} ent four", make=True),
        "merges": lambda: record.merges("a"),
        "names_of": lambda: record.names_of("a", two),
        "facts of merged ones": lambda: record.facts("a", two),
        "around, of merged ones": lambda: record.around("a", two, AsOf()),
        "undo_merge": lambda: record.undo_merge("a", made[-1], "u" + new),
    }


def dream_calls(record: Record, new: str, page: int) -> Calls:
    """Every method of `core.dreams.DreamRecord`: a whole Dream, applied and undone."""
    batch = [told(f"{new} dreamt {n}", conversation=f"{new} dreamt", position=n) for n in range(3)]
    ids = [one.episode_id for one in record.remember("a", SPACE, batch)]
    concepts = [one.concept.id for found in record.concepts_of("a", ids).values() for one in found]
    fact = record.assert_fact("a", stated(f"{new} dreamt", entity=f"{new} dreamer", episode_id=ids[0]))
    assert isinstance(fact.object, Entity)
    pair = (fact.subject.id, fact.object.id)
    word, speaker = Place(ids[0], 0, len(new)), Place(ids[0], 0, 0)
    asserting = Assert(f"{new} read", speaker, "likes", word, True, T0, None, 1, "UTC", 0.5, "model:m")  # fmt: skip
    summary = told(
        f"{new} summary", kind=SourceKind.DREAM, external_id=f"{new} summary", given_id=f"{new} summary id",
        derived_from=tuple(ids[:2]),
    )  # fmt: skip
    quoted = Write(SummaryOf.SPEAKER, tuple(concepts[:2]), tuple(ids[:2]), Place(ids[0], 0, 3))
    reads = tuple(ids)
    proposals = [
        Proposal(DreamKind.SUMMARIES, reads, "said much", 0.9, (quoted,)),
        Proposal(DreamKind.DUPLICATES, reads, "a copy", 0.8, (Archive(ids[2]),)),
        Proposal(DreamKind.STRENGTHENING, reads, "used", 0.7, (AddUses(ids[0], 2, T0),)),
        Proposal(DreamKind.ALIASES, reads, "a short form", 0.65, (Join(*pair),), entities=pair),
        Proposal(DreamKind.FACTS, reads, "read by a model", 0.6, (asserting,)),
        Proposal(DreamKind.CONTRADICTIONS, (), "two at once", 0.6, facts=(fact.id,)),
    ]
    budget, begun = DreamBudget(), list[str]()

    def begin() -> None:
        begun.append(record.begin_dream("a", list(DreamKind), budget, False, "b" + new).id)

    def propose() -> None:
        record.propose("a", begun[0], proposals, end=(1, ids[0]), episodes=3, more=False)

    def undo() -> None:
        record.move_dream("a", begun[0], DreamState.UNDOING, among={DreamState.APPLIED})

    return {
        "begin_dream": begin,
        "dreams_at_work": record.dreams_at_work,
        "episodes_after": lambda: record.episodes_after("a", (0, ""), page),
        "facts_by_id": lambda: record.facts_by_id("a", [fact.id]),
        "propose": propose,
        "approve_dream": lambda: record.approve_dream("a", begun[0], [1, 2, 3, 4, 5]),
        "dream": lambda: record.dream("a", begun[0]),
        "dreams": lambda: record.dreams("a", 5),
        "changes": lambda: record.changes("a", begun[0]),
        "apply_change, a summary": lambda: record.apply_change("a", begun[0], 1, SPACE, [summary]),
        "apply_change, an archival": lambda: record.apply_change("a", begun[0], 2, None, []),
        "apply_change, uses": lambda: record.apply_change("a", begun[0], 3, None, []),
        "apply_change, a merge": lambda: record.apply_change("a", begun[0], 4, None, []),
        "apply_change, a Fact": lambda: record.apply_change("a", begun[0], 5, None, []),
        "changes_of_kind": lambda: record.changes_of_kind("a", DreamKind.SUMMARIES),
        "sources_of": lambda: record.sources_of("a", [f"{new} summary id", *ids]),
        "move_dream": undo,
        "undo_change, a Fact": lambda: record.undo_change("a", begun[0], 5),
        "undo_change, a merge": lambda: record.undo_change("a", begun[0], 4),
        "undo_change, uses": lambda: record.undo_change("a", begun[0], 3),
        "undo_change, an archival": lambda: record.undo_change("a", begun[0], 2),
        "undo_change, a summary": lambda: record.undo_change("a", begun[0], 1),
    }


def migration_calls(record: Record, new: str, page: int) -> Calls:
    """Every method of `core.migrations.MigrationRecord`: a tenant of a few Episodes moves, and another one does not."""
    tenant, other = f"{new} migrated", f"{new} stayed"
    for name in (tenant, other):
        record.create_namespace(name)
        record.remember(name, SPACE, [told(f"{name} {n}", conversation=name, position=n) for n in range(3)])
    ids = list(record.concept_ids(tenant))
    target = Space("encoder", "2", 4)
    given_up = record.begin_migration(other, "wheel:other", target).id
    begun = list[Migration]()

    def begin() -> None:
        begun.append(record.begin_migration(tenant, "wheel:other", target, 1.0, "migrate" + new))

    def stage() -> None:
        record.stage(
            tenant, begun[0].id, {key: np.ones(4, np.float32) for key in ids}, after=(0, ""), through=(2**40, "")
        )

    return {
        "begin_migration": begin,
        "stage": stage,
        "staged": lambda: record.staged(tenant, begun[0].id, ids),
        "note_migration": lambda: record.note_migration(tenant, begun[0].id, "waits"),
        "migration": lambda: record.migration(tenant, begun[0].id),
        "migrations": lambda: record.migrations(tenant, 5),
        "migrations_at_work": record.migrations_at_work,
        "spaces_in_use": lambda: record.spaces_in_use(tenant),
        "switch_space": lambda: record.switch_space(tenant, begun[0].id),
        "switched_after": lambda: record.switched_after(tenant, 0),
        "clean_page": lambda: record.clean_page(tenant, begun[0].id, 2),
        "clean_page, the rest": lambda: record.clean_page(tenant, begun[0].id, 2),
        "clean_page, the end": lambda: record.clean_page(tenant, begun[0].id, 2),
        "undo_migration": lambda: record.undo_migration(other, given_up),
        "clean_page, undoing": lambda: record.clean_page(other, given_up, 8),
    }


def moving_calls(record: Record, new: str, page: int) -> Calls:
    """Every method of `core.moving.MovableRecord`: what is put was there, and some of it was deleted."""
    tenant = f"{new} moved"
    record.create_namespace(tenant)
    batch = [told(f"{tenant} {n}", conversation=tenant, position=n, external_id=f"{n}") for n in range(3)]
    ids = [one.episode_id for one in record.remember(tenant, SPACE, batch)]
    summary = told(f"{tenant} both", kind=SourceKind.DREAM, external_id="both", derived_from=tuple(ids[:2]))
    record.remember(tenant, SPACE, [summary])
    fact = record.assert_fact(tenant, stated("Mel", "knows", "Tom", episode_id=ids[0]))
    assert isinstance(fact.object, Entity)
    record.set_policy(tenant, "knows", Contradiction.SET)
    merge = record.merge_entities(tenant, "Mel", "Tom")
    record.archive(tenant, ids[2:])
    record.set_hold(tenant, ids[2:], "case")
    end = record.seq()
    episodes = list(record.stored_episodes(tenant, 0, end))
    facts = list(record.stored_facts(tenant, 0, end))
    kept = list(record.kept(tenant, end))
    record.forget(tenant, episode_ids=ids[:1])
    last = record.seq()
    commits = list(record.commits(end - 3, last))
    audits = list(record.audits(end, last))
    tombstones = [one for one in record.tombstones(end) if one.namespace == tenant]
    tenants = [one for one in record.stored_namespaces() if one.name == tenant]

    def some(found: Iterable[object]) -> list[object]:
        return list(islice(found, page))

    return {
        "commit_by": lambda: record.commit_by(end),
        "commits": lambda: some(record.commits(end - 5, end)),
        "stored_namespaces": record.stored_namespaces,
        "stored_episodes": lambda: some(record.stored_episodes("a", 0, end)),
        "stored_facts": lambda: some(record.stored_facts("a", 0, end)),
        "stored_policies": lambda: record.stored_policies("a", 0, end),
        "kept": lambda: list(islice(record.kept("a", end), 2)),
        "audits": lambda: some(record.audits(end, last)),
        "tombstones": lambda: some(record.tombstones(end)),
        "clear_blank": lambda: record.clear_blank([]),
        "put_namespaces": lambda: record.put_namespaces(tenants, end, whole=False),
        "put_commits": lambda: record.put_commits([CommitTime(one.seq, one.recorded_at) for one in commits]),
        "put_audits": lambda: record.put_audits(audits),
        "put_tombstones": lambda: record.put_tombstones(tombstones, last),
        "replay_deletions": record.replay_deletions,
        "put_episodes": lambda: record.put_episodes(tenant, episodes, bring_back=True),
        "put_facts": lambda: record.put_facts(tenant, facts, bring_back=True),
        "put_policies": lambda: record.put_policies(tenant, record.stored_policies(tenant, 0, end)),
        "put_merges": lambda: record.put_merges(tenant, [merge]),
        "put_merges, none": lambda: record.put_merges(tenant, []),
        "reset_kept": lambda: record.reset_kept(tenant, end),
        "put_kept": lambda: record.put_kept(tenant, kept),
    }
