"""What every rung stands on and none is about: a child process, and root without being root.

`minirun/runner.py` forks and waits in the same way; rung 03 takes `become_root` apart.
"""

from __future__ import annotations

import os
import sys

from minirun import kernel
from minirun.flags import Clone, Mount
from minirun.spec import IdMapping
from minirun.userns import make_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def in_child(act: Callable[[], object]) -> int:
    """Run a function in a child process; return its exit code, or minus the signal's number."""
    sys.stdout.flush()  # or the child would inherit, and print again, what is still in the buffer
    pid = os.fork()
    if pid == 0:
        try:
            act()
            sys.stdout.flush()
            os._exit(0)  # not sys.exit: the code above us on the stack belongs to the parent
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def private_tmp() -> None:
    """Enter a new mount namespace, and have an empty /tmp there that nobody else sees: rung 05."""
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    kernel.mount("tmpfs", "/tmp", "tmpfs", Mount(0), None)


def become_root() -> None:
    """Enter a new user namespace as its root, who is our own ordinary user outside."""
    uid, gid = (IdMapping(0, os.getuid(), 1),), (IdMapping(0, os.getgid(), 1),)
    kernel.setns(make_user_namespace(uid, gid, setgroups=False), Clone.CLONE_NEWUSER)
