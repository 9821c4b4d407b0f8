"""A process of services looks less often for reference cycles, and still frees them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from services.runtime import garbage

class Node: pass

def lost():
    node = Node()
    node.itself = node
    return weakref.ref(node)

before = lost()
garbage.settle()
assert before() is None, "what was lost before is freed first"
assert gc.get_freeze_count() > 0
after = lost()
kept = [[] for _ in range(garbage.YOUNG + 1)]
assert after() is None, "a cycle goes once so many containers were made"
"""


def test_cycles_are_freed_after_so_many_containers() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
