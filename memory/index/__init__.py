"""The index: dense and sparse vectors of Concepts, derived from the record and built again from it at any time.

`edge` keeps it in a folder of this process, `qdrant` on a Qdrant server; `points` is what the two share. Import the one
you need: each imports its driver.
"""
