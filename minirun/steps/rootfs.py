"""Steps that assemble the container's file system and make it the root.

See: mount_namespaces(7), pivot_root(2), overlayfs in the kernel's documentation.
Next: ``mounts.py``.
"""

from __future__ import annotations

import os
import sys

from .. import inroot, kernel, procfs
from ..errors import StepError, SyscallError
from ..flags import AT_FDCWD, At, FsConfig, Mount, MountAttr, OpenTree, Umount, spell
from ..record import Record
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

_NONE = MountAttr(0)


class Overlay(Record):
    """A writable layer over read-only ones. ``lowers`` are listed topmost first."""

    lowers: tuple[str, ...]
    upper: str = ""
    work: str = ""

    @property
    def data(self) -> str:
        r"""Return the mount data; ``\\``, ``:`` and ``,`` in a path are escaped.

        What the writable layer holds must make sense without this mount, because ``commit`` and
        ``build`` turn it into a layer of an image: so no redirects and no bare metadata.
        """
        lower = ":".join(map(_escape, self.lowers))
        if not self.upper:
            return f"lowerdir={lower}"
        return (
            f"lowerdir={lower},upperdir={_escape(self.upper)},workdir={_escape(self.work)},"
            "redirect_dir=off,metacopy=off,index=off"
        )


def _escape(path: str) -> str:
    for special in "\\:,":
        path = path.replace(special, "\\" + special)
    return path


class MountOverlay(Step):
    """Stack the image's layers and a writable one."""

    id: ClassVar = "mount-rootfs"
    why: ClassVar = "a writable layer over an image that every container shares"
    man: ClassVar = "mount(2), Documentation/filesystems/overlayfs.rst"
    check: ClassVar = "findmnt -N PID -o TARGET,OPTIONS /"
    without: ClassVar = "what one container writes changes the image of all"

    overlay: Overlay
    target: str

    @property
    def call(self) -> tuple[str, ...]:
        """Source ``overlay`` is only a name that shows up in mountinfo."""
        data = quoted(self.overlay.data)
        return (f'mount("overlay", {quoted(self.target)}, "overlay", 0, {data})',)

    def apply(self, context: Context) -> None:
        """Mount it on a directory of ours, outside anything the image controls."""
        del context
        kernel.mount("overlay", self.target, "overlay", Mount(0), self.overlay.data)


class MapLayers(Step):
    """Show the image's files as owned by the ids that the container's root really has."""

    lane: ClassVar = "M"
    id: ClassVar = "idmap-layers"
    why: ClassVar = "uid 0 in the image and uid 0 in the container become the same user"
    man: ClassVar = "mount_setattr(2), ID-mapped mounts"
    check: ClassVar = "grep idmapped /proc/PID/mountinfo"
    without: ClassVar = "every file of the image belongs to nobody (65534)"

    lowers: tuple[str, ...]
    target: str

    @property
    def call(self) -> tuple[str, ...]:
        """Each layer is cloned, mapped and attached below a directory of ours."""
        return (
            "open_tree(AT_FDCWD, path, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)",
            'mount_setattr(fd, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_IDMAP',
        )

    def apply(self, context: Context) -> None:
        """Attach layer N at ``target``/N."""
        for number, lower in enumerate(self.lowers):
            tree = kernel.open_tree(AT_FDCWD, lower, OpenTree.OPEN_TREE_CLONE)
            map_owners(tree, context.fds["userns"])
            place = f"{self.target}/{number}"
            os.makedirs(place, exist_ok=True)
            target = os.open(place, os.O_PATH | os.O_DIRECTORY)
            inroot.attach(tree, target)
            os.close(target)
            os.close(tree)


class MountMappedOverlay(MountOverlay):
    """The same, outside the user namespace: its layers are already mapped."""

    lane: ClassVar = "M"

    owner: tuple[int, int] = (0, 0)

    def apply(self, context: Context) -> None:
        """The writable layer is not mapped, so it must belong to the container's root."""
        if self.overlay.upper:
            os.chown(self.overlay.upper, *self.owner)
        super().apply(context)


