"""send a signal to a container's first process, or with ``--all`` to every one.

See: runtime.md, Kill. Next: ``delete.py``.
"""

from __future__ import annotations

import signal

from ..errors import UsageError
from ..host import probe
from ..lifecycle import Container
from .words import FLAG, is_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS = {"all": FLAG}


def main(call: Call, report: Report) -> int:
    """Send it; SIGTERM unless told otherwise."""
    del report
    if not 1 <= len(call.words) <= 2:
        raise UsageError('"kill" requires a container id, and may have a signal')
    name = call.words[1] if len(call.words) > 1 else "TERM"
    container = Container(call.root, call.words[0], probe())
    container.kill(parse_signal(name), everybody=call.flag("all"))
    return 0


def parse_signal(text: str) -> int:
    """Return a signal's number.

    Raises:
        UsageError: there is no such signal.

    >>> parse_signal("9"), parse_signal("kill"), parse_signal("SIGTERM")
    (9, 9, 15)
    """
    if is_number(text):
        if int(text) in {0, *map(int, signal.valid_signals())}:  # 0 asks whether it is there
            return int(text)
    else:
        name = text.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        found = signal.Signals.__members__.get(name)
        if found is not None:
            return int(found)
    raise UsageError(f"unknown signal {text!r}", hint="a number or a name, see kill -l")
