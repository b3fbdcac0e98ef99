"""04 A process tree of one's own, and the duties of PID 1.

Idea: in a new PID namespace numbers start at 1, and nobody outside can be named, so nobody outside
    can be killed. It applies to children only: a process never changes its own pid. The first
    child is PID 1. It inherits orphans, and must wait for them, or they stay zombies.
Run: python examples/04_pid_namespace.py
Look: the pids 1, 2 and 3; the orphan's new parent; a process that is dead and can still be found.
Break it: write in_child(init) twice. PID 1 has ended and the namespace is dead: ENOMEM from fork.
Real world: minirun/steps/handoff.py (ForkInit), minirun/shim; runc: nsexec.c, STAGE_INIT
man: pid_namespaces(7), wait(2) on zombies, PR_SET_CHILD_SUBREAPER in prctl(2)
"""

from __future__ import annotations

import os

from stage import become_root, in_child

from minirun import kernel
from minirun.flags import Clone


def init() -> None:
    """Be PID 1: have a child that leaves a child behind."""
    print(f"my pid is {os.getpid()}, my parent is out of sight: {os.getppid()}")
    # expect: my pid is 1, my parent is out of sight: 0
    gone, tell = os.pipe()
    in_child(lambda: leave_orphan(gone))
    os.write(tell, b"!")
    adopt(3)


def leave_orphan(gone: int) -> None:
    """As pid 2: fork pid 3 and end first."""
    print(f"a child of mine is {os.getpid()}", flush=True)
    # expect: a child of mine is 2
    if os.fork() == 0:
        os.read(gone, 1)  # until our parent has ended
        print(f"its child is {os.getpid()}, and has a new parent: {os.getppid()}", flush=True)
        # expect: its child is 3, and has a new parent: 1
        os._exit(7)


def adopt(orphan: int) -> None:
    """Collect a process that was never ours."""
    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)  # it has ended; look, but do not collect
    os.kill(orphan, 0)  # signal 0 only asks: is there such a process?
    print("a zombie: ended, but not collected")
    # expect: a zombie: ended, but not collected
    code = os.waitstatus_to_exitcode(os.waitpid(orphan, 0)[1])
    print(f"collected, it had exited with {code}")
    # expect: collected, it had exited with 7


become_root()
pid = os.getpid()
kernel.unshare(Clone.CLONE_NEWPID)
in_child(init)
print(f"we ourselves keep our pid: {os.getpid() == pid}")
# expect: we ourselves keep our pid: True
