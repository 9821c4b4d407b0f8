"""The record on a Neo4j server. `record` puts it together; the other modules are the parts of its transaction."""

from memory.record.neo4j.record import Neo4jRecord

__all__ = ["Neo4jRecord"]
