"""What processor this is, as a text that differs where what it can do differs."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Names and flags; on systems that do not tell them, the name alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.machine(), *sorted(told)])
