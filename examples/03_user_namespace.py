"""03 Root without root.

Idea: user ids are only numbers, and a user namespace has its own. Inside, uid 0 has every
    capability, over what belongs to the namespace; for the rest of the machine it is the ordinary
    user who made it. This is why the rungs from here on need no root.
Run: python examples/03_user_namespace.py
Look: before, no capability; afterwards all of them, and uid 0. Yet a file of the host's root
    belongs to nobody (65534), because no id in here stands for him, and it cannot be written.
Break it: leave out the line that writes uid_map. You are 65534 yourself, in your own namespace.
Real world: minirun/userns.py (make_user_namespace); runc: nsexec.c, update_uidmap
man: user_namespaces(7), "User and group ID mappings"; capabilities(7)
"""

from __future__ import annotations

import os

from stage import in_child

from minirun import kernel
from minirun.flags import PR_SET_DUMPABLE, Clone
from minirun.steps.base import write_file


def inside() -> None:
    """Become root of a namespace that nobody else is in."""
    become_ordinary()
    uid, gid = os.getuid(), os.getgid()
    print(f"before: root: {uid == 0}, capabilities {effective():x}")
    # expect: before: root: False, capabilities 0

    kernel.unshare(Clone.CLONE_NEWUSER)
    # Giving up a group could open a file that the group is locked out of: first forbid that.
    write_file("/proc/self/setgroups", "deny")
    write_file("/proc/self/gid_map", f"0 {gid} 1")
    write_file("/proc/self/uid_map", f"0 {uid} 1")  # 0 in here is uid out there, for 1 id

    print(f"inside: root: {os.getuid() == 0}, capabilities {effective():x}")
    # expect: inside: root: True, capabilities …ffffffffff
    print(f"the host's files belong to {os.stat('/etc/passwd').st_uid}")
    # expect: the host's files belong to 65534
    print(f"and may be written: {os.access('/etc/passwd', os.W_OK)}")
    # expect: and may be written: False


def become_ordinary() -> None:
    """Stop being root, if we are: otherwise there is nothing to see."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        kernel.prctl(PR_SET_DUMPABLE, 1)  # or /proc/self would still belong to root


def effective() -> int:
    """Return the capabilities that count, one bit each: CapEff in /proc/self/status."""
    return kernel.capget()[0]


in_child(inside)
