"""What of a layer can only be written once all its entries are there.

Whiteouts, because a layer may bring back what it deletes, in any order; and the times of
directories, because writing into one changes them. They wait in a file without a name, not in
memory: a hostile layer has as many as it likes.

See: image-spec layer.md, overlayfs.rst. Next: ``pack.py``, the way back.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import ImageError
from .tree import Tree

WHITEOUT_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_WHITEOUT, _OPAQUE, _TIME = b"w", b"o", b"t"
_NOTE = struct.Struct("<cqI")  # kind, time in ns, bytes of the path behind it


class Later:
    """Keeps notes while entries are written, and carries them out. Use it in a ``with`` block.

    Args:
        tree: of the layer.
        root: descriptor of its top, on whose file system the notes are kept.
    """

    def __init__(self, tree: Tree, root: int) -> None:
        self._tree = tree
        self._notes = _unnamed_file(root)

    def __enter__(self) -> Later:
        """Return it; the notes are gone at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Throw the notes away."""
        with contextlib.suppress(OSError):  # without room, what was buffered is not written
            self._notes.close()

    def whiteout(self, path: str) -> None:
        """Note that the layers below have no such file any more."""
        self._note(_WHITEOUT, path)

    def opaque(self, path: str) -> None:
        """Note that nothing in a directory of the layers below is seen."""
        self._note(_OPAQUE, path)

    def time(self, path: str, mtime_ns: int) -> None:
        """Note the time of a directory; of several for one directory the last one counts.

        Raises:
            OverflowError: no file system has such a time.
        """
        if not -(2**63) <= mtime_ns < 2**63:
            raise OverflowError(f"time {mtime_ns} ns is out of range")
        self._note(_TIME, path, mtime_ns)

    def carry_out(self) -> None:
        """Write the whiteouts, then the times of directories, which that changed.

        Raises:
            ImageError: one cannot be written; it is named.
        """
        for kind, path, _ in self._read():
            parent, _, name = path.rpartition("/")
            if kind == _WHITEOUT:
                with naming(f"{parent}/{WHITEOUT_PREFIX}{name}"):
                    self._write_whiteout(parent, name)
            elif kind == _OPAQUE:
                with naming(f"{path}/{OPAQUE_NAME}"):
                    self._write_opaque(path)
        for kind, path, mtime_ns in self._read():
            if kind == _TIME:
                with naming(path):
                    os.utime(self._tree.directory(path), ns=(mtime_ns, mtime_ns))

    def _note(self, kind: bytes, path: str, mtime_ns: int = 0) -> None:
        raw = os.fsencode(path)
        self._notes.write(_NOTE.pack(kind, mtime_ns, len(raw)) + raw)

    def _read(self) -> Iterator[tuple[bytes, str, int]]:
        """Yield the notes in the order in which they were made."""
        self._notes.seek(0)
        while head := self._notes.read(_NOTE.size):
            kind, mtime_ns, size = _NOTE.unpack(head)
            yield kind, os.fsdecode(self._notes.read(size)), mtime_ns

    def _write_opaque(self, path: str) -> None:
        os.setxattr(self._tree.directory(path), self._opaque_attribute, b"y")

    @functools.cached_property
    def _opaque_attribute(self) -> str:
        return f"{overlay_prefix()}opaque"

    def _write_whiteout(self, parent: str, name: str) -> None:
        directory = self._tree.directory(parent)
        try:
            found = os.lstat(name, dir_fd=directory)
        except FileNotFoundError:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)
            return
        if stat.S_ISDIR(found.st_mode):
            # Replaced by this very layer: a new directory must not merge with the old one.
            self._write_opaque(f"{parent}/{name}" if parent else name)


def _unnamed_file(directory: int) -> BinaryIO:
    """Return a file on a directory's file system, or where temporary ones are, if that has none."""
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        return open(os.open(".", flags, 0o600, dir_fd=directory), "w+b")
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    return tempfile.TemporaryFile()


def overlay_prefix() -> str:
    """Return where overlayfs looks for its marks: a user namespace must use ``user.``."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        in_first_namespace = file.read().split() == ["0", "0", "4294967295"]
    return "trusted.overlay." if in_first_namespace else "user.overlay."


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the entry at fault; one whose directory the archive itself replaced is moot."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, OverflowError) as error:
        raise entry_error(name, error) from error


def entry_error(name: str, error: Exception) -> ImageError:
    """Return the error of one entry, with a hint where errno tells one."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    hints = {
        "ENOSPC": "the disk of the image store is full: minirun image prune",
        "EDQUOT": "the quota of the image store is used up: minirun image prune",
        "EROFS": "the image store is on a read-only file system: set MINIRUN_DATA",
        "EPERM": "devices, owners and attributes of an image need root",
        "EOPNOTSUPP": "the file system of the image store has no such extended attributes",
    }
    code = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
    return ImageError(f"layer entry {name!r}: {reason.lower()}", hint=hints.get(code, ""))
