"""What thinks. Imports `core` only; importing this package or `cognition.engine` imports no torch, loading a model does."""
