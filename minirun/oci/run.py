"""create, start, wait, delete: a container as one command.

See: runc-run(8). Next: ``foreground.py``.
"""

from __future__ import annotations

from ..errors import take_back
from ..host import probe
from . import bundle
from .foreground import Foreground, pass_size_on
from .handover import write_pid_file
from .words import FLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS = {**bundle.OPTIONS, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG}


def main(call: Call, report: Report) -> int:
    """Return the container's exit code, or 0 at once with ``--detach``."""
    detach = call.flag("detach")
    foreground = None if detach else Foreground()
    container, _, master = bundle.make(call, report, probe(), detach=detach)
    try:
        pid = container.state().pid
        write_pid_file(call.text("pid-file"), pid)
        if foreground and master >= 0:
            pass_size_on(master)  # a program may ask for it first thing
        container.start()
        if foreground is None:
            return 0
        code = foreground.follow(pid, master)
    except BaseException as error:
        take_back(error, lambda: container.delete(force=True))
        raise
    if not call.flag("keep"):
        container.delete(force=True)
    return code
