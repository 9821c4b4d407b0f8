"""Deletions are remembered: what a deletion buries, and what of a write had been deleted before.

Everything here happens in the transaction that deletes or writes, so that nothing slips in between. Told again, an
Episode is there again: a deletion takes what was told, and forbids nobody to tell it. But an import brings what was
exported before the deletion, and its caller may not know: so it is refused unless asked for, and either way counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from memory.record import rows
from memory.record.tombstones import episode_mark, fact_deleted, fact_mark, identity_mark, marks
from memory.record.transaction import Commit, Going, Held, Transaction


def bury(tx: Transaction, held: Held, going: Going, commit: Commit) -> None:
    """Leaves tombstones of what is about to be deleted."""
    buried = marks(tx.identities(held, going.episodes), going.facts, tx.secret())
    tx.bury(held.name, buried, commit.seq)


def bury_all(tx: Transaction, held: Held, commit: Commit) -> None:
    """Leaves tombstones of all that a namespace holds."""
    tx.bury(held.name, marks(tx.identities(held, None), tx.fact_ids(held), tx.secret()), commit.seq)


def deleted_before(tx: Transaction, held: Held, batch: Sequence[rows.PackedEpisode]) -> set[int]:
    """The places in a batch of Episodes that were deleted here, by their id or by their words."""
    if not batch or not tx.any_buried(held.name):
        return set()
    secret = tx.secret()
    asked = [
        {identity_mark(one.identity, secret)} | ({episode_mark(one.told.id)} if one.told.id else set()) for one in batch
    ]
    found = tx.buried(held.name, set().union(*asked))
    return {place for place, own in enumerate(asked) if own & found}


def bring_back(tx: Transaction, held: Held, written: Sequence[rows.FreshEpisode]) -> None:
    """Takes the tombstones off Episodes that are there again."""
    secret = tx.secret()
    tx.unbury(held.name, marks(((one.id, one.packed.identity) for one in written), (), secret))


def bring_facts_back(tx: Transaction, held: Held, fact_ids: Collection[str]) -> None:
    """Takes the tombstones off Facts that brought their ids and are there again."""
    brought = [fact_mark(one) for one in fact_ids if one]
    if brought and tx.any_buried(held.name):
        tx.unbury(held.name, brought)


def check_not_deleted(tx: Transaction, held: Held, fact_ids: Collection[str]) -> None:
    """Raises FailedPrecondition (FACT_DELETED) where one of these was deleted here."""
    by_mark = {fact_mark(one): one for one in fact_ids if one}
    found = tx.buried(held.name, by_mark) if by_mark and tx.any_buried(held.name) else set()
    if found:
        raise fact_deleted(min(by_mark[one] for one in found))
