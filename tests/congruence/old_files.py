"""A record file of the first schema, written in SQL as the program of then wrote it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from core.ids import concept_id, entity_id
from memory.record.sqlite import file
from memory.record.sqlite.schema import APPLICATION_ID, MIGRATIONS

FIRST = "0190b0c0-0000-7000-8000-000000000001"
TOLD = 1_700_000_000_000_000


def oldest(path: Path) -> None:
    """Namespace "a" with the Episode FIRST, "one" said by Ann, and the Fact that she lives in Paris."""
    file.SqliteFile(path, APPLICATION_ID, MIGRATIONS[:1]).close()
    with sqlite3.connect(path) as db:
        db.executemany("INSERT INTO commits VALUES (?, ?)", [(1, TOLD), (2, TOLD + 1), (3, TOLD + 2)])
        db.execute("INSERT INTO space VALUES (1, 'encoder', '1', 4)")
        db.execute("INSERT INTO namespace VALUES (1, 'a', ?, 1, 1, 1)", (TOLD,))
        told = (FIRST, "0" * 32, "chat", "Ann", "one", TOLD, TOLD + 1)
        db.execute(
            "INSERT INTO episode VALUES (1, ?, 1, ?, 1, ?, 'c', 0, ?, ?, ?, '', ?, 2, 0)",
            told,
        )
        packed = (np.array([1], "<u4").tobytes(), np.array([1], "<f4").tobytes(), np.eye(4, dtype="<f4")[0].tobytes())
        db.execute("INSERT INTO concept VALUES (1, ?, 1, 1, 0, 0, 3, 'en', ?, ?, ?)", (concept_id(FIRST, 0), *packed))
        db.execute("INSERT INTO term VALUES (1, 1, 1)")
        db.execute("INSERT INTO speaker VALUES (1, 'Ann', 1)")
        for key, name in enumerate(("Ann", "Paris"), 1):
            db.execute("INSERT INTO entity VALUES (?, ?, 1, ?)", (key, entity_id("a", name), name))
            db.execute("INSERT INTO entity_name VALUES (1, ?, ?)", (name.casefold(), key))
        db.execute(
            "INSERT INTO fact VALUES (1, 'f1', 1, 1, 'lives_in', 2, NULL, NULL, NULL, 1, '', '', ?, ?, 3, 0, 1, 1.0)",
            (TOLD, TOLD + 2),
        )
    db.close()
