"""The record: what was told and stated, kept whole and in the order of commits. Two backends of `core.ports.Record`.

`sqlite` keeps it in one file of this machine, `neo4j` on a server. Both follow the same rules, which `rows` holds once:
what a duplicate is, how vectors are packed, how a retry is answered. `tests/congruence` proves that they agree.
Import the backend that you need; neither is imported here, so that no driver is loaded for nothing.
"""
