"""Entries in, a tar archive out: the same entries give the same bytes on every host.

Owners are numbers only, times are whole seconds (as Docker's are), and a PAX header is written
only for what ustar cannot hold. The order is the caller's: ``pack.py`` sorts.

See: pax(1). Next: ``tree.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ..errors import ImageError
from .tarheader import BLOCK, DIRECTORY
from .tarstream import Entry

_RECORD = 20 * BLOCK  # tar(1) pads archives to this; readers from tape ask for it
_ASCII = 0x80


class TarWriter:
    """Writes entries to a function that takes bytes.

    Args:
        write: called with every piece, in order.
        clamp_s: no entry is younger than this (SOURCE_DATE_EPOCH), in seconds; None leaves times.
    """

    def __init__(self, write: Callable[[bytes], object], clamp_s: int | None = None) -> None:
        self._write = write
        self._clamp = clamp_s
        self._size = 0
        self.content_size = 0  # bytes of the files alone

    def add(self, entry: Entry, data: Iterable[bytes | memoryview] = ()) -> None:
        """Write one entry and its data, which must be as long as ``entry.size``.

        Raises:
            ImageError: the data was longer or shorter; the archive is then useless.
        """
        self._emit(self._headers(entry))
        self.content_size += entry.size
        left = entry.size
        for chunk in data:
            left -= len(chunk)
            if left < 0:
                break
            self._emit(bytes(chunk))
        if left:
            raise ImageError(
                f"{entry.name!r} changed its size while it was read", hint="pause the container"
            )
        if entry.size % BLOCK:
            self._emit(bytes(-entry.size % BLOCK))

    def close(self) -> None:
        """Write the end mark and pad to a full record."""
        self._emit(bytes(2 * BLOCK))
        self._emit(bytes(-self._size % _RECORD))

    def _emit(self, data: bytes) -> None:
        self._size += len(data)
        self._write(data)

    def _headers(self, entry: Entry) -> bytes:
        seconds = entry.mtime_ns // 10**9
        if self._clamp is not None:
            seconds = min(seconds, self._clamp)
        name = os.fsencode(entry.name)
        if entry.kind == DIRECTORY and not name.endswith(b"/"):
            name += b"/"
        pax: dict[str, bytes] = {}
        block = _block(entry, name, seconds, pax)
        for key, value in sorted(entry.xattrs.items()):
            if "=" in key:
                raise ImageError(f"{entry.name!r}: tar cannot hold an attribute called {key!r}")
            pax[f"SCHILY.xattr.{key}"] = value
        return _pax_block(name, pax) + block if pax else block


def _pax_block(name: bytes, pax: dict[str, bytes]) -> bytes:
    body = b"".join(_pax_record(key, value) for key, value in sorted(pax.items()))
    base = os.path.basename(name.rstrip(b"/"))[:80]
    ascii_base = bytes(byte if byte < _ASCII else 0x5F for byte in base)
    fields = Entry("", "x", 0o644, size=len(body))
    header = _block(fields, b"PaxHeaders.0/" + ascii_base, 0, {})
    return header + body + bytes(-len(body) % BLOCK)


def _pax_record(key: str, value: bytes) -> bytes:
    """Return a record; its length counts its own digits."""
    rest = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _block(entry: Entry, name: bytes, seconds: int, pax: dict[str, bytes]) -> bytes:
    """Return the ustar header; what does not fit goes into ``pax``."""
    prefix, short = _split_name(name, pax)
    link = _field(os.fsencode(entry.linkname), 100, "linkpath", pax)
    head = b"".join(
        (
            short.ljust(100, b"\0"),
            b"%07o\0" % entry.mode,
            _octal(entry.uid, 7, "uid", pax),
            _octal(entry.gid, 7, "gid", pax),
            _octal(entry.size, 11, "size", pax),
            _octal(seconds, 11, "mtime", pax),
        )
    )
    tail = b"".join(
        (
            entry.kind.encode(),
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),  # owner names: numbers are enough, and the same everywhere
            b"%07o\0%07o\0" % entry.device,
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    checksum = sum(head) + sum(tail) + 8 * 0x20
    return head + b"%06o\0 " % checksum + tail


def _split_name(name: bytes, pax: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return (prefix, name), split at a slash where the name is long."""
    if len(name) <= 100 and name.isascii():
        return b"", name
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))  # a directory's last slash is no split
    if name.isascii() and cut > 0 and len(name) - cut - 1 <= 100:
        return name[:cut], name[cut + 1 :]
    return b"", _field(name, 100, "path", pax)


def _field(value: bytes, width: int, key: str, pax: dict[str, bytes]) -> bytes:
    if len(value) <= width and value.isascii():
        return value
    pax[key] = value
    return bytes(byte if byte < _ASCII else 0x5F for byte in value[:width])


def _octal(value: int, digits: int, key: str, pax: dict[str, bytes]) -> bytes:
    if not 0 <= value < 8**digits:
        pax[key] = str(value).encode()
        value = 0
    return b"%0*o\0" % (digits, value)
