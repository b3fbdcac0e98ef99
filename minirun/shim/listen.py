"""The socket where clients find a container's shim.

A socket's path has at most 107 bytes, and a data directory may be anywhere: both ends go through
``/proc/self/fd``, so only the directory's fd and the name count.

See: unix(7). Next: ``supervise.py``.
"""

from __future__ import annotations

import _socket
import os
from contextlib import suppress


def _short(path: str) -> tuple[int, str]:
    """Return an fd of the directory, and a path through it."""
    head, _, name = path.rpartition("/")
    folder = os.open(head, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return folder, f"/proc/self/fd/{folder}/{name}"


def listen(path: str) -> _socket.socket:
    """Return a listening socket at ``path``, open to its owner only; an old one is replaced."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    try:
        folder, name = _short(path)
    except FileNotFoundError:  # the first of all
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        folder, name = _short(path)
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    umask = os.umask(0o177)
    try:
        made.bind(name)
    finally:
        os.umask(umask)
        os.close(folder)
    made.listen(64)
    return made


def accept(listener: _socket.socket) -> int:
    """Return the fd of the next client, close-on-exec."""
    fd: int
    # The C socket hands out a bare fd; making an object of it is what the Python half adds.
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return fd


def connect(path: str) -> int:
    """Return the fd of a connection to the socket at ``path``.

    Raises:
        OSError: nobody is there.
    """
    folder, name = _short(path)
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        made.connect(name)
    except OSError:
        made.close()
        raise
    finally:
        os.close(folder)
    return made.detach()
