"""A container's standard streams: out to the log and to whoever watches, in from one who types.

Output is copied from the pipe to the log *before* it is taken out of the pipe (tee(2)), so a shim
that is killed between the two loses nothing: the standby finds it still in the pipe. A terminal has
no such second look.

Next: ``run.py``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from contextlib import suppress

from .. import kernel
from ..errors import MinirunError
from ..quickjson import dumps, loads
from ..record import Record, replace
from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.logs import LogWriter

_CHUNK = 65536
#: What is typed ahead of a container that does not read.
_MOST_INPUT = 1 << 20
_LARGEST_REST = 1 << 20


class Ends(Record):
    """The shim's ends of a container's streams; -1 where there is none.

    With a terminal only ``console`` is used, for both directions. ``rest`` is a memfd with the
    lines that are not complete yet: a shim that is killed leaves them to its standby.
    """

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    console: int = -1
    rest: int = -1

    def all(self) -> tuple[int, ...]:
        """Return those that are open."""
        fds = (self.stdin, self.stdout, self.stderr, self.console, self.rest)
        return tuple(fd for fd in fds if fd >= 0)


def make_pipes(*, interactive: bool) -> tuple[Ends, tuple[int, int, int]]:
    """Return our ends, and the container's 0, 1 and 2."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    if interactive:
        in_read, in_write = os.pipe()
        os.set_blocking(in_write, False)
    else:
        in_read, in_write = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    for fd in (out_read, err_read):
        os.set_blocking(fd, False)
    rest = os.memfd_create("rest")
    return Ends(in_write, out_read, err_read, -1, rest), (in_read, out_write, err_write)


class Streams:
    """Moves bytes between the container, its log and its clients."""

    def __init__(self, ends: Ends, log: LogWriter) -> None:
        self.ends = ends
        self.log = log
        self.peers: list[frames.Peer] = []
        self._typed = b""
        self._side = os.pipe()
        self._input_ends = False
        self._kept = b""
        self._open = {fd for fd in (ends.stdout, ends.stderr, ends.console) if fd >= 0}
        if ends.console >= 0:
            os.set_blocking(ends.console, False)
        self._take_up_rest()

    # ── output ────────────────────────────────────────────────────────────────────────────────

    @property
    def readable(self) -> set[int]:
        """Return the fds to wait for; none while a client is too far behind."""
        return set() if any(peer.is_full for peer in self.peers) else self._open

    def pump(self, fd: int) -> bool:
        """Move one chunk of output; returns False when there is none now."""
        chunk = self._peek(fd)
        if chunk is None:
            return False
        if not chunk:
            self._open.discard(fd)
            return False
        is_error = fd == self.ends.stderr
        self._log("stderr" if is_error else "stdout", chunk)
        if fd != self.ends.console:
            os.read(fd, len(chunk))  # logged: now it may leave the pipe
        self.tell(frames.frame(frames.STDERR if is_error else frames.STDOUT, chunk))
        return True

    def _log(self, stream: str, chunk: bytes) -> None:
        """Write to the log, and the line that is not complete yet where the standby finds it.

        A log that cannot be written, because the disk is full, must not stop the program: as with
        docker, lines are lost then.
        """
        try:
            self.log.write(stream, chunk)
        except MinirunError:
            return
        rest = dumps(self.log.rest()).encode()
        if rest != self._kept and self.ends.rest >= 0:
            os.pwrite(self.ends.rest, rest.ljust(len(self._kept)), 0)
            self._kept = rest

    def _take_up_rest(self) -> None:
        """Go on with the incomplete lines of a predecessor."""
        if self.ends.rest < 0:
            return
        self._kept = os.pread(self.ends.rest, _LARGEST_REST, 0)
        if self._kept.strip():
            self.log.take_up(loads(self._kept))

    def _peek(self, fd: int) -> bytes | None:
        """Return what is there without taking it; b"" at the end, None for nothing yet."""
        try:
            if fd == self.ends.console:
                return os.read(fd, _CHUNK)
            count = kernel.tee(fd, self._side[1], _CHUNK)
            return os.read(self._side[0], count) if count else b""
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            if error.errno == errno.EIO:  # the last process let go of the terminal
                return b""
            raise

    def drain(self) -> None:
        """Move what is left after the container has ended."""
        for fd in tuple(self._open):
            while self.pump(fd):
                continue
        with suppress(MinirunError, OSError):  # the disk is full
            self.log.close()

    def tell(self, data: bytes) -> None:
        """Send to every client; forget those that are gone."""
        for peer in tuple(self.peers):
            if not peer.send(data):
                self.drop(peer)

    def close(self) -> None:
        """Let go of the descriptors; the clients are kept by whoever asked for this."""
        for fd in (*self.ends.all(), *self._side):
            os.close(fd)

    # ── clients ───────────────────────────────────────────────────────────────────────────────

    def drop(self, peer: frames.Peer) -> None:
        """Forget a client."""
        self.peers.remove(peer)
        peer.close()

    def type(self, data: bytes) -> bool:
        """Pass input on; no data is the end of it. Returns whether the input was closed."""
        if self._input < 0 or self._input_ends:
            return False
        self._typed += data
        self._input_ends = not data
        return self.flush_input()

    def flush_input(self) -> bool:
        """Write what the container takes now; returns whether the input was closed."""
        try:
            while self._typed and self._input >= 0:
                self._typed = self._typed[os.write(self._input, self._typed[:4096]) :]
        except BlockingIOError:
            return False
        except OSError:
            self._typed = b""  # nobody reads it any more
        return self._input_ends and self._end_input()

    @property
    def _input(self) -> int:
        return self.ends.console if self.ends.console >= 0 else self.ends.stdin

    @property
    def waiting_to_type(self) -> int:
        """Return the fd to wait for until it takes more input, or -1."""
        return self._input if self._typed else -1

    @property
    def has_enough_input(self) -> bool:
        """Whether clients must wait until the container has read more."""
        return len(self._typed) > _MOST_INPUT

    def _end_input(self) -> bool:
        """A pipe is closed; a terminal's end of file is typed by whoever sits there."""
        self._input_ends = False
        if self.ends.stdin < 0:
            return False
        os.close(self.ends.stdin)
        self.ends = replace(self.ends, stdin=-1)
        return True

    def resize(self, payload: bytes) -> None:
        """Give the terminal another size. See: ioctl_tty(2), TIOCSWINSZ."""
        if self.ends.console < 0 or len(payload) != 4:
            return
        rows, columns = struct.unpack(">HH", payload)
        fcntl.ioctl(self.ends.console, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
