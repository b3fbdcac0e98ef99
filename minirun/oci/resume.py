"""let a paused container go on.

See: runc-resume(8). Next: ``update.py``.
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
    """Thaw the container's control group."""
    del report
    Container(call.root, call.container_id(), probe()).resume()
    return 0
