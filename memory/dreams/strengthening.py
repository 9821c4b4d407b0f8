"""Strengthening by use: what answers cite together again and again is kept longer.

Two Episodes that the same `LEAST_TOGETHER` answers or more cite belong together. Each such answer counts as one more
use of either, once: an answer that was counted by an earlier Dream is not counted again. Retention (`memory.forget`)
rises with uses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

from core.dreams import AddUses, DreamKind, Proposal
from memory.dreams.material import Material

LEAST_TOGETHER = 2


def strengthening(material: Material) -> list[Proposal]:
    """One proposal for each Episode that new answers speak for, in the order of telling."""
    present = {one.id for one in material.evidence}
    together: Counter[tuple[str, str]] = Counter()
    for answer in material.answers:
        together.update(combinations(sorted(set(answer.sources) & present), 2))
    partners: dict[str, set[str]] = defaultdict(set)
    for (one, other), count in together.items():
        if count >= LEAST_TOGETHER:
            partners[one].add(other)
            partners[other].add(one)
    proposals = []
    for told in material.evidence:
        speaking = [
            answer
            for answer in material.answers
            if told.id in answer.sources
            and partners[told.id] & set(answer.sources)
            and (told.id, answer.id) not in material.credited
        ]
        if speaking:
            last = max(answer.episode.told_at for answer in speaking)
            reason = f"cited by {len(speaking)} answers with the same others"
            proposals.append(
                Proposal(
                    DreamKind.STRENGTHENING,
                    (told.id, *(answer.id for answer in speaking)),
                    reason,
                    1 - 1 / (1 + len(speaking)),
                    (AddUses(told.id, len(speaking), last),),
                )
            )
    return proposals
