"""What is kept: the record of what was told, the index over it, and the rules of time.

Imports `core` alone of ours, and no database driver before a backend that needs it is imported by name.
"""
