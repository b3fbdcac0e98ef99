"""06 Another root directory: chroot, the way out of it, and pivot_root.

Idea: chroot(2) changes where the walk of a path begins, and nothing else. Whoever stands outside
    the new root walks up past it. pivot_root(2) exchanges the root mount itself; once the old one
    is unmounted there is no outside left to stand in.
Run: python examples/06_change_root.py
Look: the same five lines of escape(), once after each call.
Break it: write MS_SHARED for MS_PRIVATE. pivot_root gives EINVAL: it would move the host's root in
    every namespace that listens (rung 05).
Real world: minirun/steps/rootfs.py (PivotRoot); runc: rootfs_linux.go, pivotRoot
man: chroot(2), "escape"; pivot_root(2), the section on pivot_root(".", ".")
"""

from __future__ import annotations

import os

from stage import become_root, in_child, private_tmp

from minirun import kernel
from minirun.flags import Clone, Mount, Umount


def with_chroot() -> None:
    """Change the root as it was done in 1979."""
    os.chroot("/tmp/box")
    os.chdir("/")
    print(f"chroot: / holds {os.listdir('/')}")
    # expect: chroot: / holds ['hole']
    escape()
    print(f"chroot: the host is back in sight: {os.path.exists('/tmp/host')}")
    # expect: chroot: the host is back in sight: True


def with_pivot_root() -> None:
    """Change the root as a container runtime does."""
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    kernel.mount("/tmp/box", "/tmp/box", None, Mount.MS_BIND, None)  # it must be a mount point
    os.chdir("/tmp/box")
    kernel.pivot_root(".", ".")  # the old root now lies on top of the new one:
    kernel.umount2(".", Umount.MNT_DETACH)  # peel it off
    os.chdir("/")
    print(f"pivot_root: / holds {os.listdir('/')}")
    # expect: pivot_root: / holds ['hole']
    escape()
    print(f"pivot_root: the host is back in sight: {os.path.exists('/tmp/host')}")
    # expect: pivot_root: the host is back in sight: False


def escape() -> None:
    """Move the root below us while we stay where we are; then walk up as far as it goes."""
    os.chroot("/hole")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")


become_root()
private_tmp()
os.makedirs("/tmp/box/hole")
os.mkdir("/tmp/host")
in_child(with_chroot)
in_child(with_pivot_root)