def map_owners(tree_fd: int, userns_fd: int, *, recursive: bool = False) -> None:
    """Make a detached mount show its owners through a user namespace's maps."""
    flags = At.AT_EMPTY_PATH | (At.AT_RECURSIVE if recursive else At(0))
    try:
        kernel.mount_setattr(tree_fd, "", flags, MountAttr.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    except SyscallError as error:
        error.hint = "id-mapped mounts need Linux 5.12 and a file system that supports them"
        raise


class BindRootfs(Step):
    """pivot_root wants a mount point, and one that did not come from a more powerful namespace."""

    id: ClassVar = "bind-rootfs"
    why: ClassVar = "pivot_root accepts only a mount point, so the rootfs is mounted on itself"
    man: ClassVar = "pivot_root(2), mount(2) MS_BIND"
    check: ClassVar = "findmnt -N PID /"
    without: ClassVar = "pivot_root gives EINVAL"

    path: str

    @property
    def call(self) -> tuple[str, ...]:
        """Recursive: a bundle may have mounts below its rootfs."""
        path = quoted(self.path)
        flags = spell(Mount.MS_BIND | Mount.MS_REC)
        return (f"mount({path}, {path}, NULL, {flags}, NULL)",)

    def apply(self, context: Context) -> None:
        """Bind."""
        del context
        kernel.mount(self.path, self.path, None, Mount.MS_BIND | Mount.MS_REC, None)


class OpenRootfs(Step):
    """From here on the rootfs is an fd, and every path in it is resolved by the kernel below it."""

    id: ClassVar = "open-rootfs"
    why: ClassVar = "paths of the image are walked from this fd and cannot leave it"
    man: ClassVar = "openat2(2), RESOLVE_IN_ROOT"
    check: ClassVar = "strace shows no path below the rootfs after this step"
    without: ClassVar = "a symbolic link in the image makes us write to the host (CVE-2021-30465)"

    path: str

    @property
    def call(self) -> tuple[str, ...]:
        """O_PATH: a handle, not a right to read."""
        flags = "O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY"
        return (f"openat(AT_FDCWD, {quoted(self.path)}, {flags}",)

    def apply(self, context: Context) -> None:
        """Open it, and a procfs of our own beside it."""
        context.rootfs_fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        context.proc_fd = procfs.open_private()


class PivotRoot(Step):
    """Swap the roots, then let go of the old one."""

    id: ClassVar = "pivot-root"
    why: ClassVar = "the container's root becomes the root, and the host's is detached"
    man: ClassVar = 'pivot_root(2), the section on pivot_root(".", ".")'
    check: ClassVar = "nsenter -t PID -m ls /"
    without: ClassVar = "a chroot alone can be walked out of"

    @property
    def call(self) -> tuple[str, ...]:
        """Both arguments are ".": the old root ends up on top of the new one and is peeled off."""
        return ("fchdir(fd)", 'pivot_root(".", ".")', 'umount2(".", MNT_DETACH)', 'chdir("/")')

    def apply(self, context: Context) -> None:
        """Afterwards an import would load the image's code with our privileges: make it fail."""
        os.fchdir(context.rootfs_fd)
        kernel.pivot_root(".", ".")
        kernel.umount2(".", Umount.MNT_DETACH)
        os.chdir("/")
        forget_imports()


class MoveRoot(Step):
    """pivot_root refuses when the root is an initramfs; then the tree is moved over it."""

    id: ClassVar = "move-root"
    why: ClassVar = "the container's root covers the host's where pivot_root cannot swap them"
    man: ClassVar = "mount(2) MS_MOVE, chroot(2)"
    check: ClassVar = "nsenter -t PID -m ls /"
    without: ClassVar = "the container sees the host's files"

    path: str

    @property
    def call(self) -> tuple[str, ...]:
        """As switch_root(8) does it."""
        return (f'mount({quoted(self.path)}, "/", NULL, MS_MOVE, NULL)', 'chroot(".")')

    def apply(self, context: Context) -> None:
        """Move, then chroot into what was moved."""
        os.fchdir(context.rootfs_fd)
        kernel.mount(self.path, "/", None, Mount.MS_MOVE, None)
        os.chroot(".")
        os.chdir("/")
        forget_imports()


def forget_imports() -> None:
    """Leave the import system without a place to look."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


class RootPropagation(Step):
    """How mount events of the container's own tree travel."""

    id: ClassVar = "root-propagation"
    why: ClassVar = "the spec decides whether mounts made inside are shared further"
    man: ClassVar = "mount_namespaces(7), SHARED SUBTREES"
    check: ClassVar = "findmnt -N PID -o TARGET,PROPAGATION /"
    without: ClassVar = "nested containers cannot pass mounts on"

    propagation: Mount

    @property
    def call(self) -> tuple[str, ...]:
        """On the new root."""
        return (f'mount(NULL, "/", NULL, {spell(self.propagation)}, NULL)',)

    def apply(self, context: Context) -> None:
        """After pivot-root, so the host's tree is out of reach."""
        del context
        kernel.mount(None, "/", None, self.propagation, None)


class ReadonlyRoot(Step):
    """The last change to the root itself."""

    id: ClassVar = "readonly-root"
    why: ClassVar = "nothing in the image can be changed; writable places are mounts"
    man: ClassVar = "mount_setattr(2)"
    check: ClassVar = "nsenter -t PID -m touch /x"
    without: ClassVar = "a compromised program can plant files beside the code"

    @property
    def call(self) -> tuple[str, ...]:
        """Only the root's own mount: /proc, /dev and volumes keep their options."""
        return ('mount_setattr(fd, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY',)

    def apply(self, context: Context) -> None:
        """After every mount point exists."""
        kernel.mount_setattr(context.rootfs_fd, "", At.AT_EMPTY_PATH, MountAttr.MOUNT_ATTR_RDONLY)


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
        os.close(cover)


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
        return tuple(f"openat2(fd, {path}, {{flags=O_WRONLY" for path in paths)

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

    A name without slashes uses dots between parts; in one with slashes a dot is part of a name.

    >>> sysctl_path("net.ipv4.ip_forward")
    'net/ipv4/ip_forward'
    """
    return name if "/" in name else name.replace(".", "/")
