"""Which Entities are one as of a commit, and Facts read by that. Pure, but for the steps of a transaction it is given.

Merges are edges between Entities, and what they connect is one Entity. It is shown by the Entity that the merges leave
when they are made in order: each joins what its `merged` is part of to what its `kept` is part of. Without an edge the
rest is as if it had never been, so undoing is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from core.entities import Merge
from core.ids import normalised_name
from core.nouns import AsOf, Entity, Fact
from memory import temporal
from memory.record.transaction import Held, Transaction


class Merged:
    """The Entities that merges put together, as of a commit."""

    def __init__(self, merges: Iterable[Merge], seq: int = 2**63 - 1) -> None:
        self._shown: dict[str, Entity] = {}
        self._groups: dict[str, list[Entity]] = {}
        for merge in sorted((one for one in merges if one.counts(seq)), key=lambda one: one.seq):
            kept, merged = (self._shown.get(end.id, end) for end in (merge.kept, merge.merged))
            if kept.id == merged.id:
                continue
            joined = [*self._groups.pop(kept.id, [kept]), *self._groups.pop(merged.id, [merged])]
            self._groups[kept.id] = joined
            self._shown.update((one.id, kept) for one in joined)

    def __bool__(self) -> bool:
        """Whether anything is merged at all."""
        return bool(self._shown)

    def shown(self, entity: Entity) -> Entity:
        """The Entity that this one is shown as."""
        return self._shown.get(entity.id, entity)

    def group(self, entity: Entity) -> list[Entity]:
        """All that are one with it, itself among them: the one it is shown as first."""
        shown = self.shown(entity)
        return self._groups.get(shown.id, [shown])

    def fact(self, fact: Fact) -> Fact:
        """The Fact between Entities as they are shown."""
        target = fact.object
        return replace(
            fact,
            subject=self.shown(fact.subject),
            object=self.shown(target) if isinstance(target, Entity) else target,
        )


NOTHING_MERGED = Merged(())


def facts_read(
    tx: Transaction,
    held: Held,
    merged: Merged,
    entity: str | None,
    relation: str,
    as_of: AsOf,
    contended: Collection[str],
) -> list[Fact]:
    """As `Record.facts`, with merged Entities as one."""
    if not merged:
        return tx.facts(held, entity, relation, as_of, contended)
    if entity is None:
        return [merged.fact(one) for one in tx.facts(held, None, relation, as_of, contended)]
    asked = tx.entity_named(held, entity)
    if asked is None:
        return []
    found: dict[str, Fact] = {}

    def read(names: Sequence[Entity]) -> None:
        for one in names:
            found.update((fact.id, fact) for fact in tx.facts(held, one.name, relation, as_of, contended))

    group = merged.group(asked)
    read(group)
    if contended:
        # The rivals of a Fact are those of its whole subject: of what the subject is merged with as well.
        ours = {one.id for one in group}
        subjects = {fact.subject.id: fact.subject for fact in found.values() if fact.relation in contended}
        others = [one for key, subject in sorted(subjects.items()) if key not in ours for one in merged.group(subject)]
        for one in {other.id: other for other in others}.values():
            for fact in tx.facts(held, one.name, relation, as_of, ()):
                if fact.relation in contended and normalised_name(fact.subject.name) == normalised_name(one.name):
                    found[fact.id] = fact
    return [merged.fact(one) for one in sorted(found.values(), key=lambda one: one.seq)]


def around_read(
    tx: Transaction, held: Held, merged: Merged, entity: str, as_of: AsOf, contended: Collection[str], limit: int
) -> list[Fact]:
    """As `Record.around`, with merged Entities as one.

    What is one statement then may have versions at several Entities: the backend's own way does not find them all, so
    all versions are read.
    """
    if not merged:
        return tx.around(held, entity, as_of, contended, limit)
    touching = facts_read(tx, held, merged, entity, "", as_of, ())
    holding = temporal.holding((fact for fact in touching if fact.relation not in contended), as_of)
    return sorted(holding, key=lambda fact: fact.id)[:limit]
