"""Measurements, each beside a peer in the same run: `sapience bench NAME`."""

from services.bench.named import run_named

__all__ = ["run_named"]
