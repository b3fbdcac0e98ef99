"""Steps that make the assembled file system the container's root.

See: mount_namespaces(7), pivot_root(2), overlayfs in the kernel's documentation.
Next: ``mounts.py``.
"""

from __future__ import annotations

import os
import sys

from .. import kernel, procfs
from ..flags import At, Mount, MountAttr, Umount, spell
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

#: What found modules before, see ``forget_imports``.
_FORGOTTEN: list[object] = []


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
    """Leave the import system without a place to look.

    What it looked with stays in memory: freeing it writes to every page that it lies on, and each
    such page is copied at the expense of the container, 6 MB where a large program is the runtime.
    """
    _FORGOTTEN.append((sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache))
    sys.path, sys.meta_path, sys.path_hooks, sys.path_importer_cache = [], [], [], {}


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
