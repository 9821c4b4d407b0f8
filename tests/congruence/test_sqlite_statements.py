"""Many rows by one statement: all of them, in order, whatever their number."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from memory.record.sqlite.statements import Statements


@given(st.integers(0, 2600) | st.sampled_from([1, 1023, 1024, 1025, 2048]), st.integers(0, 9))
def test_every_row_is_inserted_once_and_one_that_is_there_is_added_to(count: int, again: int) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (key INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER UNIQUE, n INTEGER)")
        statements = Statements(db)
        statements._insert_many("t", ("name", "n"), [(name, 1) for name in range(count)])
        or_else = "ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"
        statements._insert_many("t", ("name", "n"), [(name, 5) for name in range(again)], or_else)
        found = db.execute("SELECT name, n FROM t ORDER BY key").fetchall()
    wanted = dict.fromkeys(range(count), 1)
    for name in range(again):
        wanted[name] = wanted.get(name, 0) + 5
    assert found == list(wanted.items())
