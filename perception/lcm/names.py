"""What concept models can be trained by, and on. Imports no torch, so that a command can name them."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["mse", "two-tower", "cross-entropy", "contrastive"]
METHODS: tuple[Method, ...] = get_args(Method)
Context = Literal["whole", "shuffled", "none"]
"""What a model sees before a Concept: what was said, the same in another order, or nothing of it (controls)."""
CONTEXTS: tuple[Context, ...] = get_args(Context)
