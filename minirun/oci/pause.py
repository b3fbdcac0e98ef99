"""stop every process of a container where it is.

See: runc-pause(8). Next: ``resume.py``.
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
    """Freeze the container's control group."""
    del report
    Container(call.root, call.container_id(), probe()).pause()
    return 0
