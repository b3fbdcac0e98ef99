"""Bytes on their way from a blob to a tar reader: hashed, inflated, and guarded against bombs.

Everything here has ``read(size)`` and returns b"" at the end, so stages stack in any order. The
expensive stages (sha256, inflate) release the interpreter lock: layers unpack in parallel threads.

Next: ``tarstream.py``.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ..errors import ImageError
from .limits import Limits, allow_more
from .model import Digest

_inflate: Any
try:
    from isal import isal_zlib as _inflate  # twice as fast as zlib; same interface
except ImportError:  # no wheel for this architecture
    _inflate = zlib

_CORRUPT: tuple[type[Exception], ...] = (zlib.error, _inflate.error)

CHUNK = 256 << 10  # what isal inflates in one go without growing its buffer
_IN_CHUNK = 256 << 10
MAGIC_BYTES = 6
GZIP_MAGIC, ZSTD_MAGIC, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"
_ZSTD_WINDOW_BYTES = 128 << 20  # what the zstd command itself accepts by default


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        ...


def chunks_of(source: Readable) -> Iterator[bytes]:
    """Yield what a stream holds, piece by piece."""
    while data := source.read(CHUNK):
        yield data


class Hashing:
    """Computes the sha256 and length of what is read through it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read on, and count."""
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        """Read to the end, for the sake of the hash."""
        while self.read(CHUNK):
            pass

    @property
    def digest(self) -> Digest:
        """The digest of what was read so far."""
        return Digest(f"sha256:{self._hash.hexdigest()}")


class Counting:
    """Counts what is read through it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read on, and count."""
        data = self._source.read(size)
        self.size += len(data)
        return data


class Guarded:
    """Refuses a stream that grows beyond reason: the decompression bomb.

    Args:
        source: the inflated stream.
        consumed: returns how many compressed bytes were read so far.
        limit_bytes: more than this is refused whatever was consumed.
        ratio: more than this per compressed byte is refused, once the first GiB has passed.
        what: it is, for messages.
    """

    FREE_BYTES = 1 << 30

    def __init__(
        self,
        source: Readable,
        consumed: Callable[[], int],
        limit_bytes: int,
        ratio: int,
        what: str = "layer",
    ) -> None:
        self._source = source
        self._consumed = consumed
        self._limit = limit_bytes
        self._ratio = ratio
        self._what = what
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """Read on, unless the limit is passed."""
        data = self._source.read(size)
        self._size += len(data)
        if self._size > self._limit:
            raise ImageError(
                f"{self._what} is larger than {self._limit} bytes",
                hint=allow_more("size", 2 * self._limit),
            )
        if self._size > self.FREE_BYTES and self._size > self._ratio * self._consumed():
            raise ImageError(
                f"{self._what} inflates to more than {self._ratio} times its size",
                hint=f"so does a bomb; {allow_more('ratio', 4 * self._ratio)}",
            )
        return data


def inflated(source: Readable, limits: Limits, what: str) -> Readable:
    """Return the plain bytes of a stream, which is refused where it grows beyond reason."""
    blob = Counting(source)
    return Guarded(decompress(blob), lambda: blob.size, limits.size_bytes, limits.ratio, what)


def decompress(source: Readable) -> Readable:
    """Return the plain bytes of a stream, whose compression its first bytes tell.

    gzip, zstd, bzip2, xz, or none. Media types are not asked: Docker does not either, and they lie.
    """
    head = _Head(source)
    magic = head.peek(MAGIC_BYTES)
    if magic.startswith(GZIP_MAGIC):
        return _Gunzip(head)
    if magic.startswith(ZSTD_MAGIC):
        return _Checked(_open_zstd(head), "zstd")
    if magic.startswith(_BZIP2):
        import bz2

        return _Checked(bz2.BZ2File(_as_file(head)), "bzip2")
    if magic.startswith(_XZ):
        import lzma

        return _Checked(lzma.LZMAFile(_as_file(head)), "xz")
    return head


def is_compressed(magic: bytes) -> bool:
    """Return True where a stream that begins so would be inflated."""
    return magic.startswith((GZIP_MAGIC, ZSTD_MAGIC, _BZIP2, _XZ))


class _Head:
    """A stream whose first bytes can be looked at."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._head = b""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._source.read(size - len(self._head))):
            self._head += more
        return self._head

    def read(self, size: int = CHUNK, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Gunzip:
    """Inflates a gzip stream of one or more members (estargz has one member per file)."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._member = self._new_member()
        self._input = b""
        self._done = False

    @staticmethod
    def _new_member() -> Any:  # noqa: ANN401 - zlib's and isal's classes share no base
        return _inflate.decompressobj(wbits=31)

    def read(self, size: int, /) -> bytes:
        """Return some inflated bytes, at most ``size``."""
        while not self._done:
            raw = self._input or self._source.read(_IN_CHUNK)
            try:
                data: bytes = self._member.decompress(raw, size)
            except _CORRUPT as error:
                raise ImageError(f"gzip stream is corrupt: {error}") from error
            if self._member.eof:
                self._next_member()
            elif raw or data:
                self._input = self._member.unconsumed_tail
            else:
                raise ImageError("gzip stream is truncated")
            if data:
                return data
        return b""

    def _next_member(self) -> None:
        """Go on behind the trailer; zeros there are padding, as gzip(1) has it."""
        rest = self._member.unused_data.lstrip(b"\0")
        while not rest and (more := self._source.read(_IN_CHUNK)):
            rest = more.lstrip(b"\0")
        self._input = rest
        self._done = not rest
        if rest:
            self._member = self._new_member()


class _Checked:
    """Turns the errors of a library's stream into ours."""

    def __init__(self, source: Any, name: str) -> None:  # noqa: ANN401 - four libraries' streams
        self._source = source
        self._name = name

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._source.read(size)
        except ImageError:
            raise
        except Exception as error:  # zstd, bz2 and lzma share no base class
            raise ImageError(f"{self._name} stream is corrupt: {error}") from error
        return data


def _open_zstd(source: Readable) -> Any:  # noqa: ANN401 - the library is optional
    try:
        import zstandard
    except ImportError as error:
        raise ImageError("layer is compressed with zstd", hint="pip install zstandard") from error
    inflater = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    return inflater.stream_reader(source, read_across_frames=True)  # type: ignore[arg-type]


def _as_file(source: Readable) -> Any:  # noqa: ANN401 - bz2 and lzma ask for IO[bytes]
    """Return a file object around a Readable."""
    import io

    class File(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
            data = source.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

    return io.BufferedReader(File(), _IN_CHUNK)
