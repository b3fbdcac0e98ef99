"""Steps that stack an image's layers and a writable one into a root file system.

See: Documentation/filesystems/overlayfs.rst; mount_setattr(2), ID-mapped mounts.
Next: ``idmapped.py``, where owners are others inside; ``rootfs.py``.
"""

from __future__ import annotations

import os

from .. import kernel
from ..errors import HostError, SyscallError
from ..flags import At, Mount, MountAttr
from ..record import Record, replace
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


#: mount(2) takes one page of data, and cuts off what is beyond without a word.
_DATA_LIMIT_BYTES = 4095


class Overlay(Record):
    """A writable layer over read-only ones.

    Args:
        lowers: the layers, topmost first.
        upper: receives the changes; "" for a read-only root.
        work: overlayfs's own directory, beside ``upper``.
        userxattr: keep its marks where a user namespace may write them (Linux 5.11).
    """

    lowers: tuple[str, ...]
    upper: str = ""
    work: str = ""
    userxattr: bool = False

    @property
    def data(self) -> str:
        r"""Return the mount data; ``\\``, ``:`` and ``,`` in a path are escaped.

        What the writable layer holds must make sense without this mount, because ``commit`` and
        ``build`` turn it into a layer of an image: so no redirects and no bare metadata.
        """
        lower = ":".join(map(_escape, self.lowers))
        if not self.upper:
            return f"lowerdir={lower}" + ",userxattr" * self.userxattr
        # With userxattr the kernel knows neither redirects nor bare metadata, nor the words.
        off = "userxattr" if self.userxattr else "redirect_dir=off,metacopy=off"
        above = f"upperdir={_escape(self.upper)},workdir={_escape(self.work)}"
        return f"lowerdir={lower},{above},{off},index=off"


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
        if _fits(self.overlay):
            kernel.mount("overlay", self.target, "overlay", Mount(0), self.overlay.data)
        else:
            _mount_by_descriptors(self.overlay, self.target)


def _fits(stack: Overlay) -> bool:
    return len(os.fsencode(stack.data)) <= _DATA_LIMIT_BYTES


def _mount_by_descriptors(stack: Overlay, target: str) -> None:
    """Mount more layers than there is room for with their paths: 80 in /var/lib/minirun.

    A descriptor's path takes 19 bytes, however deep the store lies: that is 200 layers.
    """
    fds: list[int] = []

    def held(path: str) -> str:
        fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return f"/proc/self/fd/{fds[-1]}"

    try:
        short = replace(stack, lowers=tuple(map(held, stack.lowers)))
        if stack.upper:
            short = replace(short, upper=held(stack.upper), work=held(stack.work))
        if not _fits(short):
            problem = f"{len(stack.lowers)} layers are more than one mount can have"
            raise HostError(problem, hint="make one of them: minirun build --squash")
        kernel.mount("overlay", target, "overlay", Mount(0), short.data)
    finally:
        for fd in fds:
            os.close(fd)


def map_owners(tree_fd: int, userns_fd: int, *, recursive: bool = False) -> None:
    """Make a detached mount show its owners through a user namespace's maps."""
    flags = At.AT_EMPTY_PATH | (At.AT_RECURSIVE if recursive else At(0))
    try:
        kernel.mount_setattr(tree_fd, "", flags, MountAttr.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    except SyscallError as error:
        error.hint = "id-mapped mounts need Linux 5.12 and a file system that supports them"
        raise
