"""One header block of a tar archive, and the records of a PAX header, as bytes and back to facts.

Pure: bytes in, values out. Numbers are parsed strictly, because what two readers read differently
is what an attacker hides in. See: tar(5), pax(1). Next: ``tarwriter.py``.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from ..errors import ImageError

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0123456"
SPARSE = "S"

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_KNOWN = frozenset("0123456SxgLK")
_OTHERS = {
    "D": "GNU incremental directory",
    "M": "GNU multi-volume continuation",
    "N": "old GNU long name",
    "V": "GNU volume label",
    "X": "Solaris extended header",
    "A": "Solaris access control list",
}


class Header(NamedTuple):
    """The fields of a header block; names as bytes, without what extension headers add."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    kind: str
    linkname: bytes
    devmajor: int
    devminor: int
    block: bytes


def parse_header(block: bytes) -> Header:
    """Return the fields of a block of 512 bytes.

    Raises:
        ImageError: wrong checksum, malformed number, unsupported type.
    """
    (name, mode, uid, gid, size, mtime, checksum, typeflag, linkname, magic, _, _, major, minor,
     prefix) = _FIELDS.unpack(block)  # fmt: skip
    stored = checksum.strip(b" \0")
    total = _sum_of_bytes(block) - sum(checksum) + 8 * 0x20
    if not stored.isdigit() or b"%o" % total != stored.lstrip(b"0"):
        raise ImageError("tar header has a wrong checksum", hint="is this a tar archive at all?")
    name = _text(name)
    if magic == b"ustar\x0000" and prefix[0]:
        name = _text(prefix) + b"/" + name
    return Header(
        name,
        _number(mode, "mode"),
        _number(uid, "uid"),
        _number(gid, "gid"),
        check_size(_number(size, "size"), name),
        _number(mtime, "mtime", signed=True),
        _kind(typeflag, name),
        _text(linkname),
        _number(major, "devmajor") if magic[0] else 0,
        _number(minor, "devminor") if magic[0] else 0,
        block,
    )


def check_size(size: int, name: object) -> int:
    """Return a size that a file can have."""
    if not 0 <= size < 2**63:
        raise ImageError(f"tar entry {name!r}: size {size} is impossible")
    return size


def _kind(typeflag: bytes, name: bytes) -> str:
    kind = typeflag.decode("latin-1")
    if kind in "\x007":  # version 7, and "contiguous file" of a system long gone
        return REGULAR
    if kind not in _KNOWN:
        raise ImageError(
            f"tar entry {name!r}: type {kind!r} ({_OTHERS.get(kind, 'unknown')}) is not supported"
        )
    return kind


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _sum_of_bytes(block: bytes) -> int:
    """Return what ``sum`` does, in a tenth of the time: there is one for each file of an image.

    Adler-32's lower half is 1 plus the sum of the bytes modulo 65521, which 256 bytes stay below.
    """
    half = BLOCK // 2
    return (adler32(block[:half]) & 0xFFFF) + (adler32(block[half:]) & 0xFFFF) - 2


@lru_cache(maxsize=4096)  # modes, owners and times are those of the file before
def _number(field: bytes, what: str, *, signed: bool = False) -> int:
    """Return octal digits, or GNU's base-256 where the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:  # two's complement of what remains without the marker
            value -= 1 << (8 * len(field) - 1)
        if value < 0 and not signed:
            raise ImageError(f"tar header: negative {what}")
        return value
    digits = field.strip(b" \0")
    if not digits:
        return 0
    try:
        # int() alone would take "1_0", "+1" and "0o1"
        return int(digits, 8) if digits.isdigit() else int("")
    except ValueError:
        raise ImageError(f"tar header: bad {what} {field!r}") from None


def parse_number(raw: bytes, what: str) -> int:
    """Return the decimal number of a PAX record."""
    if not raw.isdigit() or len(raw) > 20:
        raise ImageError(f"tar: bad {what} {raw[:40]!r} in a PAX header")
    return int(raw)


def parse_pax(raw: bytes) -> dict[str, bytes]:
    r"""Return the records of a PAX header: each is ``LENGTH KEY=VALUE`` and a newline.

    >>> parse_pax(b"12 path=abc\n")
    {'path': b'abc'}
    """
    records: dict[str, bytes] = {}
    at = 0
    while at < len(raw):
        space = raw.find(b" ", at, at + 21)
        length = parse_number(raw[at:space], "record length") if space > 0 else 0
        end = at + length
        key, equals, value = raw[space + 1 : end - 1].partition(b"=")
        if end <= space or end > len(raw) or raw[end - 1] != 0x0A or not equals or not key:
            raise ImageError(f"tar: malformed PAX record at byte {at}")
        records[key.decode("utf-8", "surrogateescape")] = value
        at = end
    for name in ("path", "linkpath"):
        if b"\0" in records.get(name, b""):
            raise ImageError(f"tar: {name} in a PAX header holds a NUL byte")
    return {key: value for key, value in records.items() if value}


def gnu_sparse_map(block: bytes, start: int, count: int) -> tuple[list[tuple[int, int]], bool, int]:
    """Return (extents, another block follows, real size) of GNU's old sparse format."""
    extents = []
    for at in range(start, start + 24 * count, 24):
        if not block[at + 12]:
            break
        offset = _number(block[at : at + 12], "sparse offset")
        extents.append((offset, _number(block[at + 12 : at + 24], "sparse length")))
    after = start + 24 * count
    real_size = _number(block[after + 1 : after + 13], "real size") if start else 0
    return extents, bool(block[after]), real_size
