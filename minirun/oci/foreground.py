"""Be the terminal and the parent of a process until it ends.

Signals that reach us are meant for it; what is typed goes in, what it prints comes out. One poll
watches all of it: our input, the terminal's master, and a pipe that the signal handlers write to.

See: pty(7), signal(7), termios(3). Next: ``exec.py``.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

#: Not passed on: our children's, the runtime's own, and what cannot be caught or means a bug.
_OURS = {
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGPIPE,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}


class Foreground:
    """Make it before the process is started: no signal is lost in between."""

    def __init__(self) -> None:
        self._woken, waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in signal.valid_signals() - _OURS:
            signal.signal(number, _noticed)
        signal.signal(signal.SIGCHLD, _noticed)

    def follow(self, pid: int, master: int = -1) -> int:
        """Pass signals and the terminal on until the process ends.

        Args:
            pid: a child of ours, or an orphan that we adopt as its subreaper.
            master: of its terminal; -1 where it has our standard streams.

        Returns:
            Its exit code, or 128 and the number of the signal that ended it.
        """
        pidfd = os.pidfd_open(pid)
        try:
            if master < 0:
                return self._wait(pid, pidfd, None)
            with _RawTerminal():
                return self._wait(pid, pidfd, _Relay(master))
        finally:
            os.close(pidfd)

    def _wait(self, pid: int, pidfd: int, relay: _Relay | None) -> int:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        for fd in relay.sources if relay else ():
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd != self._woken:
                    assert relay is not None
                    if not relay.copy(fd):
                        poll.unregister(fd)
                    continue
                if self._pass_on(pidfd, relay):
                    status = _reap(pid)
                    if status is not None:
                        if relay:
                            relay.drain()
                        code = os.waitstatus_to_exitcode(status)
                        return code if code >= 0 else 128 - code

    def _pass_on(self, pidfd: int, relay: _Relay | None) -> bool:
        """Forward the signals that came; return whether a child may have ended."""
        numbers = os.read(self._woken, 4096)
        for number in numbers:
            if number == signal.SIGWINCH and relay:
                relay.resize()
            elif number != signal.SIGCHLD:
                try:
                    signal.pidfd_send_signal(pidfd, number)
                except ProcessLookupError:
                    continue  # it has ended: that is what we are about to see
        return signal.SIGCHLD in numbers


def _noticed(number: int, frame: FrameType | None) -> None:
    """Do nothing: that there is a handler makes the interpreter write to the pipe."""


def _reap(wanted: int) -> int | None:
    """Collect every child that has ended; return the status of the one that we wait for."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == wanted:
            found = status


def pass_size_on(master: int) -> None:
    """Give a terminal the size of ours, if ours is one."""
    try:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)


class _Relay:
    """Copies between our standard streams and a terminal."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.sources = (0, master)
        self.resize()

    def resize(self) -> None:
        """Once more after the start: it may have changed before we heard of changes."""
        pass_size_on(self._master)

    def copy(self, source: int) -> bool:
        """Copy what is there; return False at the end. EIO: nobody has the terminal open."""
        try:
            data = os.read(source, 65536)
        except OSError:
            return False
        try:
            _write_all(1 if source == self._master else self._master, data)
        except OSError:
            return False
        return bool(data)

    def drain(self) -> None:
        """Copy what was printed last; a process left behind may hold the terminal open for ever."""
        os.set_blocking(self._master, False)
        while self.copy(self._master):
            continue


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class _RawTerminal:
    """Our own terminal stops interpreting keys: the container's does that. See: cfmakeraw(3)."""

    def __enter__(self) -> None:
        self._before = None
        if not os.isatty(0):
            return
        self._before = termios.tcgetattr(0)
        raw = termios.tcgetattr(0)
        raw[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        raw[1] &= ~termios.OPOST
        raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSANOW, raw)

    def __exit__(self, *_exception: object) -> None:
        """Give the caller's terminal back as it was."""
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._before)
