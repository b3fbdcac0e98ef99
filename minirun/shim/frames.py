"""What a shim and its clients say to each other over a Unix socket.

    byte 0      kind
    bytes 1-4   length of the payload, big-endian
    payload

A client sends input, the size of its terminal and signals; the shim sends output and, at the two
moments that matter, a JSON object: ``started`` or ``failed``, and ``exited``. A start that is
narrated sends a ``step`` for each step, and may wait for the client's ``next``.

Pure but for ``Peer``, which buffers a non-blocking socket. Next: ``streams.py``.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import time
from contextlib import suppress

from ..quickjson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

STDIN, STDOUT, STDERR, RESIZE, SIGNAL, STARTED, FAILED, EXITED, STEP, NEXT = range(10)

_HEADER = struct.Struct(">BI")
#: A frame of the shim is a chunk of output; one of a client a chunk of input. More is an attack.
LARGEST = 1 << 20


class BadFrame(Exception):
    """The other side does not speak this protocol."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    r"""Return one frame.

    >>> frame(STDOUT, b"hi")
    b'\x01\x00\x00\x00\x02hi'
    """
    return _HEADER.pack(kind, len(payload)) + payload


def report(kind: int, facts: Mapping[str, Any]) -> bytes:
    """Return a frame that carries a JSON object."""
    return frame(kind, dumps(facts).encode())


def resize(rows: int, columns: int) -> bytes:
    """Return the frame for a terminal's size."""
    return frame(RESIZE, struct.pack(">HH", rows, columns))


class Splitter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, payload) of each frame that is complete.

        Raises:
            BadFrame: a frame is larger than any that is ever sent.
        """
        self._held += data
        while len(self._held) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._held)
            if length > LARGEST:
                raise BadFrame(f"a frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._held) < end:
                return
            payload, self._held = self._held[_HEADER.size : end], self._held[end:]
            yield kind, payload


class Peer:
    """One client of a shim: a non-blocking socket with what is still to be sent.

    Args:
        fd: a connected stream socket; owned from now on.
    """

    #: Above this the container's output is left in its pipe until the client has caught up.
    FULL = 1 << 20

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.splitter = Splitter()
        self._unsent = b""
        os.set_blocking(fd, False)

    @property
    def wants_to_write(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._unsent)

    @property
    def is_full(self) -> bool:
        """Whether the client is too far behind."""
        return len(self._unsent) > self.FULL

    def send(self, data: bytes) -> bool:
        """Send, or keep for later; returns False when the client is gone."""
        self._unsent += data
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes; returns False when the client is gone."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self.fd, self._unsent[:65536]) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def receive(self) -> list[tuple[int, bytes]] | None:
        """Return the frames that arrived, or None when the client is gone or talks nonsense."""
        try:
            data = os.read(self.fd, 65536)
            return list(self.splitter.feed(data)) if data else None
        except BlockingIOError:
            return []
        except (OSError, BadFrame):
            return None

    def close(self) -> None:
        """Hang up for real: the standby has a copy, so closing ours is not enough."""
        end = _socket.socket(fileno=self.fd)
        with suppress(OSError):  # the client was faster
            end.shutdown(_socket.SHUT_RDWR)
        end.close()

    def drain(self, seconds: float) -> None:
        """Send what is left, waiting for a slow client no longer than this."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while self._unsent and time.monotonic() < deadline:
            if not poll.poll(100):
                continue
            if not self.flush():
                return
