"""``minisched``: the command that operators type. The only place of the scheduler that prints.

    main ─▶ app.py ─▶ one module per noun or verb group, imported when it is named
                         └▶ ../client.py ─▶ the API of one scheduler, here or elsewhere

Every command has the same shape: read the line, ask the API, show the answer with ``output.py``.
``apply`` also reads a Compose file, and ``serve`` is the API itself. Whatever is raised below ends
in ``complaints.py``, as one line, a hint and an exit code; MINIRUN_DEBUG=1 shows the traceback too.

Next: ``app.py``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main() -> NoReturn:
    """Run one command and exit; nothing that matters is left to tidy up, so exit at once."""
    _end_at_ctrl_c()
    code = perform(sys.argv[1:])
    _end_at_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # whoever read it is gone
    os._exit(code)


def _end_at_ctrl_c() -> None:
    """Let Ctrl-C end us quietly while nobody answers it; what our caller ignores stays ignored.

    One that came while Python started has waited: scripts/entries.py blocks it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))


def perform(words: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    from .complaints import explained

    return explained(lambda: _invoke(words))


def _invoke(words: Sequence[str]) -> int:
    from .app import invoke

    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        sys.unraisablehook = _come_again
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return invoke(words)


def _come_again(lost: sys.UnraisableHookArgs) -> None:
    """Let a Ctrl-C that an import's callback has dropped come once more, as an alarm."""
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
    else:
        sys.__unraisablehook__(lost)
