"""What a deletion takes with it: an Episode goes, and so do those that were derived from it.

A summary quotes what it was made from, and a learnt answer what it cites: neither may keep what was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.nouns import PerceivedEpisode
from memory.record import rows
from memory.record.transaction import Going, Held, Transaction


def select_with_derived(
    tx: Transaction, held: Held, episode_ids: Sequence[str], speaker: str = "", conversation: str = ""
) -> Going:
    """As `Transaction.select`, with all that was derived from it, over any number of steps."""
    going = tx.select(held, episode_ids, speaker, conversation)
    derived = tx.derived(held, going.episodes) if going.episodes else []
    return tx.select(held, sorted({*going.episodes, *derived}), "", "") if derived else going


def free_to_delete(tx: Transaction, held: Held, episode_ids: Sequence[str]) -> list[str]:
    """Those of the Episodes from which nothing was derived that is under a legal hold."""
    if not episode_ids or tx.first_hold(held, tx.derived(held, episode_ids)) is None:
        return list(episode_ids)
    return [one for one in episode_ids if tx.first_hold(held, tx.derived(held, [one])) is None]


def link_sources(tx: Transaction, held: Held, fresh: Sequence[rows.FreshEpisode]) -> None:
    """Keeps what the Episodes just written were derived from. Raises NotFound where one of the sources is not there."""
    told: list[tuple[str, PerceivedEpisode]] = [(one.id, one.packed.told) for one in fresh]
    pairs = [(episode_id, source) for episode_id, one in told for source in dict.fromkeys(one.derived_from)]
    wanted = {source for _, source in pairs}
    if not wanted:
        return
    missing = wanted - {one.id for one in tx.episodes(held, sorted(wanted))}
    if missing:
        raise rows.episode_not_found(held.name, min(missing))
    tx.link(held, pairs)
