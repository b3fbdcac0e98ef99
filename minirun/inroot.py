"""Paths inside a container's root, resolved by file descriptor.

An image is hostile: any component of any path in it may be a symbolic link to the host, and may
become one between a check and a use (CVE-2021-30465, CVE-2024-45310). So a path is resolved once,
by the kernel, with the container's root as the root of the walk, and everything after works on
the fd. Strings are never joined.

See: openat2(2), RESOLVE_IN_ROOT; path_resolution(7).
Next: ``steps/trees.py``, which mounts on what was found.
"""

from __future__ import annotations

import errno
import os
import stat

from . import kernel
from .errors import SyscallError
from .flags import MoveMount, Resolve

_CONFINED = Resolve.RESOLVE_IN_ROOT | Resolve.RESOLVE_NO_MAGICLINKS
#: As many as the kernel follows. See: path_resolution(7).
_MOST_LINKS = 40
_ATTACH = MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Return an fd for ``path``, which cannot leave the directory ``root_fd``.

    Raises:
        SyscallError: ENOENT, ELOOP and the other errors of openat2(2).
    """
    return kernel.openat2(root_fd, path.lstrip("/") or ".", flags, mode, _CONFINED)


def open_plain_directory(root_fd: int, path: str) -> int:
    """Return an fd for a directory none of whose components is a symbolic link."""
    flags = os.O_PATH | os.O_DIRECTORY
    resolve = _CONFINED | Resolve.RESOLVE_NO_SYMLINKS
    return kernel.openat2(root_fd, path.lstrip("/") or ".", flags, 0, resolve)


def make_directory(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Return an fd for the directory ``path``, making the components that are missing.

    What exists may be reached through the image's own links (``/var/run`` → ``/run``); what is new
    is made one component at a time below an fd, so no new directory can appear anywhere else.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for known in range(len(parts), -1, -1):
        try:
            fd = open_in_root(root_fd, "/".join(parts[:known]), os.O_PATH | os.O_DIRECTORY)
        except SyscallError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            return _descend(fd, parts[known:], mode)
    raise SyscallError(f"openat2({root_fd}, '.')", errno.ENOENT)


def make_file(root_fd: int, path: str) -> int:
    """Return an O_PATH fd for the file ``path``, making an empty one when there is none.

    A link that leads nowhere is followed, inside the root, and what it names is made: images ship
    /etc/resolv.conf as a link to a file that only their init system would write.
    """
    for _ in range(_MOST_LINKS):
        try:
            return open_in_root(root_fd, path)
        except SyscallError as error:
            if error.errno != errno.ENOENT:
                raise
        head, _, name = path.rstrip("/").rpartition("/")
        parent = make_directory(root_fd, head)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
            os.close(kernel.openat2(parent, name, flags, 0o644, _CONFINED))
        except SyscallError as error:
            if error.errno != errno.EEXIST:
                raise
            link = os.readlink(name, dir_fd=parent)
            path = link if link.startswith("/") else f"{head}/{link}"
        finally:
            os.close(parent)
    raise SyscallError(f"openat2({root_fd}, {path!r})", errno.ELOOP)


def make_mountpoint(root_fd: int, path: str, tree_fd: int) -> int:
    """Return an fd that ``tree_fd`` can be attached to: a directory or a file, as the tree is."""
    if stat.S_ISDIR(os.fstat(tree_fd).st_mode):
        return make_directory(root_fd, path)
    return make_file(root_fd, path)


def attach(tree_fd: int, target_fd: int) -> None:
    """Attach a detached mount at the object that ``target_fd`` is open on."""
    kernel.move_mount(tree_fd, "", target_fd, "", _ATTACH)


def _descend(fd: int, names: list[str], mode: int) -> int:
    """Make and open each directory below the previous one."""
    for name in names:
        try:
            inner = _make_and_open(fd, name, mode)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _make_and_open(parent: int, name: str, mode: int) -> int:
    if name == "..":
        raise SyscallError(f"mkdirat({parent}, '..')", errno.EINVAL)
    try:  # noqa: SIM105 - contextlib costs 2 ms to import
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        pass  # somebody was faster: the open below refuses a link
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
