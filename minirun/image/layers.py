"""A compressed blob becomes a directory, and a directory becomes a blob; both ways are verified.

    blob ─▶ count ─▶ inflate ─▶ guard ─▶ sha256 = diff_id ─▶ TarReader ─▶ Unpacker ─▶ directory
    directory ─▶ pack ─▶ TarWriter ─▶ sha256 = diff_id ─▶ gzip ─▶ sha256 = digest ─▶ blob

The diff_id names the content and is the same everywhere. The digest of the blob depends on the
compressor: it is zlib at a fixed level, never isal, whose output differs between versions.

Next: ``store.py``, which keeps the results.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Set

from ..errors import ImageError
from ..record import Record
from .limits import DEFAULT_LIMITS, Limits
from .model import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Digest
from .owners import UNMAPPED, Owners
from .pack import pack
from .streams import (
    CHUNK,
    GZIP_MAGIC,
    ZSTD_MAGIC,
    Counting,
    Guarded,
    Hashing,
    Readable,
    decompress,
    is_compressed,
)
from .tarstream import TarReader
from .tarwriter import TarWriter
from .unpack import Unpacked, Unpacker, write_all

GZIP_LEVEL = 6
_GZIP_WBITS = 31  # zlib's own gzip header: no name, no time, one fixed byte for the system


class Packed(Record):
    """A layer that was written: its two names, the sizes of blob and files, its media type."""

    diff_id: Digest
    digest: Digest
    size: int
    content_size: int
    media_type: str


def unpack_layer(
    stream: Readable,
    directory: int,
    *,
    diff_id: str = "",
    digest: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Digest, Unpacked]:
    """Write a layer's content below a directory.

    Args:
        stream: the blob: gzip, zstd, bzip2, xz or plain tar.
        directory: descriptor of an empty directory.
        diff_id: what the inflated bytes must hash to; "" accepts any.
        digest: what the blob must hash to; "" accepts any.
        limits: see ``limits.py``.

    Returns:
        The diff_id, and what was written.

    Raises:
        ImageError: damaged, hostile, or not what it claims to be. The directory then holds a part
            of it and must be thrown away.
    """
    blob = Hashing(stream) if digest else Counting(stream)
    inflated = decompress(blob)
    plain = Hashing(Guarded(inflated, lambda: blob.size, limits.size_bytes, limits.ratio))
    unpacked = Unpacker(directory, limits).apply(TarReader(plain))
    plain.drain()
    if diff_id and plain.digest != diff_id:
        raise ImageError(f"layer is not the one its image names: {plain.digest} is not {diff_id}")
    if isinstance(blob, Hashing):
        blob.drain()
        if blob.digest != digest:
            raise ImageError(f"blob is not the one asked for: {blob.digest} is not {digest}")
    return plain.digest, unpacked


def pack_layer(
    directory: int,
    out: int,
    *,
    clamp_s: int | None = None,
    compress: bool = True,
    owners: Owners = UNMAPPED,
    skip: Set[str] = frozenset(),
) -> Packed:
    """Write what a directory holds as a layer.

    Args:
        directory: descriptor of an overlay upper directory.
        out: descriptor that the blob is written to.
        clamp_s: no file is younger than this, in seconds since 1970 (SOURCE_DATE_EPOCH).
        compress: gzip, or the plain archive: five times faster to write, twice as large.
        owners: see ``pack.pack``.
        skip: see ``pack.pack``.
    """
    sink = _Sink(out, compress=compress)
    writer = TarWriter(sink.write, clamp_s)
    pack(directory, writer, owners=owners, skip=skip)
    writer.close()
    return sink.close(writer.content_size)


def layer_type(head: bytes) -> str:
    """Return the media type of a layer from its first bytes.

    Raises:
        ImageError: a compression that no media type exists for.
    """
    if not is_compressed(head):
        return OCI_LAYER
    for magic, media_type in ((GZIP_MAGIC, OCI_LAYER_GZIP), (ZSTD_MAGIC, OCI_LAYER_ZSTD)):
        if head.startswith(magic):
            return media_type
    raise ImageError("layer is compressed with bzip2 or xz", hint="compress it with gzip or zstd")


class _Sink:
    """Hashes, compresses, hashes again and writes, in pieces large enough to be worth it."""

    def __init__(self, out: int, *, compress: bool) -> None:
        self._out = out
        self._plain = hashlib.sha256()
        self._blob = hashlib.sha256()
        self._gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS) if compress else None
        self._buffer = bytearray()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= CHUNK:
            self._flush()

    def close(self, content_size: int) -> Packed:
        self._flush()
        if self._gzip is not None:
            self._put(self._gzip.flush())
        return Packed(
            Digest(f"sha256:{self._plain.hexdigest()}"),
            Digest(f"sha256:{self._blob.hexdigest()}"),
            self._size,
            content_size,
            OCI_LAYER_GZIP if self._gzip is not None else OCI_LAYER,
        )

    def _flush(self) -> None:
        self._plain.update(self._buffer)
        self._put(self._gzip.compress(self._buffer) if self._gzip else bytes(self._buffer))
        self._buffer.clear()

    def _put(self, data: bytes) -> None:
        self._blob.update(data)
        self._size += len(data)
        write_all(self._out, data)


def source_date_epoch() -> int | None:
    """Return the time that a reproducible build pretends to run at, or None.

    See: reproducible-builds.org, SOURCE_DATE_EPOCH.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdecimal():
        raise ImageError(f"SOURCE_DATE_EPOCH={text!r} is not a number of seconds")
    return int(text)
