"""The perception service: what comes in becomes Concepts, Concepts are foreseen, and vectors become words."""

from services.perception.null import NullEncoder
from services.perception.service import NAME, Models, Perception, service

__all__ = ["NAME", "Models", "NullEncoder", "Perception", "service"]
