"""02 A host name of one's own: the smallest namespace.

Idea: a namespace gives a process its own copy of one thing that was global. The UTS namespace holds
    the host name. unshare(2) moves this process into a new one; who is outside sees nothing.
Run: unshare --user --map-root-user python examples/02_uts_namespace.py
    Making a namespace takes privilege. Run it as root, or let unshare(1) lend you root's part of it
    for one command; how that can be safe is rung 03.
Look: two different numbers behind uts:, and a host whose name has not changed.
Break it: leave unshare out. An ordinary user gets EPERM from sethostname. As real root you have
    just renamed the machine: hostname NAME puts that right.
Real world: minirun/steps/namespaces.py (SetHostname); runc: libcontainer/init_linux.go
man: unshare(2), sethostname(2), uts_namespaces(7)
"""

from __future__ import annotations

import os

from stage import in_child

from minirun import kernel
from minirun.flags import Clone


def inside() -> None:
    """Take a new name in a new namespace."""
    before = uts()
    kernel.unshare(Clone.CLONE_NEWUTS)
    print(f"inside: still called as before: {os.uname().nodename == name}")
    # expect: inside: still called as before: True
    kernel.sethostname("box")
    print(f"inside: now called {os.uname().nodename}")
    # expect: inside: now called box
    print(f"inside: in another namespace: {uts() != before}")
    # expect: inside: in another namespace: True


def uts() -> str:
    """Return the name of this process's UTS namespace."""
    return os.readlink("/proc/self/ns/uts")


name = os.uname().nodename
in_child(inside)
print(f"outside: called as before: {os.uname().nodename == name}")
# expect: outside: called as before: True
