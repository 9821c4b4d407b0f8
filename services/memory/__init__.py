"""The memory service: what is told is kept durably, and found again as of any time."""

from services.memory.service import NAME, Memory, service

__all__ = ["NAME", "Memory", "service"]
