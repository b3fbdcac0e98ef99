"""``launcher`` without click: whatever this process has in memory, each shim has to copy.

Next: ``../launcher.py``.
"""

from __future__ import annotations

import sys

from ..engine.home import default_home
from ..engine.start import launcher_socket
from ..launcher import serve


def launch() -> int:
    """Serve starts until Ctrl-C; say where, once somebody may ask."""
    path = launcher_socket(default_home())

    def ready() -> None:
        sys.stdout.write(f"listening at {path}\n")
        sys.stdout.flush()

    serve(path, ready)
    return 0
