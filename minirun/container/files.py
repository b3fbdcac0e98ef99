"""Files that survive kill -9: replaced whole or not at all, under a lock the kernel gives back.

A reader sees the old content or the new one, because rename(2) is atomic. Whether the new one also
survives a power cut is ``durable``: fsync(2) costs milliseconds on a disk, and what a reboot makes
void anyway (a pid, a ``--rm`` container) need not pay it. flock(2) locks vanish with the process
that holds them, so no crash leaves a stale lock.

Next: ``store.py``.
"""

from __future__ import annotations

import fcntl
import os
import struct

from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_NO_SPACE = "free some disk space: minirun system df shows who uses it"
_READ_ONLY = "choose another directory with --data or MINIRUN_DATA"
# <linux/fs.h>; the kernel reads and writes an int, whatever the numbers say of a long.
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x20000
_HINTS = {28: _NO_SPACE, 122: _NO_SPACE, 30: _READ_ONLY, 13: _READ_ONLY, 1: _READ_ONLY}


def host_error(error: OSError, path: str) -> HostError:
    """Return the error of a file operation with what to do about a full or read-only disk."""
    return HostError(f"{path}: {error.strerror}", hint=_HINTS.get(error.errno or 0, ""))


def replace_file(path: str, content: bytes, *, durable: bool, mode: int = 0o600) -> None:
    """Write a file so that nobody ever reads half of it.

    Raises:
        HostError: the disk is full, read-only or gone; the old content is still there.
    """
    # The pid keeps two writers apart; the lock of the container decides who is last.
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            write_all(fd, content)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        if durable:
            _sync_folder(os.path.dirname(path))
    except OSError as error:
        _forget(temporary)
        raise host_error(error, path) from error


def write_all(fd: int, content: bytes) -> None:
    """Write every byte; write(2) may take fewer than it is given."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(path: str) -> None:
    """Make a rename durable: the name is in the directory, not in the file."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return  # never created, or as unwritable as the disk that failed


def reserve_space(path: str, size_bytes: int) -> None:
    """Make a file that only takes up space; removing it frees that for something urgent.

    Raises:
        HostError: there is not even that much.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        finally:
            os.close(fd)
    except OSError as error:
        raise host_error(error, path) from error


def read_file(path: str) -> bytes | None:
    """Return a file's content, or None where there is no such file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise host_error(error, path) from error


def make_folder(path: str, mode: int = 0o711) -> None:
    """Create a directory and its parents where they are missing.

    Others may pass through and not look around: the root of a user namespace is one of them.
    """
    try:
        os.makedirs(path, mode, exist_ok=True)
    except OSError as error:
        raise host_error(error, path) from error


def spread(path: str) -> None:
    """Tell ext4 that what is made in a directory is not related: each goes where there is room.

    Where many containers come and go side by side, making a file means to search past those just
    deleted, on a disk without a journal. Another file system has no such flag, and no such search.
    See: chattr(1), T; ioctl_iflags(2).
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (flags,) = struct.unpack("i", fcntl.ioctl(folder, _FS_IOC_GETFLAGS, bytes(4)))
        fcntl.ioctl(folder, _FS_IOC_SETFLAGS, struct.pack("i", flags | _FS_TOPDIR_FL))
    except OSError:
        return
    finally:
        os.close(folder)


def remove_tree(path: str) -> None:
    """Delete a directory by fds, never following a link that a container made."""
    from shutil import rmtree

    try:
        rmtree(path)
    except FileNotFoundError:
        return  # someone else removed it first: that is what was wanted
    except OSError as error:
        raise host_error(error, path) from error


class Lock:
    """An exclusive flock(2), held for the length of a ``with`` block.

    What is locked may be removed by the holder (a container that is deleted takes its folder
    along), so a waiter that gets the lock of something removed tries again on what now has the
    name.

    Args:
        path: of a file, which is made where it is missing; or of a folder.
        folder: which of the two. A folder that is its own lock needs no file for it, and nobody
            can make that file anew in a folder that is being removed.
    """

    def __init__(self, path: str, *, folder: bool = False) -> None:
        self._path = path
        self._flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT
        self._fd = -1

    def __enter__(self) -> Self:
        while self._fd < 0:
            try:
                fd = os.open(self._path, self._flags | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise host_error(error, self._path) from error
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                self._fd = fd
            else:
                os.close(fd)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        self._fd = -1
