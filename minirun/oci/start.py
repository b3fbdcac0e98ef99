"""let a created container run its program.

See: runtime.md, Start. Next: ``kill.py``.
"""

from __future__ import annotations

from ..host import probe
from ..lifecycle import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS: dict[str, str] = {}


def main(call: Call, report: Report) -> int:
    """Start, and learn whether the program could be executed."""
    del report
    Container(call.root, call.container_id(), probe()).start()
    return 0
