"""Where blobs come from: the one seam between the store and layouts, archives and registries.

Next: ``layout.py`` and ``archive.py``, which read images from these two sources.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import FileIO
from typing import Protocol

from ..errors import ImageError
from .limits import host_limits
from .model import hex_of
from .streams import CHUNK, MAGIC_BYTES, Readable, inflated, is_compressed
from .tarheader import HARDLINK, REGULAR, SYMLINK
from .tarstream import TarReader
from .unpack import write_all

_MAX_MEMBERS = 100_000
_MAX_NAMES_LENGTH = 16 << 20
_MAX_LINKS = 8
SCAN_BYTES = 64 << 10  # headers lie far apart: reading a whole chunk at each would be waste


class Source(Protocol):
    """Something that has blobs. Several threads may read different blobs at once.

    ``resumable`` is True where it pays to keep what came before the connection broke.
    """

    resumable: bool

    def open(self, digest: str, offset: int = 0, /) -> AbstractContextManager[Readable]:
        """Return the bytes of a blob from an offset on; the reader verifies them.

        Raises:
            ImageError: there is no such blob here.
        """
        ...


class Folder:
    """An OCI image layout in a directory."""

    resumable = False

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self, digest: str, offset: int = 0, /) -> AbstractContextManager[Readable]:
        """Return the bytes of a blob."""
        return self.file(f"blobs/sha256/{hex_of(digest)}", offset)

    def has(self, name: str) -> bool:
        """Return True where the layout has this file."""
        return os.path.isfile(os.path.join(self.path, name))

    @contextlib.contextmanager
    def file(self, name: str, offset: int = 0) -> Iterator[Readable]:
        """Return the bytes of a file."""
        path = os.path.join(self.path, name)
        try:
            file = _open_regular(path)
        except OSError as error:
            raise ImageError(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
        with file:
            file.seek(offset)
            yield file


class Archive:
    """The members of a tar archive that is a plain file.

    Args:
        fd: of the file; stays the caller's.
        what: how to call the archive in an error.
    """

    resumable = False

    def __init__(self, fd: int, what: str) -> None:
        self._fd = fd
        self._what = what
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._names_length = 0
        self._scan()

    @property
    def is_empty(self) -> bool:
        """True where there is no file in it, as in one of no bytes."""
        return not (self._members or self._links)

    def open(self, digest: str, offset: int = 0, /) -> AbstractContextManager[Readable]:
        """Return the bytes of a blob, as OCI archives and those of Docker since 25 have it."""
        return self.file(f"blobs/sha256/{hex_of(digest)}", offset)

    def has(self, name: str) -> bool:
        """Return True where the archive has this member."""
        return self._resolve(name) in self._members

    @contextlib.contextmanager
    def file(self, name: str, offset: int = 0) -> Iterator[Readable]:
        """Return the bytes of a member."""
        span = self._members.get(self._resolve(name))
        if span is None:
            raise ImageError(f"{self._what} has no member {name!r}")
        yield _Span(self._fd, span[0] + offset, span[1] - offset)

    def _scan(self) -> None:
        size = os.fstat(self._fd).st_size

        def seek(count: int) -> bool:
            return os.lseek(self._fd, count, os.SEEK_CUR) <= size

        os.lseek(self._fd, 0, os.SEEK_SET)
        reader = TarReader(_Plain(self._fd), seek)
        for entry in reader:
            name = posixpath.normpath(entry.name.lstrip("/"))
            if entry.kind == REGULAR and entry.extents is None:
                self._members[name] = (reader.offset, entry.size)
            elif entry.kind == SYMLINK:  # old archives share layers between images this way
                self._links[name] = posixpath.join(posixpath.dirname(name), entry.linkname)
            elif entry.kind == HARDLINK:
                self._links[name] = entry.linkname
            self._names_length += len(name) + len(entry.linkname)
            if len(self._members) + len(self._links) > _MAX_MEMBERS:
                raise ImageError(f"{self._what} has more than {_MAX_MEMBERS} members")
            if self._names_length > _MAX_NAMES_LENGTH:
                raise ImageError(f"{self._what} has members of too long names")

    def _resolve(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = posixpath.normpath(self._links[name])
        return name


@contextlib.contextmanager
def open_archive(path: str, scratch: str) -> Iterator[Archive]:
    """Open a tar archive, compressed or not, of a file or a pipe.

    Args:
        path: for example ``/dev/stdin``.
        scratch: folder for an inflated copy, where one is needed: members are read out of order.
    """
    with _open(path) as file:
        if file.seekable() and not is_compressed(os.pread(file.fileno(), MAGIC_BYTES, 0)):
            yield Archive(file.fileno(), path)
            return
        copy = os.path.join(scratch, os.urandom(8).hex())
        fd = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.unlink(copy)
            stream = inflated(file, host_limits(), path)
            while data := stream.read(CHUNK):
                write_all(fd, data)
            yield Archive(fd, path)
        finally:
            os.close(fd)


def read_file(source: Folder | Archive, name: str, limit_bytes: int) -> bytes:
    """Return a small file of a layout or an archive whole."""
    data = b""
    with source.file(name) as stream:
        while more := stream.read(CHUNK):
            data += more
            if len(data) > limit_bytes:
                raise ImageError(f"{name} is larger than {limit_bytes} bytes")
    return data


def _open(path: str) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        hint = "an archive of save, or a directory with an OCI layout"
        raise ImageError(f"{path}: {os.strerror(error.errno or 0).lower()}", hint=hint) from error


def _open_regular(path: str) -> FileIO:
    """Open a file of a layout; a fifo in its place would block for ever."""
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ImageError(f"{path} is not a regular file")
    return file


class _Plain:
    """Reads a descriptor from where it stands."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, min(size, SCAN_BYTES))


class _Span:
    """Reads a part of a file; each has a position of its own, so threads do not meet."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._offset = offset
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = os.pread(self._fd, min(size, self._left), self._offset)
        self._offset += len(data)
        self._left -= len(data)
        return data
