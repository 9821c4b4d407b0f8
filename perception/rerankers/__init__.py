"""Rerankers read a question and a text together and say how well the text answers it; slower than encoders, and better.

Importing this package imports no torch; loading a reranker does.
"""
