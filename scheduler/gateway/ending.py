"""The end of a gateway that no controller watches any more.

Next: ``../shutdown.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

from .process import Process


def end(folder: Path, grace_s: float) -> None:
    """End the proxy and the doors; nothing happens where none runs.

    All close their listening sockets first, so no request is taken that could not be answered.

    Args:
        folder: the gateway's.
        grace_s: for how long what is in flight may go on.
    """
    processes = [Process(folder, file.stem) for file in sorted(folder.glob("*.pid"))]
    running = [process for process in processes if process.find() is not None]
    for process in running:
        process.hush()
    deadline = time.monotonic() + grace_s
    for process in running:
        process.end(deadline)
