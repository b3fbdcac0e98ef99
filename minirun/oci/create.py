"""make a container and leave its process waiting for ``start``.

See: runtime.md, Create. Next: ``start.py``.
"""

from __future__ import annotations

from ..errors import take_back
from ..host import probe
from . import bundle
from .handover import write_pid_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS = bundle.OPTIONS


def main(call: Call, report: Report) -> int:
    """Create; the pid file is the last thing that appears."""
    container, _, _ = bundle.make(call, report, probe(), detach=True)
    try:
        write_pid_file(call.text("pid-file"), container.state().pid)
    except BaseException as error:
        take_back(error, lambda: container.delete(force=True))
        raise
    return 0
