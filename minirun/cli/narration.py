"""``run --explain`` and ``--step``: the start, told while it happens.

Next: ``../explain.py``, which has the words.
"""

from __future__ import annotations

import json
import sys

from ..errors import MinirunError, StateError
from ..explain import live
from ..shim import frames
from .output import colour_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.start import Session


def tell(session: Session, *, wait: bool) -> None:
    """Print each step as it is reported, until the program runs.

    Args:
        session: of a start that is narrated.
        wait: read a line from standard input after each step.

    Raises:
        MinirunError: the start failed.
    """
    colour = colour_wanted(sys.stderr)
    for kind, payload in session.frames():
        facts = json.loads(payload) if kind in _REPORTS else {}
        if kind == frames.STEP:
            sys.stderr.write(live(facts, colour=colour))
            sys.stderr.flush()
            if wait:
                _pause(session)
        elif kind == frames.STARTED:
            sys.stderr.write(f"started: pid {facts['pid']}\n")
            return
        elif kind == frames.FAILED:
            raise MinirunError(facts["error"], hint=facts["hint"], exit_code=facts["exit_code"])
    raise StateError("the shim ended before the container was started")


_REPORTS = (frames.STEP, frames.STARTED, frames.FAILED)


def _pause(session: Session) -> None:
    """Wait for Enter; at the end of input go on without asking."""
    sys.stderr.write("  Enter goes on ")
    sys.stderr.flush()
    if not sys.stdin.readline():
        sys.stderr.write("\n")
    session.send(frames.frame(frames.NEXT))
