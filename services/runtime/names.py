"""The four services, and what gRPC calls them."""

from __future__ import annotations

SERVICES = ("perception", "memory", "reasoning", "controller")


def full_name(service: str) -> str:
    """The name in the contract, for example "sapience.v1.MemoryService"."""
    return f"sapience.v1.{service.capitalize()}Service"
