"""Models of the transformers library are loaded one at a time in a process.

While it loads one, transformers replaces a method of its base class and puts the old one back afterwards. Two loads
that overlap put back one another's replacement, and every model with tied weights that is loaded later in that process
computes with weights it was not given. Services load models on threads of their own, so they overlap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_LOCK = threading.RLock()


def alone(make: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Calls what makes or loads a model of transformers while nothing else does. Waits: call it on a thread."""
    with _LOCK:
        return make(*arguments, **options)
