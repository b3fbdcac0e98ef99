"""start a container from a checkpoint, through criu.

The bundle gives what a create would take from it: the group and its limits, what is bound from the
host, the filter for ``exec``. The processes come from the images: their memory, descriptors,
identity and namespaces. Both must tell of one container.

See: runc-restore(8), criu(8). Next: ``restoration.py``.
"""

from __future__ import annotations

import os

from ..errors import take_back
from ..host import probe
from ..lifecycle import Container, Request
from . import criu, outside
from .bundle import load
from .checkpoint import COMMON, PLACES, chosen, folders, manage_cgroups, refuse_options
from .foreground import Foreground
from .handover import write_pid_file
from .restoration import Restoration
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

_FLAGS = {**COMMON, "tcp-close": "--tcp-close"}
#: criu moves the root in its own way, and containers with a terminal are refused.
_REFUSED = {"console-socket": VALUE, "no-pivot": FLAG, "lazy-pages": FLAG}
OPTIONS = {
    **PLACES,
    **dict.fromkeys(_FLAGS, FLAG),
    "bundle": VALUE,
    "pid-file": VALUE,
    "detach": FLAG,
    "no-subreaper": FLAG,
    **_REFUSED,
}


def main(call: Call, report: Report) -> int:
    """Return the container's exit code, or 0 at once with ``--detach``."""
    del report
    refuse_options(call, tuple(_REFUSED))
    container = Container(call.root, call.container_id(), probe())
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = load(bundle)
    outside.refuse(spec)
    program = criu.find(call.criu)
    foreground = None if call.flag("detach") else Foreground()
    request = Request(container.id, bundle, cgroup_manager=call.cgroup_manager)
    images, work = folders(call)
    restoration = Restoration(container, spec, request)
    words = [*chosen(call, _FLAGS), *manage_cgroups(call, restoration.cgroup_manager)]
    pid = restoration.restore(program, images, work, words)
    try:
        write_pid_file(call.text("pid-file"), pid)
        if foreground is None:
            return 0
        code = foreground.follow(pid)
    except BaseException as error:
        take_back(error, lambda: container.delete(force=True))
        raise
    container.delete(force=True)
    return code
