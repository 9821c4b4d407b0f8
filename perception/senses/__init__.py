"""Senses: audio into what was said, images into what is written on them, with where and how surely.

Importing this package imports no model library; loading a transcriber or a reader does.
"""

from perception.senses.base import Box, Reader, Sensed, SensedConcept, Stop, Transcriber

__all__ = ["Box", "Reader", "Sensed", "SensedConcept", "Stop", "Transcriber"]
