"""The reasoning service: answers with evidence, and the Trace of each."""

from services.reasoning.service import NAME, Reasoning, service

__all__ = ["NAME", "Reasoning", "service"]
