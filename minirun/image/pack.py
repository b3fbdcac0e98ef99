"""An overlay upper directory becomes the entries of a layer.

The reverse of ``unpack.py``, in an order that never changes: a directory, its whiteouts, then its
children by name. Hard links are found by (device, inode); sockets are left out, as nothing could
listen on their copies; what overlayfs keeps for itself is translated, dropped or refused.

The directory may belong to a live container, so it is walked without following any link.

See: overlayfs.rst, "whiteouts and opaque directories"; image-spec layer.md. Next: ``layers.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Set
from typing import Protocol

from ..errors import ImageError
from .owners import UNMAPPED, Owners
from .streams import CHUNK
from .tarheader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
)
from .tarstream import Entry
from .tree import Tree
from .unpack_later import OPAQUE_NAME, WHITEOUT_PREFIX

_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
_OVERLAY = ("trusted.overlay.", "user.overlay.")
#: Notes of overlayfs about where an upper file came from; they mean nothing elsewhere.
_DROPPED = {"origin", "impure", "nlink", "uuid", "upper", "protattr"}
#: Labels belong to the host's policy, not to the image.
_HOST_ATTRIBUTES = {"security.selinux"}
_NOTHING: frozenset[str] = frozenset()
_NO_SPACE = "free some disk space: minirun system df shows who uses it"
_HINTS = {errno.ENOSPC: _NO_SPACE, errno.EDQUOT: _NO_SPACE}


class Entries(Protocol):
    """What entries are given to: a ``TarWriter``, or a listing of what it would write."""

    def add(self, entry: Entry, data: Iterable[bytes | memoryview] = ..., /) -> None:
        """Take one entry and its data."""
        ...


def pack(
    root: int, writer: Entries, *, owners: Owners = UNMAPPED, skip: Set[str] = _NOTHING
) -> None:
    """Write all that a directory holds, the directory itself excluded.

    Args:
        root: descriptor of an overlay upper directory, or of any directory.
        writer: takes the entries; the caller closes it.
        owners: what the owners mean inside the container that wrote there.
        skip: paths that are left out, with all below them.

    Raises:
        ImageError: a file changed while it was read, or overlayfs kept a form that no layer has.
    """
    with Tree(root, follow=False) as tree:
        _Packer(tree, writer, owners, skip).run()


class _Packer:
    def __init__(self, tree: Tree, writer: Entries, owners: Owners, skip: Set[str]) -> None:
        self._tree = tree
        self._writer = writer
        self._owners = owners
        self._skip = skip
        self._seen: dict[tuple[int, int], str] = {}
        self._pending: list[str] = []

    def run(self) -> None:
        """Walk depth first, without recursion: a container can nest directories very deep."""
        self._children("")
        while self._pending:
            path = self._pending.pop()
            try:
                self._one(path)
            except OSError as error:
                reason = os.strerror(error.errno or 0).lower()
                hint = _HINTS.get(error.errno or 0, "pause the container while its files are read")
                raise ImageError(f"cannot pack {path!r}: {reason}", hint=hint) from error

    def _children(self, path: str) -> None:
        """Write the whiteouts of a directory and queue the rest of it, first name on top."""
        fd = self._tree.directory(path)
        prefix = f"{path}/" if path else ""
        names = [name for name in os.listdir(fd) if prefix + name not in self._skip]
        hidden = {name for name in names if is_whiteout(fd, name)}
        if is_opaque(fd):
            self._writer.add(Entry(f"{prefix}{OPAQUE_NAME}", REGULAR, 0o600))
        for name in sorted(hidden):
            self._writer.add(Entry(f"{prefix}{WHITEOUT_PREFIX}{name}", REGULAR, 0o600))
        self._pending += [prefix + name for name in sorted(set(names) - hidden, reverse=True)]

    def _one(self, path: str) -> None:
        directory, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT_PREFIX):
            raise ImageError(
                f"{path!r}: a layer cannot hold a file of this name: it means deletion"
            )
        parent = self._tree.directory(directory)
        found = os.lstat(name, dir_fd=parent)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return  # a socket
        entry = self._entry(path, parent, name, kind, found)
        if entry.kind == REGULAR:
            self._file(parent, name, entry)
        else:
            self._writer.add(entry)
        if kind == DIRECTORY:
            self._children(path)

    def _entry(self, path: str, parent: int, name: str, kind: str, found: os.stat_result) -> Entry:
        first = self._seen.setdefault((found.st_dev, found.st_ino), path)
        linked = kind != DIRECTORY and found.st_nlink > 1 and first != path
        target = first if linked else ""
        if kind == SYMLINK and not linked:
            target = os.readlink(name, dir_fd=parent)
        is_device = kind in (CHARACTER, BLOCK_DEVICE)
        uid, gid = self._owners.inside(found.st_uid, found.st_gid)
        return Entry(
            path,
            HARDLINK if linked else kind,
            stat.S_IMODE(found.st_mode),
            uid,
            gid,
            found.st_size if kind == REGULAR and not linked else 0,
            found.st_mtime_ns,
            target,
            (os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else (0, 0),
            {} if linked else self._xattrs(f"/proc/self/fd/{parent}/{name}", path),
        )

    def _xattrs(self, path: str, name: str) -> dict[str, bytes]:
        """Return the attributes that belong to the image."""
        kept = {}
        for key in os.listxattr(path, follow_symlinks=False):
            if key.startswith(_OVERLAY):
                _check_mark(key.split(".overlay.", 1)[1], name)
            elif key not in _HOST_ATTRIBUTES:
                value = os.getxattr(path, key, follow_symlinks=False)
                kept[key] = self._owners.attribute(key, value)
        return kept

    def _file(self, parent: int, name: str, entry: Entry) -> None:
        # Were it swapped for a fifo since lstat, a blocking open would never return.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(name, flags, dir_fd=parent)
        try:
            self._writer.add(entry, _chunks(fd))
        finally:
            os.close(fd)


def is_whiteout(parent: int, name: str) -> bool:
    """Return True where overlayfs says "deleted": a 0/0 device, or since 6.7 an attribute."""
    found = os.lstat(name, dir_fd=parent)
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        return False
    return _has_mark(f"/proc/self/fd/{parent}/{name}", "whiteout")


def is_opaque(directory: int) -> bool:
    """Return True where a directory hides all that lower layers have in it."""
    for prefix in _OVERLAY:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, f"{prefix}opaque") == b"y":
                return True
    return False


def _has_mark(path: str, mark: str) -> bool:
    return any(f"{p}{mark}" in os.listxattr(path, follow_symlinks=False) for p in _OVERLAY)


def _check_mark(mark: str, name: str) -> None:
    """Refuse the notes without which a file is not what it seems."""
    if mark in ("redirect", "metacopy"):
        raise ImageError(
            f"{name!r}: overlayfs has only recorded a rename or a change of owner ({mark})",
            hint="mount the overlay with redirect_dir=off,metacopy=off",
        )
    if mark not in _DROPPED and mark not in ("opaque", "whiteout"):
        raise ImageError(f"{name!r}: unknown mark of overlayfs: {mark}")


def _chunks(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, CHUNK):
        yield data
