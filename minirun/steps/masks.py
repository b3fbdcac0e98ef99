"""Steps that hide or freeze what /proc and /sys expose, and set what belongs to a namespace.

After pivot-root, because they cover paths of the container's own /proc.

See: proc(5), sysfs(5), config-linux.md (Masked Paths, Readonly Paths, Sysctl).
Next: ``devices.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel, procfs
from ..errors import StepError, SyscallError
from ..flags import At, FsConfig, MountAttr, OpenTree, Umount
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

_NONE = MountAttr(0)


class MaskPaths(Step):
    """Cover what /proc and /sys should not tell."""

    id: ClassVar = "mask-paths"
    why: ClassVar = "hide the kernel's knobs and memory that /proc and /sys expose"
    man: ClassVar = "proc(5), config-linux.md Masked Paths"
    check: ClassVar = "nsenter -t PID -m cat /proc/kcore"
    without: ClassVar = "host memory, keys and timers can be read"

    paths: tuple[str, ...]

    @property
    def call(self) -> tuple[str, ...]:
        """One read-only tmpfs serves them all; a superblock for each costs a millisecond each."""
        return (
            'fsopen("tmpfs", FSOPEN_CLOEXEC)',
            "fsmount(fd, FSMOUNT_CLOEXEC, 0)",
            'open_tree(fd, "file", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)',
            'move_mount(fd, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)',
        )

    def apply(self, context: Context) -> None:
        """Skip what does not exist, and only that (CVE-2025-31133)."""
        cover = _empty_tmpfs()
        aside = _attach_where_needed(cover, context.rootfs_fd)
        for path in self.paths:
            try:
                target = inroot.open_in_root(context.rootfs_fd, path)
            except SyscallError as error:
                if error.errno in (2, 20):  # ENOENT, ENOTDIR
                    continue
                raise
            name = "dir" if _is_dir(target) else "file"
            tree = kernel.open_tree(cover, name, OpenTree.OPEN_TREE_CLONE)
            inroot.attach(tree, target)
            os.close(tree)
            os.close(target)
        if aside:
            os.fchdir(cover)
            kernel.umount2(".", Umount.MNT_DETACH)
            os.fchdir(context.rootfs_fd)
        os.close(cover)


def _attach_where_needed(tree: int, rootfs_fd: int) -> bool:
    """Before Linux 6.15 only an attached mount can be cloned: let it lie on "/" for that long.

    Nobody sees it there: paths start at what is below, as they do after pivot_root(".", ".").
    """
    try:
        os.close(kernel.open_tree(tree, "dir", OpenTree.OPEN_TREE_CLONE))
    except SyscallError as error:
        if error.errno != 22:  # EINVAL
            raise
        inroot.attach(tree, rootfs_fd)
        return True
    return False


def _empty_tmpfs() -> int:
    """Return a detached read-only tmpfs holding an empty ``file`` and an empty ``dir``."""
    fs = kernel.fsopen("tmpfs")
    kernel.fsconfig(fs, FsConfig.FSCONFIG_SET_STRING, "nr_blocks", "1")
    kernel.fsconfig(fs, FsConfig.FSCONFIG_CMD_CREATE, None, None)
    tree = kernel.fsmount(fs, _NONE)
    os.close(fs)
    os.mkdir("dir", 0o555, dir_fd=tree)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=tree))
    kernel.mount_setattr(
        tree, "", At.AT_EMPTY_PATH, MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOEXEC
    )
    return tree


def _is_dir(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


class ReadonlyPaths(Step):
    """Bind a path over itself, read-only."""

    id: ClassVar = "readonly-paths"
    why: ClassVar = "kernel settings can be read but not changed"
    man: ClassVar = "mount_setattr(2), config-linux.md Readonly Paths"
    check: ClassVar = "nsenter -t PID -m sh -c 'echo 1 > /proc/sys/vm/drop_caches'"
    without: ClassVar = "root in the container can change sysctls of the whole host"

    paths: tuple[str, ...]

    @property
    def call(self) -> tuple[str, ...]:
        """Clone, make read-only, attach: the path is never writable in between."""
        flags = "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH|AT_RECURSIVE"
        return (
            f'open_tree(fd, "", {flags})',
            'mount_setattr(fd, "", AT_EMPTY_PATH|AT_RECURSIVE, {attr_set=MOUNT_ATTR_RDONLY',
            'move_mount(fd, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)',
        )

    def apply(self, context: Context) -> None:
        """Skip what does not exist."""
        for path in self.paths:
            try:
                target = inroot.open_in_root(context.rootfs_fd, path)
            except SyscallError as error:
                if error.errno in (2, 20):
                    continue
                raise
            make_readonly_over(target)
            os.close(target)


def make_readonly_over(target: int) -> None:
    """Attach a read-only clone of the tree at ``target`` over itself."""
    flags = OpenTree.OPEN_TREE_CLONE | OpenTree.AT_EMPTY_PATH | OpenTree.AT_RECURSIVE
    tree = kernel.open_tree(target, "", flags)
    kernel.mount_setattr(tree, "", At.AT_EMPTY_PATH | At.AT_RECURSIVE, MountAttr.MOUNT_ATTR_RDONLY)
    inroot.attach(tree, target)
    os.close(tree)


class SetSysctls(Step):
    """Kernel settings that belong to a namespace."""

    id: ClassVar = "sysctl"
    why: ClassVar = "settings of the container's own network and IPC namespaces"
    man: ClassVar = "sysctl(8), namespaces(7)"
    check: ClassVar = "nsenter -t PID -n -i sysctl -a"
    without: ClassVar = "the defaults of the kernel apply"

    values: tuple[tuple[str, str], ...]

    @property
    def call(self) -> tuple[str, ...]:
        """Through the private procfs, never through a path of the container."""
        paths = [quoted("sys/" + sysctl_path(name)) for name, _ in self.values]
        return tuple(f"openat2(fd, {path}, {{flags=O_WRONLY|O_CLOEXEC" for path in paths)

    def apply(self, context: Context) -> None:
        """Write each."""
        for name, value in self.values:
            try:
                procfs.write(context.proc_fd, "sys/" + sysctl_path(name), value)
            except OSError as error:
                raise StepError(
                    self.id,
                    self.lane,
                    f"{name}={value}: {os.strerror(error.errno or 0)}",
                    hint="the sysctl must exist and be settable in a namespace",
                ) from error


def sysctl_path(name: str) -> str:
    """Return the path below /proc/sys.

    Whichever of . and / comes first separates the parts, and the other one is a dot in a part. See:
    sysctl(8).

    >>> sysctl_path("net.ipv4.ip_forward")
    'net/ipv4/ip_forward'
    >>> sysctl_path("net.ipv4.conf.eth0/1.forwarding")
    'net/ipv4/conf/eth0.1/forwarding'
    """
    dot, slash = name.find("."), name.find("/")
    if dot < 0 or 0 <= slash < dot:
        return name
    return name.translate({ord("."): "/", ord("/"): "."})
