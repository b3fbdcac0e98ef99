"""Directories inside a root, by file descriptor: what a hostile path cannot leave.

A layer may hold the symbolic link ``a -> /etc`` and then the file ``a/passwd``. Joining strings
would write the host's. Here the kernel resolves every parent with the root as its "/" (openat2,
RESOLVE_IN_ROOT), and the last component is only ever used relative to that descriptor, without
following it.

Entries of an archive come sorted by directory, so a small cache of descriptors saves most opens.
Whoever removes or replaces something calls ``forget``: a cached descriptor would still name it.

See: openat2(2). Next: ``unpack.py``.
"""

from __future__ import annotations

import errno
import os

from .. import kernel
from ..errors import ImageError, SyscallError
from ..flags import Resolve

_CACHED = 64
_RETRIES = 100
_IN_ROOT = Resolve.RESOLVE_IN_ROOT | Resolve.RESOLVE_NO_MAGICLINKS
_PATH_MAX = 4096


class Tree:
    """The directory that ``root`` is open on.

    Args:
        root: a directory descriptor; stays the caller's.
        follow: walk symbolic links inside the root; False refuses any (ELOOP).
    """

    def __init__(self, root: int, *, follow: bool = True) -> None:
        self._root = root
        self._resolve = _IN_ROOT if follow else _IN_ROOT | Resolve.RESOLVE_NO_SYMLINKS
        self._open: dict[str, int] = {"": root}

    def __enter__(self) -> Tree:
        """Return the tree; its descriptors are closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
        self.forget()

    def directory(self, path: str) -> int:
        """Return a descriptor of a directory, borrowed until the next call.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP, as open(2) has them.
        """
        fd = self._open.get(path)
        if fd is None:
            fd = self._remember(path, self._openat2(path))
        return fd

    def make_directory(self, path: str) -> int:
        """Return a descriptor of a directory; what is missing on the way is made, mode 0755."""
        try:
            return self.directory(path)
        except FileNotFoundError:
            pass
        if len(path) >= _PATH_MAX:
            raise ImageError(f"path of {len(path)} characters is longer than Linux allows")
        slash = path.find("/")
        while slash >= 0:
            self._make_one(path[:slash])
            slash = path.find("/", slash + 1)
        self._make_one(path)
        return self.directory(path)

    def forget(self, keep: int = -1) -> None:
        """Drop the cache, all but one descriptor: something that it may name is gone."""
        kept = {path: fd for path, fd in self._open.items() if not path or fd == keep}
        for path, fd in self._open.items():
            if path not in kept:
                os.close(fd)
        self._open = kept

    def _make_one(self, path: str) -> None:
        """Make one directory whose parent exists."""
        parent, _, name = path.rpartition("/")
        try:
            self.directory(path)
        except FileNotFoundError:
            fd = self.directory(parent)
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
            except FileExistsError:
                raise ImageError(
                    f"{path!r} is a symbolic link to a directory that this layer does not have"
                ) from None
            os.chmod(name, 0o755, dir_fd=fd)  # whatever the umask

    def _openat2(self, path: str) -> int:
        """Open a directory; the kernel asks to try again when a rename elsewhere interfered."""
        for _ in range(_RETRIES):
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY
                return kernel.openat2(self._root, path, flags, 0, self._resolve)
            except SyscallError as error:
                if error.errno != errno.EAGAIN:
                    code = error.errno or 0
                    raise OSError(code, os.strerror(code), path) from error
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)

    def _remember(self, path: str, fd: int) -> int:
        if len(self._open) > _CACHED:
            oldest = next(name for name in self._open if name)
            os.close(self._open.pop(oldest))
        self._open[path] = fd
        return fd


def safe_path(name: str) -> str:
    """Return a name of an archive as a path relative to the root; "" is the root itself.

    A leading slash is dropped, as all runtimes do: some builders write one.

    Raises:
        ImageError: it has a ``..`` component, which no builder writes.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageError(f"'..' in {name!r} would lead out of the layer")
    return "/".join(parts)


def remove_tree(parent: int, name: str) -> None:
    """Remove a directory and all below it, however deep a layer made it.

    shutil.rmtree recurses, and a thousand nested directories end it. Here subdirectories are moved
    to the top before they are emptied, so neither the stack nor the open files grow.
    """
    top = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        prefix = os.urandom(8).hex()
        pending = _empty_into(top, top, prefix, 0)
        count = len(pending)
        while pending:
            directory = pending.pop()
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                found = _empty_into(fd, top, prefix, count)
            finally:
                os.close(fd)
            count += len(found)
            pending += found
            os.rmdir(directory, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty_into(fd: int, top: int, prefix: str, count: int) -> list[str]:
    """Unlink the files of a directory and move its subdirectories to ``top``, under new names."""
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    moved: list[str] = []
    for name, is_directory in entries:
        if is_directory:
            moved.append(f"{prefix}-{count + len(moved)}")
            os.rename(name, moved[-1], src_dir_fd=fd, dst_dir_fd=top)
        else:
            os.unlink(name, dir_fd=fd)
    return moved
