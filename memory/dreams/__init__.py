"""Consolidation: from what the record holds to proposals, and from approved proposals to changes.

`material` is what a Dream reads; `duplicates`, `summaries`, `contradictions`, `procedures` and `strengthening` are pure
functions from it to proposals, `proposing` asks them in turn, `writing` words a summary, `work` does it on a record.
"""
