"""The children a test may wait for: its own, and not the servers that the whole run keeps.

``waitpid(-1)`` would take the exit status of another fixture's process, and would never see an end
of them while an engine of the session lives.
"""

from __future__ import annotations

import os
from pathlib import Path


def children(pid: int) -> set[int]:
    """Return the children of all threads of a process, the dead ones included."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
    return found


class Offspring:
    """Every child of this process that was not there when this was made."""

    def __init__(self) -> None:
        self._older = children(os.getpid())

    def reap(self) -> bool:
        """Collect those that have ended; return whether any is left."""
        found = children(os.getpid()) - self._older
        return found != {pid for pid in found if _collect(pid)}


def _collect(pid: int) -> bool:
    """Return whether a child is gone for good."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
