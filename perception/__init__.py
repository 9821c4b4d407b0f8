"""What comes in becomes Concepts: text is cut into sentences, and sentences become vectors.

Imports `core` only. Importing this package or `perception.segment` imports no torch; loading an encoder does.
"""
