"""The tables of the SQLite record, as the steps that lead to them.

`PRAGMA user_version` counts the steps that a file has taken. A step that was released is never edited: a change is a
new step at the end. Every table is STRICT, every time is int64 microseconds UTC.
"""

from __future__ import annotations

APPLICATION_ID = 0x53415049
"""The bytes "SAPI" in the file's header: tells our files from any other SQLite file."""

_FIRST = (
    # One row for each commit: `seq` and its time. Rows outlive what they committed, so a time always finds its seq.
    """
    CREATE TABLE commits (
        seq INTEGER PRIMARY KEY,
        recorded_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX commits_by_time ON commits (recorded_at)",
    """
    CREATE TABLE space (
        key INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        dimensions INTEGER NOT NULL CHECK (dimensions > 0),
        UNIQUE (name, version, dimensions)
    ) STRICT
    """,
    # `episodes` and `concepts` are counted as they come and go: every search asks how many Concepts there are.
    """
    CREATE TABLE namespace (
        key INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        space INTEGER REFERENCES space (key),
        episodes INTEGER NOT NULL DEFAULT 0 CHECK (episodes >= 0),
        concepts INTEGER NOT NULL DEFAULT 0 CHECK (concepts >= 0)
    ) STRICT
    """,
    # `identity` is the digest that duplicates share (see rows.identity); `ordinal` is the place in the batch.
    """
    CREATE TABLE episode (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        identity TEXT NOT NULL,
        kind INTEGER NOT NULL,
        source_name TEXT NOT NULL,
        conversation TEXT NOT NULL,
        position INTEGER NOT NULL,
        speaker TEXT NOT NULL,
        text TEXT NOT NULL,
        told_at INTEGER NOT NULL,
        external_id TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        seq INTEGER NOT NULL REFERENCES commits (seq),
        ordinal INTEGER NOT NULL,
        UNIQUE (namespace, identity)
    ) STRICT
    """,
    "CREATE INDEX episode_by_commit ON episode (namespace, seq, id)",
    "CREATE INDEX episode_by_time ON episode (namespace, told_at, id)",
    """
    CREATE INDEX episode_by_place ON episode (namespace, source_name, conversation, position, seq, ordinal)
    WHERE conversation != ''
    """,
    # The words of a Concept are bytes [start_byte, end_byte) of its Episode's text and are not kept twice.
    """
    CREATE TABLE concept (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        episode INTEGER NOT NULL REFERENCES episode (key),
        ordinal INTEGER NOT NULL,
        start_byte INTEGER NOT NULL,
        end_byte INTEGER NOT NULL,
        language TEXT NOT NULL,
        term_ids BLOB NOT NULL,
        term_weights BLOB NOT NULL,
        vector BLOB NOT NULL,
        UNIQUE (namespace, id),
        UNIQUE (episode, ordinal)
    ) STRICT
    """,
    """
    CREATE TABLE term (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        term INTEGER NOT NULL,
        df INTEGER NOT NULL CHECK (df >= 0),
        PRIMARY KEY (namespace, term)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE speaker (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        name TEXT NOT NULL,
        episodes INTEGER NOT NULL CHECK (episodes >= 0),
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE entity (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        name TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX entity_by_namespace ON entity (namespace)",
    # Apart from `entity`, so that one Entity may have several names once merges come.
    """
    CREATE TABLE entity_name (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        normalised TEXT NOT NULL,
        entity INTEGER NOT NULL REFERENCES entity (key),
        PRIMARY KEY (namespace, normalised)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX entity_name_by_entity ON entity_name (entity)",
    """
    CREATE TABLE fact (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        subject INTEGER NOT NULL REFERENCES entity (key),
        relation TEXT NOT NULL,
        entity INTEGER REFERENCES entity (key),
        literal TEXT,
        valid_start INTEGER,
        valid_end INTEGER,
        precision INTEGER NOT NULL,
        original_text TEXT NOT NULL,
        timezone TEXT NOT NULL,
        told_at INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        seq INTEGER NOT NULL REFERENCES commits (seq),
        retracted INTEGER NOT NULL CHECK (retracted IN (0, 1)),
        episode INTEGER REFERENCES episode (key),
        trust REAL NOT NULL,
        CHECK ((entity IS NULL) != (literal IS NULL))
    ) STRICT
    """,
    "CREATE INDEX fact_by_commit ON fact (namespace, seq)",
    "CREATE INDEX fact_by_subject ON fact (subject, seq)",
    "CREATE INDEX fact_by_object ON fact (entity, seq) WHERE entity IS NOT NULL",
    "CREATE INDEX fact_by_episode ON fact (episode) WHERE episode IS NOT NULL",
    # The answer to a write, kept so that a retry gets it again. It holds ids and counts, no content.
    """
    CREATE TABLE request (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        request_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        digest TEXT NOT NULL,
        response TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        PRIMARY KEY (namespace, request_id)
    ) STRICT, WITHOUT ROWID
    """,
    # Names the namespace in words: the entry of a deleted namespace outlives its row.
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY REFERENCES commits (seq),
        namespace TEXT NOT NULL,
        space INTEGER NOT NULL REFERENCES space (key),
        concept_ids TEXT NOT NULL,
        deleted INTEGER NOT NULL CHECK (deleted IN (0, 1))
    ) STRICT
    """,
    "CREATE INDEX outbox_by_namespace ON outbox (namespace)",
    """
    CREATE TABLE forgotten (
        audit_id TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        seq INTEGER NOT NULL REFERENCES commits (seq),
        episodes INTEGER NOT NULL,
        concepts INTEGER NOT NULL,
        facts INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

# Versions of what a relation's Facts mean beside one another; kept like Facts, so that an old seq finds the old policy.
_RELATION_POLICIES = (
    """
    CREATE TABLE relation_policy (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        relation TEXT NOT NULL,
        seq INTEGER NOT NULL REFERENCES commits (seq),
        recorded_at INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        PRIMARY KEY (namespace, relation, seq)
    ) STRICT, WITHOUT ROWID
    """,
)

_KEEPING = (
    # How long an Episode is kept, and what it was used for. `archived_seq` is the commit that archived it, 0 for none;
    # `expiry` says what happens at `expires_at` (1 archive, 2 delete).
    "ALTER TABLE episode ADD COLUMN archived_seq INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE episode ADD COLUMN expires_at INTEGER",
    "ALTER TABLE episode ADD COLUMN expiry INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE episode ADD COLUMN uses INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE episode ADD COLUMN used_at INTEGER",
    # What a namespace's Episodes without an end of their own have; no number means that they are kept for good.
    "ALTER TABLE namespace ADD COLUMN time_to_live INTEGER",
    "ALTER TABLE namespace ADD COLUMN expiry INTEGER NOT NULL DEFAULT 1",
    "CREATE INDEX episode_archived ON episode (namespace, archived_seq, id) WHERE archived_seq > 0",
    "CREATE INDEX episode_found ON episode (namespace, seq, id) WHERE archived_seq = 0",
    "CREATE INDEX episode_by_end ON episode (namespace, expires_at, id) WHERE expires_at IS NOT NULL",
    """
    CREATE TABLE hold (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        episode INTEGER NOT NULL REFERENCES episode (key),
        name TEXT NOT NULL,
        PRIMARY KEY (episode, name)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX hold_by_namespace ON hold (namespace)",
)

_FACTS_BY_ID = (
    # The ends' Facts by id, as Neighbours lists them: a page is read without the rest. And the versions of a statement;
    # of a literal the beginning, since it may be long.
    "DROP INDEX fact_by_subject",
    "CREATE INDEX fact_by_subject ON fact (subject, id)",
    "DROP INDEX fact_by_object",
    "CREATE INDEX fact_by_object ON fact (entity, id) WHERE entity IS NOT NULL",
    "CREATE INDEX fact_by_statement ON fact (subject, relation, entity, substr(literal, 1, 40), told_at)",
)

_TOMBSTONES = (
    # What a deletion leaves beside its audit row: digests of ids, see `memory.record.tombstones`. They name the
    # namespace in words, since they outlive it, and the commit without a reference, since a restore may be of before.
    """
    CREATE TABLE tombstone (
        namespace TEXT NOT NULL,
        kind INTEGER NOT NULL,
        digest TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (namespace, kind, digest)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX tombstone_by_commit ON tombstone (namespace, seq)",
    "CREATE INDEX forgotten_by_commit ON forgotten (seq)",
    # One row: what this store has of its own.
    "CREATE TABLE store (key INTEGER PRIMARY KEY CHECK (key = 1), secret BLOB NOT NULL) STRICT",
    "INSERT INTO store (key, secret) VALUES (1, randomblob(32))",
)

_DREAMS = (
    # What an Episode was derived from: it is deleted with any of them.
    """
    CREATE TABLE derived (
        episode INTEGER NOT NULL REFERENCES episode (key),
        source INTEGER NOT NULL REFERENCES episode (key),
        PRIMARY KEY (episode, source)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX derived_by_source ON derived (source)",
    # Concepts that Dreams wrote, which are left out of the statistics.
    "ALTER TABLE namespace ADD COLUMN dreamt INTEGER NOT NULL DEFAULT 0",
    # Dreams and their changes hold ids and counts, no word of an Episode. `body` and `inverse` are JSON.
    """
    CREATE TABLE dream (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        id TEXT NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (namespace, id),
        UNIQUE (namespace, number)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX dream_by_state ON dream (state)",
    """
    CREATE TABLE dream_change (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        dream TEXT NOT NULL,
        ordinal INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        state INTEGER NOT NULL,
        body TEXT NOT NULL,
        inverse TEXT NOT NULL,
        PRIMARY KEY (namespace, dream, ordinal)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX dream_change_by_kind ON dream_change (namespace, kind, state, dream, ordinal)",
)

_OLD_ANSWERS = ("CREATE INDEX request_by_time ON request (recorded_at)",)

_ENTITIES = (
    # Where Episodes name Entities; the empty stretch at 0 is their speaker's. Derived: what `extractor` says read them.
    """
    CREATE TABLE mention (
        episode INTEGER NOT NULL REFERENCES episode (key),
        start_byte INTEGER NOT NULL,
        end_byte INTEGER NOT NULL,
        entity INTEGER NOT NULL REFERENCES entity (key),
        kind TEXT NOT NULL,
        PRIMARY KEY (episode, start_byte, end_byte, entity)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX mention_by_entity ON mention (entity, episode)",
    "ALTER TABLE episode ADD COLUMN extractor INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX episode_by_extractor ON episode (namespace, extractor, seq, ordinal)",
    "ALTER TABLE fact ADD COLUMN rule TEXT NOT NULL DEFAULT ''",
    # That two Entities are one, from commit `seq` on until `undone_seq`, 0 while it counts.
    """
    CREATE TABLE entity_merge (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        kept INTEGER NOT NULL REFERENCES entity (key),
        merged INTEGER NOT NULL REFERENCES entity (key),
        reason TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        seq INTEGER NOT NULL REFERENCES commits (seq),
        undone_seq INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX entity_merge_by_namespace ON entity_merge (namespace, seq)",
    "CREATE INDEX entity_merge_by_kept ON entity_merge (kept)",
    "CREATE INDEX entity_merge_by_merged ON entity_merge (merged)",
    # How often its merges were changed, and the last commit that did: whoever reads Facts asks that first.
    "ALTER TABLE namespace ADD COLUMN merges INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE namespace ADD COLUMN merged_seq INTEGER NOT NULL DEFAULT 0",
)

_SPACES = (
    # A second place for a Concept's vector: a migration to another space fills the one that does not count, and then
    # changes which does. `slot` is 0 where `vector` counts, 1 where `vector_b` does; the other is mostly empty.
    "ALTER TABLE concept ADD COLUMN vector_b BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE namespace ADD COLUMN slot INTEGER NOT NULL DEFAULT 0",
    # `body` is JSON; it holds no word of an Episode.
    """
    CREATE TABLE migration (
        namespace INTEGER NOT NULL REFERENCES namespace (key),
        id TEXT NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (namespace, id),
        UNIQUE (namespace, number)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX migration_by_state ON migration (state)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_FIRST, _RELATION_POLICIES, _KEEPING, _FACTS_BY_ID, _TOMBSTONES, _DREAMS, _OLD_ANSWERS, _ENTITIES, _SPACES),
)
"""Step n takes a file from user_version n to n + 1; each is a sequence of single statements."""
