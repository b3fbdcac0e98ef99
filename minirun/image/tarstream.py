"""A tar archive, read front to back: one Entry at a time, its data while it passes.

The standard library's tarfile is three times slower, seeks, and was bypassed more than once
(CVE-2007-4559, CVE-2025-4517). This reader knows ustar, PAX and GNU (long names, base-256 numbers,
both sparse forms) and refuses the rest by name. It touches no file system: names come out exactly
as they stand in the archive, and ``unpack.py`` decides what they may do.

    reader = TarReader(stream)
    for entry in reader:
        for chunk in reader.data(): ...

See: tar(5), pax(1). Next: ``tarwindow.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import ImageError
from .streams import Readable
from .tarheader import (
    BLOCK,
    DIRECTORY,
    REGULAR,
    SPARSE,
    Header,
    check_size,
    gnu_sparse_map,
    parse_header,
    parse_number,
    parse_pax,
)
from .tarwindow import Window

#: Longest name, PAX header or sparse map. 64 KiB is the largest value of one extended attribute.
META_LIMIT_BYTES = 1 << 20

_COPY_AGAIN = "the file was not copied to its end: copy or save it again"
_DATA_KINDS = frozenset({REGULAR, SPARSE})
_NO_XATTRS: dict[str, bytes] = {}


class Entry(NamedTuple):
    """One member of an archive.

    Args:
        name: as it stands there; not to be trusted.
        kind: one of the constants of ``tarheader``.
        mode: permission bits with setuid, setgid and sticky.
        size: bytes of data; for a sparse file, its apparent size.
        mtime_ns: nanoseconds since 1970.
        extents: (offset, length) of what a sparse file holds; None for all other files.
    """

    name: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    linkname: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = _NO_XATTRS
    extents: tuple[tuple[int, int], ...] | None = None


class TarReader:
    """Iterates over the entries of a stream.

    Args:
        stream: plain (inflated) bytes.
        seek: passes over so many bytes of the stream without reading them; False where it ends
            before. For an archive that is a plain file.

    Raises:
        ImageError: on any damage, naming the entry or the offset.
    """

    def __init__(self, stream: Readable, seek: Callable[[int], bool] | None = None) -> None:
        self._window = Window(stream, seek)
        self._left = 0  # data of the current entry that was not read yet
        self._padding = 0
        self._defaults: dict[str, bytes] = {}  # from PAX global headers

    @property
    def offset(self) -> int:
        """Where in the stream the data of the current entry begins, before it is read."""
        return self._window.offset

    def __iter__(self) -> Iterator[Entry]:
        """Yield entries until the end mark; what follows it is not looked at."""
        while (entry := self._next()) is not None:
            yield entry

    def data(self) -> Iterator[memoryview]:
        """Yield what is left of the current entry's data; each chunk is valid until the next."""
        while self._left:
            chunk = self._window.chunk(self._left)
            if not chunk:
                raise ImageError("tar archive is truncated inside a file", hint=_COPY_AGAIN)
            self._left -= len(chunk)
            yield chunk

    def read(self, limit_bytes: int) -> bytes:
        """Return the current entry's data whole, at most ``limit_bytes`` of it."""
        if self._left > limit_bytes:
            raise ImageError(f"tar entry of {self._left} bytes, the limit here is {limit_bytes}")
        return b"".join(map(bytes, self.data()))

    # ── one entry and the headers that describe it ────────────────────────────────────────────

    def _next(self) -> Entry | None:
        """Collect a header and the extension headers in front of it."""
        pax: dict[str, bytes] = {}
        name = linkname = None
        while (header := self._header()) is not None:
            if header.kind == "x":
                pax = parse_pax(self._meta(header))
            elif header.kind == "g":
                self._add_defaults(parse_pax(self._meta(header)))
            elif header.kind == "L":
                name = self._meta(header).rstrip(b"\0")
            elif header.kind == "K":
                linkname = self._meta(header).rstrip(b"\0")
            else:
                return self._entry(header, {**self._defaults, **pax}, name, linkname)
        if pax or name or linkname:
            raise ImageError("tar archive ends after an extension header")
        return None

    def _add_defaults(self, records: dict[str, bytes]) -> None:
        """Take over what a global header says; an archive may have any number of them."""
        self._defaults.update(records)
        if sum(map(len, (*self._defaults, *self._defaults.values()))) > META_LIMIT_BYTES:
            raise ImageError("tar: global headers are too long")

    def _header(self) -> Header | None:
        self._skip()
        block = self._window.take(BLOCK)
        if not block:
            return None  # GNU tar too accepts an archive without its end mark
        if len(block) < BLOCK:
            raise ImageError("tar archive is truncated inside a header", hint=_COPY_AGAIN)
        if block.count(0) == BLOCK:
            if self._window.take(BLOCK).strip(b"\0"):
                raise ImageError(f"tar archive goes on after a zero block at {self.offset}")
            return None
        header = parse_header(block)
        self._set_left(header.size)
        return header

    def _set_left(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _skip(self) -> None:
        """Pass over what the caller did not read."""
        left = self._left + self._padding
        self._left = self._padding = 0
        if left and not self._window.skip(left):
            raise ImageError("tar archive is truncated inside a file", hint=_COPY_AGAIN)

    def _meta(self, header: Header) -> bytes:
        """Return the data of an extension header."""
        if header.size > META_LIMIT_BYTES:
            raise ImageError(f"tar extension header of {header.size} bytes is too long")
        return self.read(META_LIMIT_BYTES)

    def _entry(
        self, header: Header, pax: dict[str, bytes], name: bytes | None, linkname: bytes | None
    ) -> Entry:
        """Put the pieces together: PAX wins over GNU, GNU over the header itself."""
        raw_name = pax.get("path") or name or header.name
        text = os.fsdecode(raw_name)
        kind, size = header.kind, header.size
        if b"\0" in raw_name:
            raise ImageError(f"tar entry {text!r}: name holds a NUL byte")
        if kind not in _DATA_KINDS:
            size = 0  # as GNU tar and Go do: a link may tell the size of its target
        elif "size" in pax:
            size = check_size(parse_number(pax["size"], "size"), text)
        if kind == REGULAR and text.endswith("/"):
            kind, size = DIRECTORY, 0  # how version 7 tar marked them
        self._set_left(size)
        entry = Entry(
            text,
            kind,
            header.mode & 0o7777,
            parse_number(pax["uid"], "uid") if "uid" in pax else header.uid,
            parse_number(pax["gid"], "gid") if "gid" in pax else header.gid,
            size,
            _parse_time(pax["mtime"]) if "mtime" in pax else header.mtime * 10**9,
            os.fsdecode(pax.get("linkpath") or linkname or header.linkname),
            (header.devmajor, header.devminor),
            _xattrs(pax) if pax else _NO_XATTRS,
        )
        if kind == SPARSE:
            return self._gnu_sparse(entry, header)
        if "GNU.sparse.major" in pax or "GNU.sparse.map" in pax or "GNU.sparse.offset" in pax:
            return self._pax_sparse(entry, pax)
        return entry

    # ── sparse files ──────────────────────────────────────────────────────────────────────────

    def _gnu_sparse(self, entry: Entry, header: Header) -> Entry:
        """Read the map of GNU's old format: four pairs in the header, the rest in blocks after."""
        extents, more, real_size = gnu_sparse_map(header.block, 386, 4)
        while more:
            block = self._window.take(BLOCK)
            if len(block) < BLOCK or len(extents) > META_LIMIT_BYTES // 24:
                raise ImageError(f"tar entry {entry.name!r}: bad sparse map")
            following, more, _ = gnu_sparse_map(block, 0, 21)
            extents += following
        return _with_extents(entry, extents, real_size, self._left)

    def _pax_sparse(self, entry: Entry, pax: dict[str, bytes]) -> Entry:
        """Read the map of PAX 1.0, which is in front of the data, or of 0.1, which is a record."""
        name = os.fsdecode(pax.get("GNU.sparse.name", b"")) or entry.name
        if "GNU.sparse.major" in pax:
            if (pax["GNU.sparse.major"], pax.get("GNU.sparse.minor")) != (b"1", b"0"):
                raise ImageError(f"tar entry {name!r}: unknown version of PAX sparse file")
            numbers = self._sparse_numbers(name)
            real_size = pax.get("GNU.sparse.realsize", b"")
        elif "GNU.sparse.map" in pax:
            numbers = [parse_number(n, "sparse") for n in pax["GNU.sparse.map"].split(b",")]
            real_size = pax.get("GNU.sparse.size", b"")
        else:
            raise ImageError(
                f"tar entry {name!r}: PAX sparse format 0.0 is not supported",
                hint="repack with tar --sparse-version=1.0",
            )
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        real = parse_number(real_size, "GNU.sparse.realsize")
        return _with_extents(entry._replace(name=name), pairs, real, self._left)

    def _sparse_numbers(self, name: str) -> list[int]:
        """Read decimal lines, one count and two per extent, from blocks in front of the data."""
        lines: list[bytes] = [b""]
        wanted = 1
        while len(lines) <= wanted:
            if self._left < BLOCK or wanted > META_LIMIT_BYTES // 4:
                raise ImageError(f"tar entry {name!r}: bad sparse map")
            *whole, rest = (lines.pop() + self._window.take(BLOCK)).split(b"\n")
            lines += [*whole, rest]
            self._left -= BLOCK
            wanted = 1 + 2 * parse_number(lines[0], "sparse map") if len(lines) > 1 else 1
        return [parse_number(line, "sparse map") for line in lines[1:wanted]]


def _with_extents(
    entry: Entry, extents: list[tuple[int, int]], real_size: int, stored: int
) -> Entry:
    """Return the entry with its map, once that is known to be in order and to fit the data."""
    end = 0
    for offset, length in extents:
        if offset < end or length < 0 or offset + length > real_size:
            raise ImageError(f"tar entry {entry.name!r}: sparse map is out of order")
        end = offset + length
    if sum(length for _, length in extents) != stored:
        raise ImageError(f"tar entry {entry.name!r}: sparse map does not fit the data")
    return entry._replace(kind=REGULAR, size=real_size, extents=tuple(extents))


def _xattrs(pax: dict[str, bytes]) -> dict[str, bytes]:
    """Return extended attributes; bsdtar repeats them as LIBARCHIVE.xattr, which is left out."""
    prefix = "SCHILY.xattr."
    return {k[len(prefix) :]: value for k, value in pax.items() if k.startswith(prefix)}


def _parse_time(raw: bytes) -> int:
    """Return nanoseconds for decimal seconds, exactly: a float would lose the last digits."""
    whole, _, fraction = raw.partition(b".")
    negative = whole.startswith(b"-")
    seconds = parse_number(whole.removeprefix(b"-") or b"0", "mtime")
    if fraction and not fraction.isdigit():
        raise ImageError(f"tar: bad mtime {raw[:40]!r}")
    total = seconds * 10**9 + int(fraction[:9].ljust(9, b"0"))
    return -total if negative else total
