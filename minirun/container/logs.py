r"""A container's output in docker's json-file format, written by the shim.

    {"log":"hello\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}

One object per line of output. A line longer than 16 KiB becomes several objects, all but the last
without ``\n``. Each object reaches the file in one write, so kill -9 tears at most the last one;
the next writer ends the torn line before it begins.

Next: ``logreader.py``.
"""

from __future__ import annotations

import os
import time

from ..quickjson import quote
from . import clock
from .files import host_error, write_all
from .security import LogOptions

MAX_ENTRY_BYTES = 16 * 1024


class LogWriter:
    """Splits streams into lines, stamps and rotates them.

    Args:
        path: the newest file.
        options: when to rotate, and how many files to keep.

    Raises:
        HostError: the log cannot be written; the disk is full, for example.
    """

    def __init__(self, path: str, options: LogOptions = LogOptions()) -> None:  # noqa: B008 - frozen
        self._path = path
        self._options = options
        self._pending: dict[str, bytes] = {}
        self._fd = -1
        self._size = 0
        try:
            self._open()
        except OSError as error:
            raise host_error(error, path) from error

    def write(self, stream: str, data: bytes, time_ns: int = 0) -> None:
        """Log what a stream said; the end of an incomplete line waits for the rest of it.

        Args:
            stream: ``stdout`` or ``stderr``.
            data: any bytes; what is not UTF-8 becomes U+FFFD.
            time_ns: when it was read; now by default.
        """
        stamp = clock.stamp(time_ns or time.time_ns())
        *lines, rest = (self._pending.get(stream, b"") + data).split(b"\n")
        entries = [part for line in lines for part in _entries(line + b"\n")]
        while len(rest) >= MAX_ENTRY_BYTES:
            cut = _cut(rest)
            entries.append(rest[:cut])
            rest = rest[cut:]
        self._pending[stream] = rest
        self._append(stream, entries, stamp)

    def rest(self) -> dict[str, str]:
        """Return the incomplete line of each stream; a byte is a character below U+0100."""
        return {stream: held.decode("latin-1") for stream, held in self._pending.items() if held}

    def take_up(self, rest: dict[str, str]) -> None:
        """Go on where another writer stopped."""
        self._pending = {stream: held.encode("latin-1") for stream, held in rest.items()}

    def close(self) -> None:
        """Log what never got its newline, and close the file."""
        stamp = clock.now()
        for stream, rest in self._pending.items():
            self._append(stream, [rest] if rest else [], stamp)
        self._pending.clear()
        os.close(self._fd)
        self._fd = -1

    def _append(self, stream: str, entries: list[bytes], stamp: str) -> None:
        """Write entries in as few writes as rotation allows."""
        batch: list[bytes] = []
        try:
            for entry in entries:
                batch.append(_line(stream, entry, stamp))
                self._size += len(batch[-1])
                if self._options.max_size_bytes and self._size >= self._options.max_size_bytes:
                    write_all(self._fd, b"".join(batch))
                    batch.clear()
                    self._rotate()
            write_all(self._fd, b"".join(batch))
        except OSError as error:
            raise host_error(error, self._path) from error

    def _open(self) -> None:
        """Open the file for appending and end a line that was torn."""
        # O_NOFOLLOW: a link planted here would make us write somewhere else.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            write_all(self._fd, b"\n")

    def _rotate(self) -> None:
        """Rename every file to the next number and begin a new one; the oldest is lost."""
        os.close(self._fd)
        self._fd = -1
        for number in range(self._options.max_files - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.lexists(older):
                os.rename(older, f"{self._path}.{number}")
        if self._options.max_files == 1:
            # A new file rather than a truncated one: readers notice by its inode.
            os.unlink(self._path)
        self._open()


def _entries(line: bytes) -> list[bytes]:
    """Split a line, with its newline, into entries of at most 16 KiB."""
    entries = []
    while len(line) > MAX_ENTRY_BYTES:
        cut = _cut(line)
        entries.append(line[:cut])
        line = line[cut:]
    return [*entries, line]


def _cut(text: bytes) -> int:
    """Return where to cut within 16 KiB without cutting through a UTF-8 character."""
    cut = MAX_ENTRY_BYTES
    # A continuation byte is 10xxxxxx, and a character has at most three of them.
    while cut > MAX_ENTRY_BYTES - 4 and cut < len(text) and text[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _line(stream: str, entry: bytes, stamp: str) -> bytes:
    text = quote(entry.decode("utf-8", "replace"))
    return f'{{"log":{text},"stream":"{stream}","time":"{stamp}"}}\n'.encode()
