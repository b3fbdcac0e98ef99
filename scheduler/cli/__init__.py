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
import sys
from collections.abc import Sequence
from typing import NoReturn


def main() -> NoReturn:
    """Run one command and exit; nothing that matters is left to tidy up, so exit at once."""
    code = perform(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # whoever read it is gone
    os._exit(code)


def perform(words: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    from .complaints import explained

    return explained(lambda: _invoke(words))


def _invoke(words: Sequence[str]) -> int:
    from .app import invoke

    return invoke(words)
