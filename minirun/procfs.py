"""A procfs that nobody else can reach.

The files below /proc are how a process sets its own limits and the namespace's sysctls. Writing
them through the container's /proc trusts whatever the image or a volume put there (CVE-2019-16884,
CVE-2025-52881), so the runtime keeps a detached instance for itself and walks it without following
links or crossing mounts.

See: fsopen(2), openat2(2), proc(5). Next: ``steps/masks.py``.
"""

from __future__ import annotations

import os

from . import kernel
from .errors import HostError, SyscallError
from .flags import AT_FDCWD, PROC_SUPER_MAGIC, FsConfig, MountAttr, OpenTree, Resolve

_STRICT = (
    Resolve.RESOLVE_BENEATH
    | Resolve.RESOLVE_NO_XDEV
    | Resolve.RESOLVE_NO_SYMLINKS
    | Resolve.RESOLVE_NO_MAGICLINKS
)


def open_private() -> int:
    """Return an fd for a detached procfs of this process's PID namespace.

    Where a user namespace may not make one, a detached copy of /proc takes its place.
    """
    try:
        fs = kernel.fsopen("proc")
        kernel.fsconfig(fs, FsConfig.FSCONFIG_CMD_CREATE, None, None)
        tree = kernel.fsmount(fs, MountAttr(0))
        os.close(fs)
    except SyscallError:
        tree = kernel.open_tree(AT_FDCWD, "/proc", OpenTree.OPEN_TREE_CLONE)
    if kernel.fstatfs_type(tree) != PROC_SUPER_MAGIC:
        raise HostError("/proc is not a procfs", hint="mount -t proc proc /proc")
    return tree


def write(proc_fd: int, path: str, text: str) -> None:
    """Write one file of the private procfs, for example ``sys/net/ipv4/ip_forward``.

    ``self`` is a symbolic link, which the walk refuses: name the pid instead. So is ``..``, which
    RESOLVE_BENEATH allows as long as it does not leave procfs: every file of the host is in there.
    """
    if ".." in path.split("/"):
        raise HostError(f"/proc/{path} holds '..'", hint="write where it really is")
    fd = kernel.openat2(proc_fd, path, os.O_WRONLY, 0, _STRICT)
    try:
        if kernel.fstatfs_type(fd) != PROC_SUPER_MAGIC:
            raise HostError(f"/proc/{path} is not in a procfs")
        os.write(fd, text.encode())
    finally:
        os.close(fd)
