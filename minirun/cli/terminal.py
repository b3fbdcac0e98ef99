"""This terminal: its size, its raw mode, the keys that let go of it.

See: termios(3), cfmakeraw(3), ioctl_tty(2). Next: ``client.py``.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {**{chr(c): c - 96 for c in range(97, 123)}, "@": 0, "[": 27, "\\": 28, "]": 29}


def size() -> tuple[int, int] | None:
    """Return rows and columns of the terminal at one of our standard streams."""
    for fd in (0, 1, 2):
        try:
            packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
        except OSError:
            continue
        rows, columns, _, _ = struct.unpack("4H", packed)
        return rows, columns
    return None


def is_terminal(fd: int) -> bool:
    """Whether the descriptor is open, and on a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def require(*, interactive: bool, tty: bool) -> None:
    """Refuse ``-it`` where there is nobody to type, in docker's words."""
    if interactive and tty and not is_terminal(0):
        hint = "leave -t out: -i alone reads a pipe or a file"
        raise UsageError("the input device is not a TTY", hint=hint, exit_code=1)


class Raw:
    """Our terminal stops interpreting keys for the length of a block: the container's does that."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted and is_terminal(0)
        self._before: list[Any] = []

    def __enter__(self) -> Raw:
        """Remember the settings and change them."""
        if self._wanted:
            self._before = termios.tcgetattr(0)
            termios.tcsetattr(0, termios.TCSANOW, _raw(termios.tcgetattr(0)))
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give the terminal back as it was."""
        if self._wanted:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)


def _raw(modes: list[Any]) -> list[Any]:
    """Return the settings of cfmakeraw(3)."""
    modes[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    modes[1] &= ~termios.OPOST
    modes[2] = modes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    modes[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    return modes


def detach_keys(text: str) -> bytes:
    r"""Return the bytes of a key sequence, spelled as docker's.

    >>> detach_keys("ctrl-p,ctrl-q"), detach_keys("a")
    (b'\x10\x11', b'a')
    """
    found = bytearray()
    for key in text.split(","):
        control = key.lower().removeprefix("ctrl-") if key.lower().startswith("ctrl-") else ""
        if control in _CONTROL and control:
            found.append(_CONTROL[control])
        elif len(key) == 1 and key.isascii():
            found.append(ord(key))
        else:
            raise UsageError(f"invalid detach keys {text!r}", hint=f"for example {DETACH_KEYS}")
    return bytes(found)


class Escape:
    r"""Looks for the detach keys in what is typed, and holds back what may become them.

    >>> escape = Escape(b"\x10\x11")
    >>> escape.feed(b"ls\x10"), escape.feed(b"x"), escape.feed(b"\x10\x11")
    ((b'ls', False), (b'\x10x', False), (b'', True))
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the keys were pressed."""
        data = self._held + typed
        self._held = b""
        before, found, _ = data.partition(self._keys)
        if found and self._keys:
            return before, True
        for count in range(min(len(data), len(self._keys) - 1), 0, -1):
            if self._keys.startswith(data[-count:]):
                self._held = data[-count:]
                return data[:-count], False
        return data, False
