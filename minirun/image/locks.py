"""flock(2) on files of the store, and what the store's errors look like to a person.

A lock ends with its process, whatever ended that: nothing has to be cleaned up after kill -9.

Next: ``lease.py``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from ..errors import ImageError, MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HINTS = {
    errno.ENOSPC: "free some space: minirun image prune",
    errno.EDQUOT: "the quota is used up: minirun image prune",
    errno.EROFS: "set MINIRUN_DATA to a directory that can be written",
    errno.EACCES: "run as root, or set MINIRUN_DATA to a directory of your own",
    errno.EPERM: "run as root, or set MINIRUN_DATA to a directory of your own",
}


@contextlib.contextmanager
def store_errors(root: str) -> Iterator[None]:
    """Turn what the kernel says about the store's files into an ImageError with a hint."""
    try:
        yield
    except MinirunError:
        raise
    except OSError as error:
        problem, hint = in_words(error)
        raise ImageError(f"image store {root}: {problem}", hint=hint) from error


def in_words(error: MinirunError | OSError) -> tuple[str, str]:
    """Return what went wrong and what to do about it, for an error of the kernel or of ours."""
    if isinstance(error, MinirunError):
        return error.message, error.hint
    where = f" ({error.filename})" if error.filename else ""
    return os.strerror(error.errno or 0).lower() + where, _HINTS.get(error.errno or 0, "")


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock while the block runs; wait for it as long as it takes."""
    fd = acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def acquire(path: str, operation: int) -> int:
    """Return a descriptor that holds the lock until it is closed.

    The file may be unlinked by its last holder, so a lock on a file without a name does not count.

    Raises:
        BlockingIOError: with LOCK_NB, when somebody else holds it.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, operation)
            if _is_named(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _is_named(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
