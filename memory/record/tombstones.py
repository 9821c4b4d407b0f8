"""What stays of what was deleted: digests, so that it is known when it comes back.

A tombstone says that an Episode or a Fact of a namespace was deleted, by which commit, and nothing else. Two digests
are kept of an Episode, one of a Fact:

    EPISODE, FACT   of the id, without a key: ids that this store gives are random, so the digest says nothing, and a
                    backup may carry it to another store. An id that a caller gave may hold content, which is why the
                    id itself is not kept.
    IDENTITY        of what makes two Episodes duplicates, which is made of words: under a secret of this store that
                    never leaves it. Without the key nobody can try whether a text was deleted here. So it catches
                    the same words under another id, in this store only; a restored one goes by ids.

Pure functions; `base` and `keeping` say when what is buried.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b

from core.errors import FailedPrecondition, SapienceError

_BYTES = 16


class Buried(IntEnum):
    """What a tombstone is the digest of. The numbers are kept in stores and backups."""

    EPISODE = 1
    IDENTITY = 2
    FACT = 3


Mark = tuple[Buried, str]
"""A kind and its digest in hex: what tombstones of one namespace are told apart by."""


def episode_mark(episode_id: str) -> Mark:
    """That of an Episode's id."""
    return Buried.EPISODE, blake2b(episode_id.encode(), digest_size=_BYTES, person=b"episode").hexdigest()


def fact_mark(fact_id: str) -> Mark:
    """That of a Fact's id."""
    return Buried.FACT, blake2b(fact_id.encode(), digest_size=_BYTES, person=b"fact").hexdigest()


def identity_mark(identity: str, secret: bytes) -> Mark:
    """That of what an Episode's duplicates share (`rows.identity`), under the store's secret."""
    return Buried.IDENTITY, blake2b(identity.encode(), digest_size=_BYTES, key=secret).hexdigest()


def marks(episodes: Iterable[tuple[str, str]], facts: Iterable[str], secret: bytes) -> list[Mark]:
    """All that is buried with Episodes (id, identity) and Facts, in order."""
    made = {mark for one, same in episodes for mark in (episode_mark(one), identity_mark(same, secret))}
    return sorted(made | {fact_mark(one) for one in facts})


def fact_deleted(fact_id: str) -> SapienceError:
    """For a Fact that would come back after it was deleted."""
    return FailedPrecondition(
        f"the Fact {fact_id!r} was deleted here; ask for what was deleted to be brought back, or leave it out",
        reason="FACT_DELETED",
        field="id",
    )
