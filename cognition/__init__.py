"""What thinks.

Imports `core` only. Importing this package or `cognition.engine` imports no torch; loading a model does.
"""
