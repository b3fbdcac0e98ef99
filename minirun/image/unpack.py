"""Tar entries become a directory that overlayfs takes as a lower one.

What the image-spec says about applying a layer, and what each rule protects from:

* ``.wh.NAME`` deletes NAME from the layers below, ``.wh..wh..opq`` all siblings below, wherever in
  the archive they stand. overlayfs spells them as a character device 0/0 and an extended attribute,
  which ``unpack_later.py`` writes last.
* A directory over a directory replaces its attributes; anything else is removed first.
* create, chown, chmod, xattr, times: chown clears setuid bits and security.capability, and writing
  into a directory changes its time, so directories get theirs at the very end.
* Names are never joined to a path of the host: see ``tree.py``.

Needs CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE, and CAP_MKNOD for devices.
See: image-spec layer.md, overlayfs.rst. Next: ``unpack_later.py``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ..errors import ImageError
from ..record import Record
from .limits import DEFAULT_LIMITS, Limits, allow_more
from .tarheader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
)
from .tarstream import Entry, TarReader
from .tree import Tree, remove_tree, safe_path
from .unpack_later import OPAQUE_NAME, WHITEOUT_PREFIX, Later, entry_error

_AUFS_PREFIX = ".wh..wh."
_ID_MAX = 2**32 - 2  # the highest value is -1, which chown(2) reads as "leave it"
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(Record):
    """What a layer turned out to hold."""

    entries: int
    size_bytes: int


class Unpacker:
    """Writes the entries of one archive below a directory.

    Args:
        root: descriptor of an empty directory that nobody else writes to.
        limits: what is refused.
        whiteouts: give ``.wh.`` names their meaning; False for an archive that is no layer.
    """

    def __init__(
        self, root: int, limits: Limits = DEFAULT_LIMITS, *, whiteouts: bool = True
    ) -> None:
        self._tree = Tree(root)
        self._limits = limits
        self._whiteouts = whiteouts
        self._later = Later(self._tree, root)
        self._entries = 0
        self._size = 0
        self._make: dict[str, Callable[[int, str, Entry], None]] = {
            CHARACTER: self._device,
            BLOCK_DEVICE: self._device,
            FIFO: self._device,
            SYMLINK: self._symlink,
        }

    def apply(self, reader: TarReader) -> Unpacked:
        """Write every entry.

        Raises:
            ImageError: an entry is hostile or cannot be written; it is named. What was written
                until then is the caller's to remove.
        """
        with self._tree, self._later:
            for entry in reader:
                try:
                    self._entry(entry, reader)
                except (OSError, OverflowError) as error:
                    raise entry_error(entry.name, error) from error
                except ImageError as error:
                    message = f"layer entry {entry.name!r}: {error.message}"
                    raise ImageError(message, hint=error.hint) from error
            self._later.carry_out()
        return Unpacked(self._entries, self._size)

    def _entry(self, entry: Entry, reader: TarReader) -> None:
        self._count(entry)
        path = safe_path(entry.name)
        parent, _, name = path.rpartition("/")
        if not path:
            self._root_entry(entry)
        elif self._whiteouts and name.startswith(WHITEOUT_PREFIX):
            self._whiteout(parent, name)
        elif entry.kind == DIRECTORY:
            self._directory(path, self._tree.make_directory(parent), name, entry)
        elif entry.kind == REGULAR:
            self._file(self._tree.make_directory(parent), name, entry, reader)
        elif entry.kind == HARDLINK:
            self._hardlink(parent, name, entry)
        else:
            self._make[entry.kind](self._tree.make_directory(parent), name, entry)

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        self._size += entry.size
        if self._entries > self._limits.entries:
            problem = f"more than {self._limits.entries} entries in one layer"
            raise ImageError(problem, hint=allow_more("entries", 2 * self._limits.entries))
        if self._size > self._limits.size_bytes:
            problem = f"more than {self._limits.size_bytes} bytes in one layer"
            raise ImageError(problem, hint=allow_more("size", 2 * self._limits.size_bytes))
        if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
            raise ImageError(f"owner {entry.uid}:{entry.gid} is not a user and group id")
        for name in entry.xattrs:
            if name.startswith(("trusted.overlay.", "user.overlay.")):
                raise ImageError(f"attribute {name} would speak to overlayfs itself")

    # ── one method per kind ───────────────────────────────────────────────────────────────────

    def _root_entry(self, entry: Entry) -> None:
        if entry.kind != DIRECTORY:
            raise ImageError("the root of a layer can only be a directory")
        self._later.time("", entry.mtime_ns)
        self._dress(self._tree.directory(""), entry)

    def _directory(self, path: str, parent: int, name: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        self._later.time(path, entry.mtime_ns)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._dress(fd, entry)
        finally:
            os.close(fd)

    def _file(self, parent: int, name: str, entry: Entry, reader: TarReader) -> None:
        try:
            fd = os.open(name, _FILE_FLAGS, 0o600, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, name)
            fd = os.open(name, _FILE_FLAGS, 0o600, dir_fd=parent)
        try:
            if entry.extents is None:
                for chunk in reader.data():
                    write_all(fd, chunk)
            else:
                _write_extents(fd, entry, reader)
            self._dress(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _symlink(self, parent: int, name: str, entry: Entry) -> None:
        self._make_way(parent, name)
        os.symlink(entry.linkname, name, dir_fd=parent)
        self._dress_name(parent, name, entry)

    def _hardlink(self, parent: str, name: str, entry: Entry) -> None:
        directory, _, target = safe_path(entry.linkname).rpartition("/")
        try:
            source = os.dup(self._tree.directory(directory))  # the next call may close it
        except FileNotFoundError:
            raise _dangling(entry) from None
        try:
            self._link(source, target, self._tree.make_directory(parent), name, entry)
        finally:
            os.close(source)

    def _link(self, source: int, target: str, parent: int, name: str, entry: Entry) -> None:
        """Link, unless both names are the same file already."""
        try:
            found = os.lstat(target, dir_fd=source)
        except FileNotFoundError:
            raise _dangling(entry) from None
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(f"hard link to the directory {entry.linkname!r}")
        try:
            existing = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        else:
            if os.path.samestat(found, existing):
                return
            self._remove(parent, name)
        os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _device(self, parent: int, name: str, entry: Entry) -> None:
        kinds = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
        if entry.kind == CHARACTER and entry.device == (0, 0):
            raise ImageError("character device 0/0 is how overlayfs spells a deleted file")
        self._make_way(parent, name)
        device = 0 if entry.kind == FIFO else os.makedev(*entry.device)
        os.mknod(name, kinds[entry.kind] | 0o600, device, dir_fd=parent)
        self._dress_name(parent, name, entry)

    def _whiteout(self, parent: str, name: str) -> None:
        """Note a whiteout; the parent exists from here on, even if it holds nothing else."""
        hidden = name[len(WHITEOUT_PREFIX) :]
        if name == OPAQUE_NAME:
            self._tree.make_directory(parent)
            self._later.opaque(parent)
        elif name.startswith(_AUFS_PREFIX):
            return  # the bookkeeping of a file system long gone, in old images
        elif hidden in ("", ".", ".."):
            raise ImageError("whiteout of no file")
        else:
            self._tree.make_directory(parent)
            self._later.whiteout(f"{parent}/{hidden}" if parent else hidden)

    # ── attributes and order ──────────────────────────────────────────────────────────────────

    def _dress(self, fd: int, entry: Entry) -> None:
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        for key, value in entry.xattrs.items():
            os.setxattr(fd, key, value)

    def _dress_name(self, parent: int, name: str, entry: Entry) -> None:
        """Dress what cannot be opened: a link, a device, a fifo."""
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        for key, value in entry.xattrs.items():
            os.setxattr(f"/proc/self/fd/{parent}/{name}", key, value, follow_symlinks=False)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _make_way(self, parent: int, name: str) -> None:
        try:
            os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        self._remove(parent, name)

    def _remove(self, parent: int, name: str) -> None:
        """Remove what a later entry of the same archive replaces."""
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)
        self._tree.forget(keep=parent)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write to the last byte: write(2) may stop early when the disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_extents(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write the parts of a sparse file to their offsets; the holes stay holes."""
    os.ftruncate(fd, entry.size)
    chunks = reader.data()
    chunk = memoryview(b"")
    for offset, length in entry.extents or ():
        os.lseek(fd, offset, os.SEEK_SET)
        left = length
        while left:
            chunk = chunk or next(chunks)
            write_all(fd, chunk[:left])
            chunk, left = chunk[left:], left - min(left, len(chunk))


def _dangling(entry: Entry) -> ImageError:
    return ImageError(
        f"hard link to {entry.linkname!r}, which this layer does not have",
        hint="the layer is damaged, or was made relative to a lower one",
    )
