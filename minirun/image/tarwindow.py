"""A stream with a buffer in front of it, for a reader of small pieces. Next: ``tarheader.py``."""

from __future__ import annotations

from collections.abc import Callable

from .streams import CHUNK, Readable


class Window:
    """A buffer over a stream, so that a header costs a slice and not a read."""

    def __init__(self, stream: Readable, seek: Callable[[int], bool] | None = None) -> None:
        self._stream = stream
        self._seek = seek
        self._buffer = b""
        self._at = 0
        self._passed = 0  # bytes of the stream before the buffer

    @property
    def offset(self) -> int:
        """How many bytes of the stream were handed out."""
        return self._passed + self._at

    def _refill(self) -> bool:
        self._passed += len(self._buffer)
        self._buffer, self._at = self._stream.read(CHUNK), 0
        return bool(self._buffer)

    def chunk(self, size: int) -> memoryview:
        """Return 1 to ``size`` bytes without copying them; none at the end of the stream."""
        if self._at == len(self._buffer):
            self._refill()
        start, self._at = self._at, min(self._at + size, len(self._buffer))
        return memoryview(self._buffer)[start : self._at]

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, or fewer at the end of the stream."""
        end = self._at + size
        if end <= len(self._buffer):
            piece = self._buffer[self._at : end]
            self._at = end
            return piece
        pieces = []
        while size and (chunk := self.chunk(size)):
            pieces.append(bytes(chunk))
            size -= len(chunk)
        return b"".join(pieces)

    def skip(self, size: int) -> bool:
        """Pass over ``size`` bytes; False where the stream ends before."""
        buffered = len(self._buffer) - self._at
        if self._seek is not None and size > buffered:
            self._passed += len(self._buffer) + size - buffered
            self._buffer, self._at = b"", 0
            return self._seek(size - buffered)
        while size and (chunk := self.chunk(size)):
            size -= len(chunk)
        return not size
