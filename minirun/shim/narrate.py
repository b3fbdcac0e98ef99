"""Tell the client each step of a start as it happens, and wait for it where it wants to look.

Next: ``standby.py``.
"""

from __future__ import annotations

import os

from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..runner import Observer
    from ..steps.base import Step


def narrator(client: int, mode: str) -> Observer | None:
    """Return what the runner calls after each step.

    Args:
        client: the socket of the client.
        mode: ``live``, ``step`` to wait for the client's ``next`` each time, or "" for silence.
    """
    if not mode or client < 0:
        return None

    def observe(index: int, step: Step, seconds: float) -> None:
        facts = {"index": index, "id": step.id, "title": step.title, "lane": step.lane}
        words = {"why": step.why, "call": step.call, "seconds": seconds}
        os.set_blocking(client, True)
        os.write(client, frames.report(frames.STEP, {**facts, **words}))
        if mode == "step":
            os.read(client, 5)  # one empty NEXT frame; no bytes when the client is gone
        os.set_blocking(client, False)

    return observe
