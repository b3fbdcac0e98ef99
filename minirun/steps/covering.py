"""What may be mounted over /proc, /sys and the files inside /proc: next to nothing.

Programs in the container, and the kernel's own checks, trust these trees; something that looks like
them would swallow what is written to protect the container (CVE-2019-16884, CVE-2025-52881). The
rule is about places, not names: ``//proc`` and a link of the image lead to the same directory.

See: proc(5), sysfs(5). Next: ``mounts.py``, which asks before it attaches.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..errors import HostError, SyscallError
from ..flags import PROC_SUPER_MAGIC, SYSFS_MAGIC

#: What lxcfs provides; nothing else may cover a file of /proc.
PROC_FILES_THAT_MAY_BE_COVERED = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
_TREES = (("/proc", PROC_SUPER_MAGIC), ("/sys", SYSFS_MAGIC))
_PROC_ROOT_INODE = 1


def require_may_cover(root_fd: int, tree: int, target: int, destination: str) -> None:
    """Return when a detached mount may be attached at ``target``.

    Args:
        root_fd: the container's root.
        tree: the detached mount.
        target: where it would go, resolved.
        destination: how the spec calls that place.

    Raises:
        HostError: it would hide the real /proc or /sys, or a part of /proc.
    """
    inside = kernel.fstatfs_type(target) == PROC_SUPER_MAGIC and not _is_proc_root(target)
    if inside and destination not in PROC_FILES_THAT_MAY_BE_COVERED:
        raise HostError(
            f"{destination} is inside /proc and may not be covered",
            hint="the runtime and the kernel's own checks rely on the real /proc",
        )
    for place, magic in _TREES:
        if _leads_to(root_fd, place, target) and not _is_real(tree, magic):
            raise HostError(
                f"{destination}: this may not cover {place}",
                hint=f"only a file system that really is one may be mounted at {place}",
            )


def _is_real(tree: int, magic: int) -> bool:
    """Whether the tree is that file system; of a procfs, all of it and not one directory."""
    if kernel.fstatfs_type(tree) != magic:
        return False
    return magic != PROC_SUPER_MAGIC or _is_proc_root(tree)


def _is_proc_root(fd: int) -> bool:
    return os.fstat(fd).st_ino == _PROC_ROOT_INODE


def _leads_to(root_fd: int, place: str, target: int) -> bool:
    """Whether a path inside the root is the very object that ``target`` is open on."""
    try:
        fd = inroot.open_in_root(root_fd, place)
    except SyscallError:
        return False  # there is no such place, so it cannot be covered
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(target))
    finally:
        os.close(fd)
