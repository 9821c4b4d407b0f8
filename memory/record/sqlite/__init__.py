"""The record in one SQLite file. `record` puts it together; the other modules are the parts of its transaction."""

from memory.record.sqlite.record import SqliteRecord

__all__ = ["SqliteRecord"]
